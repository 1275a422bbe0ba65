/*
 * Sorted rows -> LevelDB (settle_load.h).
 *
 * The manifest is a log file with one record, a version edit: comparator,
 * numbers, tables.
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

#include <leveldb/env.h>
#include <leveldb/table_builder.h>

#include "lib/exi_crc32c.h"
#include "settle_ldb.hh"
#include "settle_map.hh"

using leveldb::Slice;
using leveldb::Status;

namespace
{

const size_t TABLE_SIZE = 32 << 20;
const size_t BLOCK_SIZE = 4 << 10;

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

/* LevelDB's log format: blocks of 32 KB, records cut into pieces. */
std::string
LogOf(const std::string &record)
{
    std::string out;
    size_t at = 0;

    do {
        size_t left = LOG_BLOCK - out.size() % LOG_BLOCK, n;
        bool first = at == 0, last;
        std::string piece;
        uint8_t b[4];
        uint32_t c;

        if (left < LOG_HEAD) {
            out.append(left, '\0');
            left = LOG_BLOCK;
        }
        left -= LOG_HEAD;
        n = record.size() - at < left ? record.size() - at : left;
        last = at + n == record.size();
        piece.push_back(first ? (last ? 1 : 2) : (last ? 4 : 3));
        piece.append(record, at, n);
        c = exi_crc32c(piece.data(), piece.size());
        exi_put_le32(b, (c >> 15 | c << 17) + LOG_MASK);
        out.append(reinterpret_cast<char *>(b), sizeof(b));
        out.push_back(static_cast<char>(n & 255));
        out.push_back(static_cast<char>(n >> 8));
        out += piece;
        at += n;
    } while (at < record.size());
    return out;
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
    l->now.level = SETTLE_LAST_LEVEL;
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

/* Keeps a key of the table in *to. */
static void
NoteKey(struct exi_key *to, uint64_t *to_tag, const Slice &key, uint64_t tag)
{
    memcpy(to->b, key.data(), key.size());
    to->len = key.size();
    *to_tag = tag;
}

static Status
AddRow(settle_load *l, const Slice &key, uint64_t tag, const Slice &val)
{
    if (l->builder == nullptr) {
        Status s = BeginTable(l);

        if (!s.ok()) {
            return s;
        }
        NoteKey(&l->now.first, &l->now.first_tag, key, tag);
    }
    NoteKey(&l->now.last, &l->now.last_tag, key, tag);
    l->key.assign(key.data(), key.size());
    Put64(&l->key, tag);
    l->builder->Add(l->key, val);
    return l->builder->FileSize() >= TABLE_SIZE ? EndTable(l)
                                                : l->builder->status();
}

int
settle_load_add_tagged(struct settle_load *l, const void *key, size_t keylen,
                       uint64_t tag, const void *val, size_t vallen)
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
        l->status =
            AddRow(l, k, tag, Slice(static_cast<const char *>(val), vallen));
        return l->status.ok() ? EXI_OK : EXI_EIO;
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}

int
settle_load_add(struct settle_load *l, const void *key, size_t keylen,
                const void *val, size_t vallen)
{
    return settle_load_add_tagged(l, key, keylen, SETTLE_TAG_FIRST, val,
                                  vallen);
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
KeyOf(const struct exi_key *k, uint64_t tag, std::string *room)
{
    room->assign(reinterpret_cast<const char *>(k->b), k->len);
    Put64(room, tag);
    return *room;
}

static std::string
EditOf(const struct settle_table *tables, size_t n, uint64_t number,
       uint64_t sequence)
{
    std::string e, key;

    PutVarint(&e, EDIT_COMPARATOR);
    PutBytes(&e, leveldb::BytewiseComparator()->Name());
    PutVarint(&e, EDIT_LOG);
    PutVarint(&e, 0);
    PutVarint(&e, EDIT_PREVIOUS_LOG);
    PutVarint(&e, 0);
    PutVarint(&e, EDIT_NEXT_FILE);
    PutVarint(&e, number + 1);
    PutVarint(&e, EDIT_SEQUENCE);
    PutVarint(&e, sequence);
    for (size_t i = 0; i < n; i++) {
        const struct settle_table *t = &tables[i];

        PutVarint(&e, EDIT_NEW);
        PutVarint(&e, t->level);
        PutVarint(&e, t->number);
        PutVarint(&e, t->bytes);
        PutBytes(&e, KeyOf(&t->first, t->first_tag, &key));
        PutBytes(&e, KeyOf(&t->last, t->last_tag, &key));
    }
    return e;
}

int
settle_load_manifest(const char *dir, const struct settle_table *tables,
                     size_t n, uint64_t number, uint64_t sequence, char *err,
                     size_t errlen)
{
    EXI_CC_TRY
    {
        std::string d = dir;
        char name[32];
        Status s;

        snprintf(name, sizeof(name), "MANIFEST-%06llu",
                 static_cast<unsigned long long>(number));
        s = WriteFile(d + "/" + name,
                      LogOf(EditOf(tables, n, number, sequence)));
        if (s.ok()) {
            s = WriteFile(d + "/CURRENT", std::string(name) + "\n");
        }
        return Told(s, err, errlen);
    }
    EXI_CC_CATCH(EXI_ENOMEM)
}
