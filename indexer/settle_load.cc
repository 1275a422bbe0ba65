/*
 * Sorted rows -> LevelDB (settle_load.h).
 *
 * LevelDB stores a key with eight more bytes: sequence number and kind of
 * change.  Its comparator for those is internal, so an equal one is here: same
 * name, same order.  All rows have sequence number 1.  The manifest is a log
 * file with one record, a version edit: comparator, numbers, tables.
 * Both forms are those of every LevelDB since 1.0.
 */
/* A C header below has a function with the name of its structure. */
#pragma GCC diagnostic ignored "-Wshadow"

#include "settle_load.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include <leveldb/comparator.h>
#include <leveldb/env.h>
#include <leveldb/table_builder.h>

#include "lib/exi_bytes.h"
#include "settle_map.hh"

using leveldb::Slice;
using leveldb::Status;

namespace
{

const size_t TABLE_SIZE = 32 << 20;
const size_t BLOCK_SIZE = 4 << 10;
const int LAST_LEVEL = 6;
const size_t TRAILER = 8;
const uint64_t SEQUENCE = 1;
const uint64_t TRAILER_VALUE = SEQUENCE << 8 | 1;
const uint64_t TRAILER_HIGHEST = ~uint64_t(0) >> 8 << 8 | 1;

void
Put64(std::string *to, uint64_t v)
{
    uint8_t b[8];

    exi_put_le64(b, v);
    to->append(reinterpret_cast<char *>(b), sizeof(b));
}

void
PutVarint(std::string *to, uint64_t v)
{
    uint8_t b[EXI_VARINT_MAX];

    to->append(reinterpret_cast<char *>(b), exi_put_varint(b, v));
}

void
PutBytes(std::string *to, const Slice &s)
{
    PutVarint(to, s.size());
    to->append(s.data(), s.size());
}

uint64_t
TrailerOf(const Slice &key)
{
    return exi_le64(reinterpret_cast<const uint8_t *>(key.data()) + key.size()
                    - TRAILER);
}

Slice
UserKey(const Slice &key)
{
    return Slice(key.data(), key.size() - TRAILER);
}

/* Keys ascending, trailers descending. */
class RowOrder final : public leveldb::Comparator
{
  public:
    int
    Compare(const Slice &a, const Slice &b) const override
    {
        int order = UserKey(a).compare(UserKey(b));

        if (order == 0) {
            uint64_t x = TrailerOf(a), y = TrailerOf(b);

            order = x > y ? -1 : x < y;
        }
        return order;
    }
    const char *
    Name() const override
    {
        return "leveldb.InternalKeyComparator";
    }
    /* As much of the next block's first key as it takes to be behind the last
     * one here: shorter than LevelDB's, which makes the last key longer, and
     * it tells a reader where a bucket's or a script's rows end. */
    void
    FindShortestSeparator(std::string *start, const Slice &limit) const override
    {
        Slice last = UserKey(*start), next = UserKey(limit);
        size_t n = 0;

        while (n < last.size() && n < next.size() && last[n] == next[n]) {
            n++;
        }
        if (n < last.size() && n + 1 < next.size()) {
            std::string s(next.data(), n + 1);
            Put64(&s, TRAILER_HIGHEST);
            start->swap(s);
        }
    }
    void
    FindShortSuccessor(std::string *key) const override
    {
        std::string s = UserKey(*key).ToString();

        leveldb::BytewiseComparator()->FindShortSuccessor(&s);
        Shortened(key, &s);
    }

