/*
 * The LevelDB that is written (settle_db.h).
 *
 * Options: no compression (keys are hashes); 4 KB blocks, one look-up = one
 * page; 32 MB tables, so that a generation of 100 GB is some 3,000 links; a
 * write buffer that takes one settle batch.  Tables are mapped (settle_map.hh):
 * no descriptors, no copies, so the block cache only holds the odd block.  No
 * bloom filter: histories and txids are found by iterating over a prefix,
 * which asks no filter, and the point gets (`O`, `U`) are nearly all hits.
 */
#include "settle_db.h"

#include <stdio.h>

#include <new>
#include <vector>

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include "settle_map.hh"

using leveldb::Slice;
using leveldb::Status;

namespace
{

const size_t WRITE_BUFFER = 64 << 20;
const size_t TABLE_SIZE = 32 << 20;
const size_t BLOCK_SIZE = 4 << 10;
const size_t BLOCK_CACHE = 8 << 20;
const int TABLES_MAX = 50000;

class WriterEnv final : public leveldb::EnvWrapper
{
  public:
    WriterEnv() : EnvWrapper(leveldb::Env::Default())
    {
    }
    Status
    NewRandomAccessFile(const std::string &file,
                        leveldb::RandomAccessFile **out) override
    {
        MappingP m;
        Status s = MapFile(file, &m);

        *out = s.ok() ? new MappedFile(std::move(m)) : nullptr;
        return s;
    }
    /* A new inode each time: a fallback or a kill may leave a link to a table
     * that a generation names under a number that LevelDB uses again, and
     * truncating that would pull it away under readers. */
    Status
    NewWritableFile(const std::string &file,
                    leveldb::WritableFile **out) override
    {
        unlink(file.c_str());
        return target()->NewWritableFile(file, out);
    }
    Status
    RemoveFile(const std::string &file) override
    {
        {
            std::lock_guard<std::mutex> l(mu_);
            if (held_) {
                queue_.push_back(file);
                return Status::OK();
            }
        }
        return target()->RemoveFile(file);
    }
    Status
    DeleteFile(const std::string &file) override
    {
        return RemoveFile(file);
    }
    void
    Hold()
    {
        std::lock_guard<std::mutex> l(mu_);
        held_ = true;
    }
    void
    Release()
    {
        std::vector<std::string> files;
        {
            std::lock_guard<std::mutex> l(mu_);
            held_ = false;
            files.swap(queue_);
        }
        for (const std::string &file : files) {
            target()->RemoveFile(file);
        }
    }

  private:
    std::mutex mu_;
    bool held_ = false;
    std::vector<std::string> queue_;
};

/* LevelDB's statuses carry errno's text, not its number. */
int
ErrorOf(const Status &s)
{
    std::string text = s.ToString();

    if (text.find(strerror(ENOSPC)) != std::string::npos
        || text.find(strerror(EDQUOT)) != std::string::npos) {
        return EXI_ESPACE;
    }
    if (text.find("lock ") != std::string::npos) {
        return EXI_EBUSY;
    }
    return s.IsCorruption() || s.IsInvalidArgument() ? EXI_EFORMAT : EXI_EIO;
}

int
Told(const Status &s, char *err, size_t errlen)
{
    if (s.ok()) {
        return EXI_OK;
    }
    snprintf(err, errlen, "%s", s.ToString().c_str());
    return ErrorOf(s);
}

leveldb::Options
WriteOptionsOf(leveldb::Env *env, leveldb::Logger *log, leveldb::Cache *cache)
{
    leveldb::Options o;

    o.env = env;
    o.info_log = log;
    o.paranoid_checks = true;
    o.compression = leveldb::kNoCompression;
    o.block_size = BLOCK_SIZE;
    o.max_file_size = TABLE_SIZE;
    o.write_buffer_size = WRITE_BUFFER;
    o.max_open_files = TABLES_MAX;
    o.block_cache = cache;
    return o;
}

} /* namespace */

struct settle_db {
    WriterEnv env;
    NoLog log;
    std::unique_ptr<leveldb::Cache> cache;
    std::unique_ptr<leveldb::DB> db; /* goes first */
    leveldb::ReadOptions read;
    std::string val;
};

struct settle_db_iter {
    std::unique_ptr<leveldb::Iterator> it;
};

struct settle_db_batch {
    leveldb::WriteBatch b;
};

