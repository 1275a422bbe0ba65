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
 *
 * Look-ups that must not wait for a disk (exi_cold.h): LevelDB asks the Env for
 * each block, but an error would make its iterators go on to the next block,
 * and the next, to the end of the level.  So a block that is not in memory is
 * given as a block with one row behind all others, where every iterator stops.
 * What was read by such a look-up is thrown away, iterators included.  All
 * levels are asked in one go, so one round finds what each of them lacks.
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

/*
 * The look-up that this thread is at, or NULL; set by the C functions below.
 */
thread_local exi_cold *looking = nullptr;

class Looking
{
  public:
    Looking(exi_cold *c, unsigned seen)
    {
        looking = c != nullptr && c->nowait ? c : nullptr;
        missed = false;
        blocks = seen;
    }
    ~Looking()
    {
        looking = nullptr;
    }
    Looking(const Looking &) = delete;
    Looking &operator=(const Looking &) = delete;

    static thread_local bool missed;     /* a block of this look-up */
    static thread_local unsigned blocks; /* read since the seek */
};
thread_local bool Looking::missed = false;
thread_local unsigned Looking::blocks = 0;

/*
 * A block of the same size (n includes the trailer of 5 bytes) with one row:
 * user key FF, sequence 0, type "value"; no key of ours is behind it.  The
 * smallest real block has as much room.  It has no checksum.  See LevelDB's doc/table_format.md.
 */
bool
StandIn(char *b, size_t n)
{
    const size_t KEY = 9, ENDS = 8, TRAILER = 5;
    size_t head = n - TRAILER < 140 ? 3 : 7, value;

    if (n < TRAILER + 3 + KEY + ENDS || n > UINT32_MAX) {
        return false;
    }
    memset(b, 0, n);
    value = n - TRAILER - ENDS - KEY - head;
    b[1] = KEY;
    if (head == 3) {
        b[2] = static_cast<char>(value);
    } else {
        for (int i = 0; i < 5; i++) { /* a varint of 5 bytes */
            b[2 + i] =
                static_cast<char>((value >> 7 * i & 0x7f) | (i < 4 ? 0x80 : 0));
        }
    }
    b[head] = static_cast<char>(0xff);
    b[head + 1] = 1;
    b[n - TRAILER - 4] = 1; /* restart points */
    return true;
}

/* A table for look-ups that may be forbidden to wait. */
class TableFile final : public leveldb::RandomAccessFile
{
  public:
    explicit TableFile(MappingP m) : m_(std::move(m))
    {
    }
    Status
    Read(uint64_t off, size_t n, Slice *out, char *scratch) const override
    {
        Status s = ReadRange(m_->base, m_->len, off, n, out);

        if (!s.ok()) {
            return s;
        }
        if (off >= m_->tail) {
            if (m_->tail_copy != nullptr) {
                *out = Slice(m_->tail_copy.get() + (off - m_->tail), n);
            }
        } else if (looking != nullptr) {
            s = Check(off, n, out, scratch);
            if (!s.ok() || out->data() == scratch) {
                return s; /* a stand-in */
            }
        }
        return VerifyBlock(*m_, off, out);
    }

  private:
    /* Only what is known to be in memory is touched; *out is scratch for a
     * stand-in. */
    Status
    Check(uint64_t off, size_t n, Slice *out, char *scratch) const
    {
        int rc = exi_cold_look(looking, m_->file, off, n);

        if (rc == EXI_OK) {
            Looking::blocks++;
            return Status::OK();
        }
        if (rc == EXI_ECOLD && StandIn(scratch, n)) {
            Looking::missed = true;
            Ahead(off + n);
            *out = Slice(scratch, n);
            return Status::OK();
        }
        return Status::IOError("table can't be read");
    }

    /* Who has read many blocks in a row will want as many more: so a long list
     * of rows takes few rounds. */
    void
    Ahead(uint64_t off) const
    {
        const unsigned MANY = 4, MOST = 256;
        uint64_t n = Looking::blocks < MOST ? Looking::blocks : MOST;

        n *= EXI_COLD_PAGE;
        if (Looking::blocks >= MANY && off < m_->tail) {
            n = n < m_->tail - off ? n : m_->tail - off;
            (void) (exi_cold_look(looking, m_->file, off, n) == EXI_OK);
        }
    }

    MappingP m_;
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
            Status s = MapFile(file, true, &m);
            if (!s.ok()) {
                return s;
            }
        }
        *out = new TableFile(std::move(m));
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
            if (IsTableName(name) && MapFile(path, true, &m).ok()) {
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
    exi_rodb *db;
    exi_cold *cold;
    bool missed = false; /* by the last call */
    uint32_t epoch = 0;  /* of its making */
    unsigned blocks = 0; /* read since the last seek */
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
    /* TableFile does it. */
    d->read.verify_checksums = false;
    d->read.fill_cache = false; /* a stand-in must not stay */
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
exi_rodb_get(struct exi_rodb *db, struct exi_cold *cold, const void *key,
             size_t keylen, struct exi_rodb_val **holder, const uint8_t **val,
             size_t *vallen)
{
    EXI_CC_TRY
    {
        std::unique_ptr<exi_rodb_val> v(new exi_rodb_val);
        Slice k(static_cast<const char *>(key), keylen);
        Looking here(cold, 0);
        Status s = db->db->Get(db->read, k, &v->s);

        if (Looking::missed) {
            return EXI_ECOLD;
        }
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

namespace
{

/*
 * Iterators keep their last block from one seek to the next; one that is older
 * than what is known of pages is made anew, as is one that met a stand-in.
 */
void
Renew(exi_rodb_iter *it)
{
    it->it.reset(); /* before the next one takes its version */
    it->it.reset(it->db->db->NewIterator(it->db->read));
    it->missed = false;
    it->epoch = it->cold != nullptr ? it->cold->epoch : 0;
}

} /* namespace */

struct exi_rodb_iter *
exi_rodb_iter_new(struct exi_rodb *db, struct exi_cold *cold)
{
    EXI_CC_TRY
    {
        std::unique_ptr<exi_rodb_iter> it(new exi_rodb_iter);

        it->db = db;
        it->cold = cold;
        Renew(it.get());
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
        if (it->missed
            || (it->cold != nullptr && it->cold->nowait
                && it->cold->epoch - it->epoch > 1)) {
            Renew(it);
        }
        Looking here(it->cold, 0);
        it->it->Seek(Slice(static_cast<const char *>(key), keylen));
        it->missed = Looking::missed;
        it->blocks = Looking::blocks;
    }
    EXI_CC_CATCH()
}

void
exi_rodb_iter_next(struct exi_rodb_iter *it)
{
    EXI_CC_TRY
    {
        if (!it->missed && it->it->Valid()) {
            Looking here(it->cold, it->blocks);
            it->it->Next();
            it->missed = Looking::missed;
            it->blocks = Looking::blocks;
        }
    }
    EXI_CC_CATCH()
}

int
exi_rodb_iter_row(struct exi_rodb_iter *it, const uint8_t **key, size_t *keylen,
                  const uint8_t **val, size_t *vallen)
{
    Slice s;

    if (it->missed) {
        return EXI_ECOLD;
    }
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
