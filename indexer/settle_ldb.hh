/*
 * What settle_load.cc writes and settle_runs.cc reads of LevelDB's forms: keys
 * as tables have them, their order, names of files.  They are those of every
 * LevelDB since 1.0.
 *
 * LevelDB stores a key with eight more bytes, the tag: sequence number << 8 and
 * kind of change (settle_load.h).  Its comparator for those is internal, so an
 * equal one is here: same name, same order.
 */
#ifndef SETTLE_LDB_HH
#define SETTLE_LDB_HH

#include <stdio.h>

#include <string>

#include <leveldb/comparator.h>
#include <leveldb/slice.h>

#include "lib/exi_bytes.h"

namespace
{

const size_t TRAILER = 8;
const uint64_t TRAILER_HIGHEST = ~uint64_t(0) >> 8 << 8 | 1;
/* Log files and manifests: blocks, and the head of a record in them. */
const size_t LOG_BLOCK = 32768;
const size_t LOG_HEAD = 7;
const uint32_t LOG_MASK = 0xa282ead8;

/* Fields of a version edit. */
enum EditTag {
    EDIT_COMPARATOR = 1,
    EDIT_LOG = 2,
    EDIT_NEXT_FILE = 3,
    EDIT_SEQUENCE = 4,
    EDIT_COMPACT_POINTER = 5,
    EDIT_DELETED = 6,
    EDIT_NEW = 7,
    EDIT_PREVIOUS_LOG = 9
};

inline void
Put64(std::string *to, uint64_t v)
{
    uint8_t b[8];

    exi_put_le64(b, v);
    to->append(reinterpret_cast<char *>(b), sizeof(b));
}

inline uint64_t
TrailerOf(const leveldb::Slice &key)
{
    return exi_le64(reinterpret_cast<const uint8_t *>(key.data()) + key.size()
                    - TRAILER);
}

inline leveldb::Slice
UserKey(const leveldb::Slice &key)
{
    return leveldb::Slice(key.data(), key.size() - TRAILER);
}

/* Keys ascending, trailers descending. */
class RowOrder final : public leveldb::Comparator
{
  public:
    int
    Compare(const leveldb::Slice &a, const leveldb::Slice &b) const override
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
    FindShortestSeparator(std::string *start,
                          const leveldb::Slice &limit) const override
    {
        leveldb::Slice last = UserKey(*start), next = UserKey(limit);
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
        leveldb::Slice old = UserKey(*key);

        if (s->size() < old.size() && old.compare(*s) < 0) {
            Put64(s, TRAILER_HIGHEST);
            key->swap(*s);
        }
    }
};

/* Never destroyed: tables may be closed while the process ends. */
inline const RowOrder *
TheOrder()
{
    static const RowOrder *order = new RowOrder;
    return order;
}

inline std::string
TableName(const std::string &dir, uint64_t number)
{
    char name[32];

    snprintf(name, sizeof(name), "/%06llu.ldb",
             static_cast<unsigned long long>(number));
    return dir + name;
}

} /* namespace */

#endif /* SETTLE_LDB_HH */