int
settle_db_open(struct settle_db **out, const char *dir, int create, char *err,
               size_t errlen)
{
    EXI_CC_TRY
    {
        std::unique_ptr<settle_db> d(new settle_db);
        leveldb::DB *db = nullptr;
        leveldb::Options o;
        Status s;

        d->cache.reset(leveldb::NewLRUCache(BLOCK_CACHE));
        /* MappedFile does it. */
        d->read.verify_checksums = false;
        o = WriteOptionsOf(&d->env, &d->log, d->cache.get());
        o.create_if_missing = create != 0;
        s = leveldb::DB::Open(o, dir, &db);
        d->db.reset(db);
        if (s.ok()) {
            *out = d.release();
        }
        return Told(s, err, errlen);
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

void
settle_db_close(struct settle_db *db)
{
    delete db;
}

int
settle_db_get(struct settle_db *db, const void *key, size_t keylen,
              uint8_t *buf, size_t buflen, size_t *vallen)
{
    EXI_CC_TRY
    {
        Slice k(static_cast<const char *>(key), keylen);
        Status s = db->db->Get(db->read, k, &db->val);

        if (!s.ok()) {
            return s.IsNotFound() ? EXI_ENOTFOUND : EXI_EIO;
        }
        if (db->val.size() > buflen) {
            return EXI_EFORMAT;
        }
        memcpy(buf, db->val.data(), db->val.size());
        *vallen = db->val.size();
        return EXI_OK;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

struct settle_db_iter *
settle_db_iter_new(struct settle_db *db)
{
    EXI_CC_TRY
    {
        std::unique_ptr<settle_db_iter> it(new settle_db_iter);

        it->it.reset(db->db->NewIterator(db->read));
        return it.release();
    }
    EXI_CC_CATCH(nullptr)
}

void
settle_db_iter_free(struct settle_db_iter *it)
{
    delete it;
}

void
settle_db_iter_seek(struct settle_db_iter *it, const void *key, size_t keylen)
{
    EXI_CC_TRY
    {
        it->it->Seek(Slice(static_cast<const char *>(key), keylen));
    }
    EXI_CC_CATCH()
}

void
settle_db_iter_next(struct settle_db_iter *it)
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
settle_db_iter_row(struct settle_db_iter *it, const uint8_t **key,
                   size_t *keylen, const uint8_t **val, size_t *vallen)
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

struct settle_db_batch *
settle_db_batch_new(void)
{
    EXI_CC_TRY
    {
        return new settle_db_batch;
    }
    EXI_CC_CATCH(nullptr)
}

void
settle_db_batch_free(struct settle_db_batch *b)
{
    delete b;
}

int
settle_db_put(struct settle_db_batch *b, const void *key, size_t keylen,
              const void *val, size_t vallen)
{
    EXI_CC_TRY
    {
        b->b.Put(Slice(static_cast<const char *>(key), keylen),
                 Slice(static_cast<const char *>(val), vallen));
        return EXI_OK;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

int settle_db_delete(struct settle_db_batch *b, const void *key, size_t keylen){
    EXI_CC_TRY{ b->b.Delete(Slice(static_cast<const char *>(key), keylen));
return EXI_OK;
}
EXI_CC_CATCH(EXI_ENOMEM)
}

size_t
settle_db_batch_bytes(const struct settle_db_batch *b)
{
    return b->b.ApproximateSize();
}

int
settle_db_write(struct settle_db *db, struct settle_db_batch *b, char *err,
                size_t errlen)
{
    EXI_CC_TRY
    {
        leveldb::WriteOptions w;

        w.sync = true;
        return Told(db->db->Write(w, &b->b), err, errlen);
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

/*
 * A write of nothing makes LevelDB begin a new memtable and log; before it does
 * so a second time, it waits until the first memtable is a table.  (To flush by
 * CompactRange() would wait for the compaction under way too, which takes
 * seconds.)  Should a version of LevelDB not do that, readers replay the log:
 * slower, not wrong.
 */
int
settle_db_flush(struct settle_db *db, char *err, size_t errlen)
{
    EXI_CC_TRY
    {
        Status s = db->db->Write(leveldb::WriteOptions(), nullptr);

        if (s.ok()) {
            s = db->db->Write(leveldb::WriteOptions(), nullptr);
        }
        return Told(s, err, errlen);
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

void
settle_db_hold(struct settle_db *db)
{
    EXI_CC_TRY
    {
        db->env.Hold();
    }
    EXI_CC_CATCH()
}

void
settle_db_release(struct settle_db *db)
{
    EXI_CC_TRY
    {
        db->env.Release();
    }
    EXI_CC_CATCH()
}
