/*
 * Tables of a LevelDB and their rows (settle_runs.h).
 *
 * A level but the first is one sorted run, each table of level 0 is one.  A
 * cursor has a table of each run open and goes on at the lowest of their keys;
 * of equal ones the one with the highest tag is the newest.
 *
 * Tables are read by LevelDB's Table over a file that reads ahead: the mapping
 * that look-ups use is told that it is read here and there.
 */
/* A C header below has a function with the name of its structure. */
#pragma GCC diagnostic ignored "-Wshadow"

#include "settle_runs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include <leveldb/env.h>
#include <leveldb/iterator.h>
#include <leveldb/options.h>
#include <leveldb/table.h>

#include "lib/exi_crc32c.h"
#include "settle_map.hh"
#include "settle_ldb.hh"

using leveldb::Slice;
using leveldb::Status;

struct settle_runs {
    std::string dir;
    std::vector<struct settle_table> tables;
    uint64_t next_file = 0;
    uint64_t sequence = 0;
    uint64_t log = 0;
};

namespace
{

typedef std::map<std::pair<uint64_t, uint64_t>, struct settle_table> Tables;

/*
 * The manifest.
 */

/* The next record of a log file; false: there is none that is whole. */
bool
NextRecord(const std::string &log, size_t *at, std::string *record)
{
    record->clear();
    for (bool last = false; !last;) {
        size_t left = LOG_BLOCK - *at % LOG_BLOCK, n;
        const char *p;
        uint32_t crc;
        uint8_t type;

        if (left < LOG_HEAD) {
            *at += left;
            continue;
        }
        if (*at > log.size() || log.size() - *at < LOG_HEAD) {
            return false;
        }
        p = log.data() + *at;
        n = static_cast<uint8_t>(p[4])
            | static_cast<size_t>(static_cast<uint8_t>(p[5])) << 8;
        type = static_cast<uint8_t>(p[6]);
        if (n > left - LOG_HEAD || log.size() - *at - LOG_HEAD < n) {
            return false;
        }
        crc = exi_le32(reinterpret_cast<const uint8_t *>(p)) - LOG_MASK;
        if ((crc >> 17 | crc << 15) != exi_crc32c(p + 6, n + 1)
            || (type == 1 || type == 2) != record->empty()) {
            return false;
        }
        record->append(p + LOG_HEAD, n);
        *at += LOG_HEAD + n;
        last = type == 1 || type == 4;
    }
    return true;
}

/* A key in a version edit. */
uint64_t
ReadKey(struct exi_rd *rd, struct exi_key *k)
{
    size_t n = static_cast<size_t>(exi_rd_varint(rd));
    const uint8_t *p = exi_rd_bytes(rd, n);

    if (rd->bad || n < TRAILER || n - TRAILER > EXI_KEY_MAX) {
        rd->bad = true;
        return 0;
    }
    k->len = n - TRAILER;
    memcpy(k->b, p, k->len);
    return exi_le64(p + k->len);
}

void
ReadTable(struct exi_rd *rd, Tables *tables)
{
    struct settle_table t = {};

    t.level = static_cast<unsigned>(exi_rd_varint(rd));
    t.number = exi_rd_varint(rd);
    t.bytes = exi_rd_varint(rd);
    t.first_tag = ReadKey(rd, &t.first);
    t.last_tag = ReadKey(rd, &t.last);
    rd->bad = rd->bad || t.level > SETTLE_LAST_LEVEL;
    if (!rd->bad) {
        (*tables)[{ t.level, t.number }] = t;
    }
}

bool
ReadEdit(const std::string &edit, settle_runs *r, Tables *tables)
{
    struct exi_rd rd =
        exi_rd(reinterpret_cast<const uint8_t *>(edit.data()), edit.size());
    uint64_t level, number;

    while (!rd.bad && exi_rd_left(&rd) > 0) {
        switch (exi_rd_varint(&rd)) {
        case EDIT_COMPARATOR:
            exi_rd_bytes(&rd, static_cast<size_t>(exi_rd_varint(&rd)));
            break;
        case EDIT_LOG:
            r->log = exi_rd_varint(&rd);
            break;
        case EDIT_PREVIOUS_LOG:
            exi_rd_varint(&rd);
            break;
        case EDIT_NEXT_FILE:
            r->next_file = exi_rd_varint(&rd);
            break;
        case EDIT_SEQUENCE:
            r->sequence = exi_rd_varint(&rd);
            break;
        case EDIT_COMPACT_POINTER:
            exi_rd_varint(&rd);
            exi_rd_bytes(&rd, static_cast<size_t>(exi_rd_varint(&rd)));
            break;
        case EDIT_DELETED:
            level = exi_rd_varint(&rd);
            number = exi_rd_varint(&rd);
            tables->erase({ level, number });
            break;
        case EDIT_NEW:
            ReadTable(&rd, tables);
            break;
        default:
            rd.bad = true;
        }
    }
    return !rd.bad;
}

int
ReadManifest(settle_runs *r, std::string *why)
{
    leveldb::Env *env = leveldb::Env::Default();
    std::string name, log, edit;
    Tables tables;
    size_t at = 0;
    Status s = leveldb::ReadFileToString(env, r->dir + "/CURRENT", &name);

    if (s.ok() && (name.empty() || name.back() != '\n')) {
        s = Status::Corruption("CURRENT");
    }
    if (s.ok()) {
        name.pop_back();
        s = leveldb::ReadFileToString(env, r->dir + "/" + name, &log);
    }
    while (s.ok() && NextRecord(log, &at, &edit)) {
        if (!ReadEdit(edit, r, &tables)) {
            s = Status::Corruption(name);
        }
    }
    *why = s.ToString();
    for (const auto &t : tables) {
        r->tables.push_back(t.second);
    }
    return s.ok() ? EXI_OK : s.IsCorruption() ? EXI_EFORMAT : EXI_EIO;
}

/*
 * Rows.
 */

/* A table that is read from its first block to its last one. */
class AheadFile final : public leveldb::RandomAccessFile
{
  public:
    AheadFile(int fd, uint64_t size) : fd_(fd), size_(size)
    {
        posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    ~AheadFile() override
    {
        close(fd_);
    }
    Status
    Read(uint64_t off, size_t n, Slice *out, char *scratch) const override
    {
        size_t got = 0;

        *out = Slice();
        while (got < n) {
            ssize_t k = pread(fd_, scratch + got, n - got,
                              static_cast<off_t>(off + got));
            if (k < 0 && errno == EINTR) {
                continue;
            }
            if (k <= 0) {
                return k == 0 ? Status::Corruption("a table is short")
                              : Status::IOError("read", strerror(errno));
            }
            got += static_cast<size_t>(k);
        }
        if (!(n == TABLE_FOOTER && off + n == size_)
            && !exi_crc32c_block(scratch, n)) {
            return Status::Corruption("block checksum mismatch");
        }
        *out = Slice(scratch, n);
        return Status::OK();
    }

  private:
    int fd_;
    uint64_t size_;
};

/* A sorted run: tables one after the other, one of them open. */
class Run
{
  public:
    Run(const settle_runs *r, const Slice &from) : r_(r), from_(from.ToString())
    {
        PutTag(&from_);
    }
    void
    Add(const struct settle_table *t)
    {
        if (from_.compare(0, from_.size() - TRAILER,
                          reinterpret_cast<const char *>(t->last.b),
                          t->last.len)
            <= 0) {
            tables_.push_back(t);
        }
    }
    bool
    Empty() const
    {
        return tables_.empty();
    }
    /* To the first row. */
    Status
    Begin()
    {
        std::sort(
            tables_.begin(), tables_.end(),
            [](const struct settle_table *a, const struct settle_table *b) {
                return Slice(reinterpret_cast<const char *>(a->first.b),
                             a->first.len)
                           .compare(
                               Slice(reinterpret_cast<const char *>(b->first.b),
                                     b->first.len))
                       < 0;
            });
        return Settle();
    }
    bool
    Valid() const
    {
        return it_ != nullptr;
    }
    Slice
    Key() const
    {
        return it_->key();
    }
    Slice
    Value() const
    {
        return it_->value();
    }
    Status
    Next()
    {
        it_->Next();
        return Settle();
    }

