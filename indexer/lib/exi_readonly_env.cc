/*
 * A LevelDB handle on a published generation that writes, locks, deletes and
 * compacts nothing.
 *
 * LevelDB 1.23 has no read-only mode: opening replays the log, may write a
 * table, a manifest and a lock, and may start a compaction at any read.  The
 * Env below lets it believe that it does all this:
 *
 *   while opening   files that are written go nowhere, but a table made out of
 *                   a log stays in memory, where it is read from;
 *   after opening   a background error is provoked (a synced write whose sync
 *                   fails), after which LevelDB never schedules work again.
 *                   Work that opening has scheduled already is run by the
 *                   opening thread, with every write failing: dropping it
 *                   would make the destructor wait for ever, and no thread is
 *                   ever started here.
 *
 * Tables are mapped when the directory is listed, that is all at once while
 * opening: later neither unlink nor a moved directory can hurt.
 */
#include "exi_readonly_env.h"

#include <stdio.h>

#include <new>
#include <vector>

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include "exi_table_map.hh"

using leveldb::Slice;
using leveldb::Status;

namespace
{

enum Phase {
    OPENING,   /* writes are swallowed */
    PROVOKING, /* writes are swallowed, syncs fail */
    READ_ONLY  /* writes fail */
};

/* A table that exists in memory only. */
typedef std::shared_ptr<std::string> BufferP;

class BufferFile final : public leveldb::RandomAccessFile
{
  public:
    explicit BufferFile(BufferP b) : b_(std::move(b))
    {
    }
    Status
    Read(uint64_t off, size_t n, Slice *out, char *) const override
    {
        return ReadRange(b_->data(), b_->size(), off, n, out);
    }

  private:
    BufferP b_;
};

struct NoLock final : public leveldb::FileLock {
};

class ReadOnlyEnv final : public leveldb::EnvWrapper
{
  public:
    ReadOnlyEnv() : EnvWrapper(leveldb::Env::Default())
    {
    }

    /* Set by the opening thread; other threads see it through the DB's mutex. */
    Phase phase = OPENING;

    bool
    HasPending() const
    {
        return job_ != nullptr;
    }
    /* Runs what was scheduled while opening. */
    void
    RunPending()
    {
        while (job_ != nullptr) {
            void (*job)(void *) = job_;
            job_ = nullptr;
            job(job_arg_);
        }
    }

    Status
    NewWritableFile(const std::string &file,
                    leveldb::WritableFile **out) override
    {
        BufferP b;

        *out = nullptr;
        if (phase == READ_ONLY) {
            return Refused();
        }
        if (IsTableName(file)) {
            b = std::make_shared<std::string>();
            buffers_[file] = b;
        }
        *out = new Sink(this, b);
        return Status::OK();
    }

    Status
    NewAppendableFile(const std::string &file,
                      leveldb::WritableFile **out) override
    {
        return NewWritableFile(file, out);
    }

    Status
    NewRandomAccessFile(const std::string &file,
                        leveldb::RandomAccessFile **out) override
    {
        auto buffer = buffers_.find(file);
        auto mapped = mapped_.find(file);
        MappingP m;

        *out = nullptr;
        if (buffer != buffers_.end()) {
            *out = new BufferFile(buffer->second);
            return Status::OK();
        }
        if (mapped != mapped_.end()) {
            m = mapped->second;
        } else {
            Status s = MapFile(file, &m);
            if (!s.ok()) {
                return s;
            }
        }
        *out = new MappedFile(std::move(m));
        return Status::OK();
    }

    Status
    GetChildren(const std::string &dir, std::vector<std::string> *out) override
    {
        Status s = target()->GetChildren(dir, out);

        if (!s.ok() || phase != OPENING || !mapped_.empty()) {
            return s;
        }
        for (const std::string &name : *out) {
            MappingP m;
            std::string path = dir + "/" + name;
            /* A table that can't be mapped is an abandoned one, or LevelDB
             * finds out when it needs it. */
            if (IsTableName(name) && MapFile(path, &m).ok()) {
                mapped_[path] = m;
            }
        }
        return s;
    }

