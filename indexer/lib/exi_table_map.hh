/*
 * Table files as read-only memory, for the two LevelDB Envs of this project
 * (exi_readonly_env.cc, indexer/settle_db.cc).  A table is mapped once for each
 * process and inode: generations are hard links of the same tables, so a new
 * one costs hardly anything beside the open one.  Random access is announced,
 * as the kernel's read-ahead turns one look-up into a megabyte otherwise.
 *
 * A reader that must not wait for a disk (exi_cold.h) needs more: the
 * descriptor, and the table's tail (index and footer) in memory for good,
 * because LevelDB looks at it without asking the Env.  MapFile(..., true) gives
 * both; the writer does without and holds no descriptor.
 */
#ifndef EXI_TABLE_MAP_HH
#define EXI_TABLE_MAP_HH

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include <leveldb/env.h>

#include "exi_cold.h"
#include "exi_crc32c.h"

namespace
{

typedef std::pair<dev_t, ino_t> FileId;

struct Mapping {
    const char *base;
    size_t len;
    FileId id;
    struct exi_file *file = nullptr;
    size_t tail;                       /* where it begins; len: there is none */
    std::unique_ptr<char[]> tail_copy; /* unless it is locked in its place */

    Mapping(const char *b, size_t l, FileId i) : base(b), len(l), id(i), tail(l)
    {
    }
    Mapping(const Mapping &) = delete;
    Mapping &operator=(const Mapping &) = delete;
    ~Mapping();
};
typedef std::shared_ptr<Mapping> MappingP;

/* All mappings of the process; never destroyed, since a handle may outlive
 * the static objects of this file at exit. */
struct MappingTable {
    std::mutex mu;
    std::map<FileId, std::weak_ptr<Mapping>> by_id;
};

inline MappingTable &
Mappings()
{
    static MappingTable *t = new MappingTable;
    return *t;
}

inline Mapping::~Mapping()
{
    MappingTable &t = Mappings();

    munmap(const_cast<char *>(base), len);
    exi_file_unref(file);
    std::lock_guard<std::mutex> l(t.mu);
    auto it = t.by_id.find(id);
    if (it != t.by_id.end() && it->second.expired()) {
        t.by_id.erase(it);
    }
}

inline leveldb::Status
ErrnoStatus(const std::string &file, int err)
{
    return err == ENOENT ? leveldb::Status::NotFound(file, strerror(err))
                         : leveldb::Status::IOError(file, strerror(err));
}

/*
 * The live mapping of an inode, if it has this length: a table that was linked
 * while LevelDB still wrote it is longer once a later generation names it.
 * The result must be dropped outside of the lock, which ~Mapping takes.
 */
inline MappingP
FindMapping(const FileId &id, size_t len, bool nowait)
{
    MappingTable &t = Mappings();
    MappingP m;

    {
        std::lock_guard<std::mutex> l(t.mu);
        auto it = t.by_id.find(id);
        if (it != t.by_id.end()) {
            m = it->second.lock();
        }
    }
    return m != nullptr && m->len == len && (!nowait || m->file != nullptr)
               ? m
               : nullptr;
}

inline bool
GetVarint(const unsigned char **p, const unsigned char *end, uint64_t *v)
{
    *v = 0;
    for (int shift = 0; *p < end && shift < 64; shift += 7) {
        unsigned char c = *(*p)++;
        *v |= static_cast<uint64_t>(c & 0x7f) << shift;
        if (c < 0x80) {
            return true;
        }
    }
    return false;
}

/*
 * Where the blocks behind the data begin, by the footer (LevelDB's
 * doc/table_format.md): varints offset and size of the metaindex, the same of
 * the index, padding to 40 bytes, 8 bytes of magic.  len: not a table, which
 * LevelDB is to find out.
 */
inline size_t
TailOffset(int fd, size_t len)
{
    const size_t FOOTER = 48;
    unsigned char b[FOOTER];
    const unsigned char *p = b;
    uint64_t v[4];

    if (len < FOOTER
        || pread(fd, b, FOOTER, static_cast<off_t>(len - FOOTER))
               != static_cast<ssize_t>(FOOTER)) {
        return len;
    }
    for (uint64_t &x : v) {
        if (!GetVarint(&p, b + FOOTER - 8, &x)) {
            return len;
        }
    }
    uint64_t first = v[0] < v[2] ? v[0] : v[2];
    return first < len - FOOTER ? static_cast<size_t>(first) : len;
}

/* Locked in the page cache where that is allowed (RLIMIT_MEMLOCK), so that
 * workers share it; else a copy. */
inline bool
PinTail(Mapping *m, int fd)
{
    const size_t PAGE = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    size_t at = TailOffset(fd, m->len), n = m->len - at,
           from = at / PAGE * PAGE;

    if (n == 0) {
        return true;
    }
    posix_fadvise(fd, static_cast<off_t>(at), static_cast<off_t>(n),
                  POSIX_FADV_WILLNEED);
    if (mlock(m->base + from, m->len - from) != 0) {
        m->tail_copy.reset(new char[n]);
        for (size_t got = 0; got < n;) {
            ssize_t k = pread(fd, m->tail_copy.get() + got, n - got,
                              static_cast<off_t>(at + got));
            if (k <= 0 && !(k < 0 && errno == EINTR)) {
                return false;
            }
            got += k > 0 ? static_cast<size_t>(k) : 0;
        }
    }
    m->tail = at;
    return true;
}

inline leveldb::Status
MapDescriptor(const std::string &file, int fd, bool nowait, MappingP *out)
{
    struct stat st;
    void *p;

    if (fstat(fd, &st) != 0) {
        return ErrnoStatus(file, errno);
    }
    size_t len = static_cast<size_t>(st.st_size);
    FileId id(st.st_dev, st.st_ino);
    if (len == 0) {
        return leveldb::Status::Corruption(file, "empty table");
    }
    *out = FindMapping(id, len, nowait);
    if (*out != nullptr) {
        return leveldb::Status::OK();
    }
    p = mmap(nullptr, len, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return leveldb::Status::IOError(file, strerror(errno));
    }
    madvise(p, len, MADV_RANDOM);
    *out = std::make_shared<Mapping>(static_cast<char *>(p), len, id);
    if (nowait) {
        int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (own < 0 || exi_file_new(&(*out)->file, own, len) != EXI_OK
            || !PinTail(out->get(), fd)) {
            *out = nullptr;
            return leveldb::Status::IOError(file, strerror(errno));
        }
    }
    std::lock_guard<std::mutex> l(Mappings().mu);
    Mappings().by_id[id] = *out;
    return leveldb::Status::OK();
}

/* Maps a file, or shares the mapping that the process has of its inode.
 * nowait: for a reader that must not wait for a disk. */
inline leveldb::Status
MapFile(const std::string &file, bool nowait, MappingP *out)
{
    int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return ErrnoStatus(file, errno);
    }
    leveldb::Status s = MapDescriptor(file, fd, nowait, out);
    close(fd);
    return s;
}