  private:
    static void
    PutTag(std::string *key)
    {
        Put64(key, TRAILER_HIGHEST);
    }
    /* Opens the next table when this one is at its end. */
    Status
    Settle()
    {
        while (true) {
            if (it_ != nullptr) {
                Status s = it_->status();

                if (!s.ok()) {
                    return s;
                }
                if (it_->Valid()) {
                    return it_->key().size() >= TRAILER
                               ? Status::OK()
                               : Status::Corruption("a key is short");
                }
                it_.reset();
                table_.reset();
                file_.reset();
            }
            if (next_ == tables_.size()) {
                return Status::OK();
            }
            Status s = Open(tables_[next_++]);
            if (!s.ok()) {
                return s;
            }
        }
    }
    Status
    Open(const struct settle_table *t)
    {
        std::string name = TableName(r_->dir, t->number);
        int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC);
        leveldb::ReadOptions read;
        leveldb::Options o;
        leveldb::Table *table = nullptr;
        Status s;

        if (fd < 0) {
            return Status::IOError(name, strerror(errno));
        }
        o.comparator = TheOrder();
        o.paranoid_checks = true;
        /* AheadFile does it. */
        read.verify_checksums = false;
        file_.reset(new AheadFile(fd, t->bytes));
        s = leveldb::Table::Open(o, file_.get(), t->bytes, &table);
        if (!s.ok()) {
            return s;
        }
        table_.reset(table);
        it_.reset(table->NewIterator(read));
        if (next_ == 1) {
            it_->Seek(from_);
        } else {
            it_->SeekToFirst();
        }
        return Status::OK();
    }