    Status
    RemoveFile(const std::string &) override
    {
        return Status::OK();
    }
    Status
    DeleteFile(const std::string &) override
    {
        return Status::OK();
    }
    Status
    CreateDir(const std::string &) override
    {
        return Status::OK();
    }
    Status
    RemoveDir(const std::string &) override
    {
        return Status::OK();
    }
    Status
    DeleteDir(const std::string &) override
    {
        return Status::OK();
    }
    Status
    RenameFile(const std::string &, const std::string &) override
    {
        return Status::OK();
    }
    Status
    LockFile(const std::string &, leveldb::FileLock **out) override
    {
        *out = new NoLock;
        return Status::OK();
    }
    Status
    UnlockFile(leveldb::FileLock *lock) override
    {
        delete lock;
        return Status::OK();
    }
    Status
    NewLogger(const std::string &, leveldb::Logger **out) override
    {
        *out = new NoLog;
        return Status::OK();
    }
    /* Called with the DB's mutex held, so the job can't run here; there is at
     * most one at a time. */
    void
    Schedule(void (*job)(void *), void *arg) override
    {
        job_ = job;
        job_arg_ = arg;
    }
    void
    StartThread(void (*)(void *), void *) override
    {
    }

  private:
    static Status
    Refused()
    {
        return Status::IOError("read-only handle");
    }

    class Sink final : public leveldb::WritableFile
    {
      public:
        Sink(const ReadOnlyEnv *env, BufferP b) : env_(env), b_(std::move(b))
        {
        }
        Status
        Append(const Slice &data) override
        {
            if (env_->phase == READ_ONLY) {
                return Refused();
            }
            if (b_ != nullptr) {
                b_->append(data.data(), data.size());
            }
            return Status::OK();
        }
        Status
        Close() override
        {
            return Status::OK();
        }
        Status
        Flush() override
        {
            return Status::OK();
        }
        Status
        Sync() override
        {
            return env_->phase == OPENING ? Status::OK() : Refused();
        }

      private:
        const ReadOnlyEnv *env_;
        BufferP b_;
    };

    std::map<std::string, MappingP> mapped_; /* made while opening */
    std::map<std::string, BufferP> buffers_; /* made while opening */
    void (*job_)(void *) = nullptr;
    void *job_arg_ = nullptr;
};

/*
 * Limits that are never reached: a log of any size is replayed into one
 * memtable (which takes what the log holds, not this number), and the manifest
 * is continued, not rewritten.
 */
const size_t NEVER = 1 << 30;
const int TABLES_MAX = 50000;

leveldb::Options
ReadOptions(leveldb::Env *env, leveldb::Logger *log, leveldb::Cache *cache)
{
    leveldb::Options o;

    o.env = env;
    o.info_log = log;
    o.create_if_missing = false;
    o.paranoid_checks = true;
    o.reuse_logs = true;
    o.write_buffer_size = NEVER;
    o.max_file_size = NEVER;
    o.max_open_files = TABLES_MAX;
    /* Mapped blocks never enter it. */
    o.block_cache = cache;
    return o;
}

int
ErrorOf(const Status &s)
{
    return s.IsCorruption() || s.IsInvalidArgument() ? EXI_EFORMAT : EXI_EIO;
}

/* Inode of dir/CURRENT; 0: there is none. */
ino_t
CurrentInode(const char *dir)
{
    struct stat st;
    std::string path = std::string(dir) + "/CURRENT";

    return stat(path.c_str(), &st) == 0 ? st.st_ino : 0;
}

} /* namespace */

struct exi_rodb {
    ReadOnlyEnv env;
    NoLog log;
    std::unique_ptr<leveldb::Cache> cache;
    std::unique_ptr<leveldb::DB> db; /* goes first */
    leveldb::ReadOptions read;
};

struct exi_rodb_val {
    std::string s;
};

struct exi_rodb_iter {
    std::unique_ptr<leveldb::Iterator> it;
};