  private:
    static void
    Shortened(std::string *key, std::string *s)
    {
        Slice old = UserKey(*key);

        if (s->size() < old.size() && old.compare(*s) < 0) {
            Put64(s, TRAILER_HIGHEST);
            key->swap(*s);
        }
    }
};

/* Never destroyed: tables may be closed while the process ends. */
const RowOrder *
TheOrder()
{
    static const RowOrder *order = new RowOrder;
    return order;
}

uint32_t
Crc32c(const std::string &s)
{
    uint32_t c = ~uint32_t(0);

    for (unsigned char x : s) {
        c ^= x;
        for (int i = 0; i < 8; i++) {
            c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1;
        }
    }
    return ~c;
}

/* LevelDB's log format: blocks of 32 KB, records cut into pieces. */
std::string
LogOf(const std::string &record)
{
    const size_t block = 32768, head = 7;
    std::string out;
    size_t at = 0;

    do {
        size_t left = block - out.size() % block, n;
        bool first = at == 0, last;
        std::string piece;
        uint8_t b[4];
        uint32_t c;

        if (left < head) {
            out.append(left, '\0');
            left = block;
        }
        n = record.size() - at < left - head ? record.size() - at : left - head;
        last = at + n == record.size();
        piece.push_back(first ? (last ? 1 : 2) : (last ? 4 : 3));
        piece.append(record, at, n);
        c = Crc32c(piece);
        exi_put_le32(b, (c >> 15 | c << 17) + 0xa282ead8u);
        out.append(reinterpret_cast<char *>(b), sizeof(b));
        out.push_back(static_cast<char>(n & 255));
        out.push_back(static_cast<char>(n >> 8));
        out += piece;
        at += n;
    } while (at < record.size());
    return out;
}

std::string
TableName(const std::string &dir, uint64_t number)
{
    char name[32];

    snprintf(name, sizeof(name), "/%06llu.ldb",
             static_cast<unsigned long long>(number));
    return dir + name;
}

int
Told(const Status &s, char *err, size_t errlen)
{
    std::string text = s.ToString();

    if (s.ok()) {
        return EXI_OK;
    }
    snprintf(err, errlen, "%s", text.c_str());
    return text.find(strerror(ENOSPC)) != std::string::npos
                   || text.find(strerror(EDQUOT)) != std::string::npos
               ? EXI_ESPACE
               : EXI_EIO;
}

Status
WriteFile(const std::string &file, const std::string &data)
{
    leveldb::WritableFile *raw = nullptr;
    Status s = leveldb::Env::Default()->NewWritableFile(file, &raw);
    std::unique_ptr<leveldb::WritableFile> f(raw);

    if (s.ok()) {
        s = f->Append(data);
    }
    if (s.ok()) {
        s = f->Sync();
    }
    return s.ok() ? f->Close() : s;
}

/* Lets the kernel begin to write a file that will be synced later. */
void
KickFile(const std::string &file)
{
    int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        close(fd);
    }
}

} /* namespace */

struct settle_load {
    std::string dir;
    settle_load_number_pt number;
    void *ctx;
    leveldb::Options options;
    std::unique_ptr<leveldb::WritableFile> file;
    std::unique_ptr<leveldb::TableBuilder> builder; /* goes first */
    struct settle_table now = {};
    std::vector<struct settle_table> tables;
    std::string key;
    Status status;
};

static Status
BeginTable(settle_load *l)
{
    leveldb::WritableFile *f = nullptr;
    Status s;

    memset(&l->now, 0, sizeof(l->now));
    l->now.number = l->number(l->ctx);
    s = leveldb::Env::Default()->NewWritableFile(
        TableName(l->dir, l->now.number), &f);
    l->file.reset(f);
    if (s.ok()) {
        l->builder.reset(new leveldb::TableBuilder(l->options, f));
    }
    return s;
}

static Status
EndTable(settle_load *l)
{
    Status s = l->builder->Finish();

    l->now.bytes = l->builder->FileSize();
    l->now.rows = l->builder->NumEntries();
    if (s.ok()) {
        s = l->file->Close();
    }
    l->builder.reset();
    l->file.reset();
    if (s.ok()) {
        KickFile(TableName(l->dir, l->now.number));
        l->tables.push_back(l->now);
    }
    return s;
}