inline leveldb::Status
ReadRange(const char *base, size_t len, uint64_t off, size_t n,
          leveldb::Slice *out)
{
    if (off > len || n > len - off) {
        *out = leveldb::Slice();
        return leveldb::Status::Corruption("read past the end of a table");
    }
    *out = leveldb::Slice(base + off, n);
    return leveldb::Status::OK();
}

/* Length of what stands at the end of a table and has no checksum. */
const size_t TABLE_FOOTER = 48;

/*
 * LevelDB reads the footer and whole blocks with their trailers only.  The
 * checksum of each block is verified here, at every read (a page may come back
 * from the disk damaged later), instead of by LevelDB (verify_checksums), whose
 * way to compute it takes longer than all else of a look-up.  Touches all of
 * it.  off: of *out in the table.
 */
inline leveldb::Status
VerifyBlock(const Mapping &m, uint64_t off, leveldb::Slice *out)
{
    size_t n = out->size();

    if (!(n == TABLE_FOOTER && off + n == m.len)
        && !exi_crc32c_block(out->data(), n)) {
        *out = leveldb::Slice();
        return leveldb::Status::Corruption("block checksum mismatch");
    }
    return leveldb::Status::OK();
}

/* A table for who may wait. */
class MappedFile final : public leveldb::RandomAccessFile
{
  public:
    explicit MappedFile(MappingP m) : m_(std::move(m))
    {
    }
    leveldb::Status
    Read(uint64_t off, size_t n, leveldb::Slice *out, char *) const override
    {
        leveldb::Status s = ReadRange(m_->base, m_->len, off, n, out);

        return s.ok() ? VerifyBlock(*m_, off, out) : s;
    }

  private:
    MappingP m_;
};

inline bool
IsTableName(const std::string &name)
{
    return name.size() > 4 && name.compare(name.size() - 4, 4, ".ldb") == 0;
}

/* LevelDB's own log of what it does: not kept. */
class NoLog final : public leveldb::Logger
{
  public:
    void
    Logv(const char *, va_list) override
    {
    }
};

} /* namespace */

/*
 * Bodies of the C functions: memory that cannot be had becomes an error code.
 * Built without exceptions such a failure ends the process instead, and
 * nothing is thrown into C either way.
 */
#ifdef __cpp_exceptions
#define EXI_CC_TRY try
#define EXI_CC_CATCH(value)                                                    \
    catch (...)                                                                \
    {                                                                          \
        return value;                                                          \
    }
#else
#define EXI_CC_TRY
#define EXI_CC_CATCH(value)
#endif

#endif /* EXI_TABLE_MAP_HH */