namespace
{

/* No work is scheduled after this. */
Status
MakeReadOnly(exi_rodb *d)
{
    leveldb::WriteOptions w;
    leveldb::WriteBatch b;

    if (d->env.HasPending()) {
        d->env.phase = READ_ONLY;
        d->env.RunPending();
    }
    d->env.phase = PROVOKING;
    w.sync = true;
    b.Delete("");
    if (d->db->Write(w, &b).ok()) {
        return Status::IOError("read-only handle took a write");
    }
    d->env.phase = READ_ONLY;
    return Status::OK();
}

int
OpenInto(exi_rodb *d, const char *dir, std::string *why)
{
    leveldb::DB *db = nullptr;
    ino_t current = CurrentInode(dir);
    Status s;

    d->cache.reset(leveldb::NewLRUCache(1 << 16));
    /* MappedFile does it. */
    d->read.verify_checksums = false;
    s = leveldb::DB::Open(ReadOptions(&d->env, &d->log, d->cache.get()), dir,
                          &db);
    d->db.reset(db);
    if (s.ok()) {
        s = MakeReadOnly(d);
    }
    /* A generation is renamed before it is removed.  LevelDB takes missing
     * logs for none: what was opened is whole only if it is still there. */
    if (current == 0 || CurrentInode(dir) != current) {
        *why = std::string(dir) + " is not there, or was removed meanwhile";
        return EXI_ESTALE;
    }
    *why = s.ToString();
    return s.ok() ? EXI_OK : ErrorOf(s);
}

} /* namespace */

int
exi_rodb_open(struct exi_rodb **out, const char *dir, char *err, size_t errlen)
{
    EXI_CC_TRY
    {
        std::unique_ptr<exi_rodb> d(new exi_rodb);
        std::string why;
        int rc = OpenInto(d.get(), dir, &why);

        if (rc != EXI_OK) {
            snprintf(err, errlen, "%s", why.c_str());
            return rc;
        }
        *out = d.release();
        return EXI_OK;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

void
exi_rodb_close(struct exi_rodb *db)
{
    delete db;
}

int
exi_rodb_get(struct exi_rodb *db, const void *key, size_t keylen,
             struct exi_rodb_val **holder, const uint8_t **val, size_t *vallen)
{
    EXI_CC_TRY
    {
        std::unique_ptr<exi_rodb_val> v(new exi_rodb_val);
        Slice k(static_cast<const char *>(key), keylen);
        Status s = db->db->Get(db->read, k, &v->s);

        if (s.IsNotFound()) {
            return EXI_ENOTFOUND;
        }
        if (!s.ok()) {
            return EXI_EIO;
        }
        *val = reinterpret_cast<const uint8_t *>(v->s.data());
        *vallen = v->s.size();
        *holder = v.release();
        return EXI_OK;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

void
exi_rodb_val_free(struct exi_rodb_val *holder)
{
    delete holder;
}

struct exi_rodb_iter *
exi_rodb_iter_new(struct exi_rodb *db)
{
    EXI_CC_TRY
    {
        std::unique_ptr<exi_rodb_iter> it(new exi_rodb_iter);

        it->it.reset(db->db->NewIterator(db->read));
        return it.release();
    }
    EXI_CC_CATCH(nullptr)
}

void
exi_rodb_iter_free(struct exi_rodb_iter *it)
{
    delete it;
}

void
exi_rodb_iter_seek(struct exi_rodb_iter *it, const void *key, size_t keylen)
{
    EXI_CC_TRY
    {
        it->it->Seek(Slice(static_cast<const char *>(key), keylen));
    }
    EXI_CC_CATCH()
}

void
exi_rodb_iter_next(struct exi_rodb_iter *it)
{
    EXI_CC_TRY
    {
        if (it->it->Valid()) {
            it->it->Next();
        }
    }
    EXI_CC_CATCH()
}

int
exi_rodb_iter_row(struct exi_rodb_iter *it, const uint8_t **key, size_t *keylen,
                  const uint8_t **val, size_t *vallen)
{
    Slice s;

    if (!it->it->status().ok()) {
        return EXI_EIO;
    }
    if (!it->it->Valid()) {
        return 0;
    }
    s = it->it->key();
    *key = reinterpret_cast<const uint8_t *>(s.data());
    *keylen = s.size();
    s = it->it->value();
    *val = reinterpret_cast<const uint8_t *>(s.data());
    *vallen = s.size();
    return 1;
}
