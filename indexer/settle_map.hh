/*
 * Table files as read-only memory, for the LevelDB that is written
 * (settle_db.cc).  A table is mapped once for each process and inode: an epoch
 * made of a generation has hard links of the same tables.  Random access is
 * announced, as the kernel's read-ahead turns one look-up into a megabyte
 * otherwise.  No descriptor is held.  (Readers: lib/exi_table.h.)
 */
#ifndef SETTLE_MAP_HH
#define SETTLE_MAP_HH

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

#include "lib/exi_crc32c.h"

namespace
{

typedef std::pair<dev_t, ino_t> FileId;

struct Mapping {
    const char *base;
    size_t len;
    FileId id;
    Mapping(const char *b, size_t l, FileId i) : base(b), len(l), id(i)
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
FindMapping(const FileId &id, size_t len)
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
    return m != nullptr && m->len == len ? m : nullptr;
}

inline leveldb::Status
MapDescriptor(const std::string &file, int fd, MappingP *out)
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
    *out = FindMapping(id, len);
    if (*out != nullptr) {
        return leveldb::Status::OK();
    }
    p = mmap(nullptr, len, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return leveldb::Status::IOError(file, strerror(errno));
    }
    madvise(p, len, MADV_RANDOM);
    *out = std::make_shared<Mapping>(static_cast<char *>(p), len, id);
    std::lock_guard<std::mutex> l(Mappings().mu);
    Mappings().by_id[id] = *out;
    return leveldb::Status::OK();
}

/* Maps a file, or shares the mapping that the process has of its inode. */
inline leveldb::Status
MapFile(const std::string &file, MappingP *out)
{
    int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return ErrnoStatus(file, errno);
    }
    leveldb::Status s = MapDescriptor(file, fd, out);
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

#endif /* SETTLE_MAP_HH */