    const settle_runs *r_;
    std::string from_;
    std::vector<const struct settle_table *> tables_;
    size_t next_ = 0;
    std::unique_ptr<leveldb::RandomAccessFile> file_;
    std::unique_ptr<leveldb::Table> table_;
    std::unique_ptr<leveldb::Iterator> it_; /* goes first */
};

int
ErrorOf(const Status &s)
{
    return s.ok() ? EXI_OK : s.IsCorruption() ? EXI_EFORMAT : EXI_EIO;
}

} /* namespace */

int
settle_runs_open(struct settle_runs **out, const char *dir, char *err,
                 size_t errlen)
{
    EXI_CC_TRY
    {
        std::unique_ptr<settle_runs> r(new settle_runs);
        std::string why;
        int rc;

        r->dir = dir;
        rc = ReadManifest(r.get(), &why);
        if (rc != EXI_OK) {
            snprintf(err, errlen, "%s: %s", dir, why.c_str());
            return rc;
        }
        *out = r.release();
        return EXI_OK;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

void
settle_runs_free(struct settle_runs *r)
{
    delete r;
}

size_t
settle_runs_tables(const struct settle_runs *r, const struct settle_table **out)
{
    *out = r->tables.data();
    return r->tables.size();
}

uint64_t
settle_runs_bytes(const struct settle_runs *r, unsigned from, unsigned to)
{
    uint64_t bytes = 0;

    for (const struct settle_table &t : r->tables) {
        bytes += t.level >= from && t.level <= to ? t.bytes : 0;
    }
    return bytes;
}

uint64_t
settle_runs_next(const struct settle_runs *r)
{
    return r->next_file;
}

uint64_t
settle_runs_sequence(const struct settle_runs *r)
{
    return r->sequence;
}

bool
settle_runs_flushed(const struct settle_runs *r)
{
    EXI_CC_TRY
    {
        std::vector<std::string> names;
        struct stat st;

        if (!leveldb::Env::Default()->GetChildren(r->dir, &names).ok()) {
            return false;
        }
        for (const std::string &name : names) {
            unsigned long long number = 0;
            char tail[8] = "";

            if (sscanf(name.c_str(), "%llu.%7s", &number, tail) == 2
                && strcmp(tail, "log") == 0 && number >= r->log
                && (stat((r->dir + "/" + name).c_str(), &st) != 0
                    || st.st_size != 0)) {
                return false;
            }
        }
        return true;
    }
    EXI_CC_CATCH(false)
}

struct settle_cursor {
    std::vector<std::unique_ptr<Run>> runs; /* all at a row */
    size_t now = 0;
    std::string key; /* of the row before */
    Status status;
};

/* To the lowest row. */
static void
ToLowest(settle_cursor *c)
{
    c->now = 0;
    for (size_t i = 1; i < c->runs.size(); i++) {
        if (TheOrder()->Compare(c->runs[i]->Key(), c->runs[c->now]->Key())
            < 0) {
            c->now = i;
        }
    }
}

/* Drops the runs that are at their end. */
static void
DropEnded(settle_cursor *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->runs.size(); i++) {
        if (c->runs[i]->Valid()) {
            if (n != i) {
                c->runs[n] = std::move(c->runs[i]);
            }
            n++;
        }
    }
    c->runs.resize(n);
}

static void
AddRun(settle_cursor *c, std::unique_ptr<Run> run)
{
    if (c->status.ok() && !run->Empty()) {
        c->status = run->Begin();
        c->runs.push_back(std::move(run));
    }
}

int
settle_cursor_new(struct settle_cursor **out, const struct settle_runs *r,
                  unsigned level, uint8_t from)
{
    EXI_CC_TRY
    {
        std::unique_ptr<settle_cursor> c(new settle_cursor);
        Slice start(reinterpret_cast<const char *>(&from), 1);

        for (unsigned l = 0; l <= level; l++) {
            std::unique_ptr<Run> run(new Run(r, start));

            for (const struct settle_table &t : r->tables) {
                if (t.level == l) {
                    run->Add(&t);
                }
                if (t.level == l && l == 0) {
                    AddRun(c.get(), std::move(run));
                    run.reset(new Run(r, start));
                }
            }
            AddRun(c.get(), std::move(run));
        }
        if (c->status.ok()) {
            DropEnded(c.get());
            ToLowest(c.get());
        }
        *out = c.release();
        return EXI_OK;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

void
settle_cursor_free(struct settle_cursor *c)
{
    delete c;
}

int
settle_cursor_row(struct settle_cursor *c, struct settle_raw *row)
{
    EXI_CC_TRY
    {
        Slice key, val;

        if (!c->status.ok()) {
            return ErrorOf(c->status);
        }
        if (c->runs.empty()) {
            return 0;
        }
        key = c->runs[c->now]->Key();
        val = c->runs[c->now]->Value();
        row->key = reinterpret_cast<const uint8_t *>(key.data());
        row->keylen = key.size() - TRAILER;
        row->tag = TrailerOf(key);
        row->val = reinterpret_cast<const uint8_t *>(val.data());
        row->vallen = val.size();
        return 1;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

/* All runs go beyond the key: what they have of it is older. */
void
settle_cursor_next(struct settle_cursor *c)
{
    EXI_CC_TRY
    {
        bool ended = false;

        if (!c->status.ok() || c->runs.empty()) {
            return;
        }
        Slice old = UserKey(c->runs[c->now]->Key());
        c->key.assign(old.data(), old.size());
        for (std::unique_ptr<Run> &run : c->runs) {
            while (c->status.ok() && run->Valid()
                   && UserKey(run->Key()) == Slice(c->key)) {
                c->status = run->Next();
            }
            ended = ended || !run->Valid();
        }
        if (c->status.ok() && ended) {
            DropEnded(c);
        }
        if (c->status.ok() && !c->runs.empty()) {
            ToLowest(c);
        }
    }
    EXI_CC_CATCH()
}