int
settle_load_new(struct settle_load **out, const char *dir,
                settle_load_number_pt number, void *ctx)
{
    EXI_CC_TRY
    {
        std::unique_ptr<settle_load> l(new settle_load);

        l->dir = dir;
        l->number = number;
        l->ctx = ctx;
        l->options.comparator = TheOrder();
        l->options.block_size = BLOCK_SIZE;
        l->options.compression = leveldb::kNoCompression;
        *out = l.release();
        return EXI_OK;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

int
settle_load_add(struct settle_load *l, const void *key, size_t keylen,
                const void *val, size_t vallen)
{
    EXI_CC_TRY
    {
        Slice k(static_cast<const char *>(key), keylen);
        Slice last(reinterpret_cast<const char *>(l->now.last.b),
                   l->now.last.len);

        if (keylen > EXI_KEY_MAX
            || (last.size() != 0 && k.compare(last) <= 0)) {
            return EXI_EAPI;
        }
        if (l->builder == nullptr) {
            l->status = BeginTable(l);
            if (!l->status.ok()) {
                return EXI_EIO;
            }
            memcpy(l->now.first.b, key, keylen);
            l->now.first.len = keylen;
        }
        memcpy(l->now.last.b, key, keylen);
        l->now.last.len = keylen;
        l->key.assign(k.data(), k.size());
        Put64(&l->key, TRAILER_VALUE);
        l->builder->Add(l->key, Slice(static_cast<const char *>(val), vallen));
        if (l->builder->FileSize() >= TABLE_SIZE) {
            l->status = EndTable(l);
        } else {
            l->status = l->builder->status();
        }
        return l->status.ok() ? EXI_OK : EXI_EIO;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

int settle_load_end(struct settle_load *l, char *err,
                    size_t errlen){ EXI_CC_TRY{
    if (l->status.ok() && l->builder != nullptr){ l->status = EndTable(l);
}
return Told(l->status, err, errlen);
}
EXI_CC_CATCH(EXI_ENOMEM)
}

size_t
settle_load_tables(const struct settle_load *l, const struct settle_table **out)
{
    *out = l->tables.data();
    return l->tables.size();
}

void
settle_load_free(struct settle_load *l)
{
    if (l != nullptr && l->builder != nullptr) {
        l->builder->Abandon();
    }
    delete l;
}

static Slice
KeyOf(const struct exi_key *k, std::string *room)
{
    room->assign(reinterpret_cast<const char *>(k->b), k->len);
    Put64(room, TRAILER_VALUE);
    return *room;
}

/* The tags are those of LevelDB's version edits. */
static std::string
EditOf(const struct settle_table *tables, size_t n, uint64_t number)
{
    std::string e, key;

    PutVarint(&e, 1); /* comparator */
    PutBytes(&e, leveldb::BytewiseComparator()->Name());
    PutVarint(&e, 2); /* log */
    PutVarint(&e, 0);
    PutVarint(&e, 9); /* previous log */
    PutVarint(&e, 0);
    PutVarint(&e, 3); /* next file */
    PutVarint(&e, number + 1);
    PutVarint(&e, 4); /* last sequence */
    PutVarint(&e, SEQUENCE);
    for (size_t i = 0; i < n; i++) {
        PutVarint(&e, 7); /* new file */
        PutVarint(&e, LAST_LEVEL);
        PutVarint(&e, tables[i].number);
        PutVarint(&e, tables[i].bytes);
        PutBytes(&e, KeyOf(&tables[i].first, &key));
        PutBytes(&e, KeyOf(&tables[i].last, &key));
    }
    return e;
}

int
settle_load_manifest(const char *dir, const struct settle_table *tables,
                     size_t n, uint64_t number, char *err, size_t errlen)
{
    EXI_CC_TRY
    {
        std::string d = dir;
        char name[32];
        Status s;

        snprintf(name, sizeof(name), "MANIFEST-%06llu",
                 static_cast<unsigned long long>(number));
        s = WriteFile(d + "/" + name, LogOf(EditOf(tables, n, number)));
        if (s.ok()) {
            s = WriteFile(d + "/CURRENT", std::string(name) + "\n");
        }
        return Told(s, err, errlen);
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}
