/*
 * Files and directories for the settled layer: whole, synced operations that
 * return EXI_OK, EXI_ESPACE (ENOSPC, EDQUOT), EXI_ENOTFOUND (ENOENT),
 * EXI_ENOMEM or EXI_EIO, with errno as it was.  Any thread; no state.
 */
#ifndef FSUTIL_H
#define FSUTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/exi_err.h"

/* Room for any path used here. */
#define FS_PATH_MAX 1024

/* Error code for the present errno. */
int fs_error(void);

/* printf into path; EXI_ELIMIT (errno ENAMETOOLONG): too long. */
int fs_path(char path[FS_PATH_MAX], const char *fmt, ...)
    __attribute__((format(printf, 2, 3))) EXI_MUST_CHECK;

/* Makes a directory, mode 0755 less umask; one that is there is fine. */
int fs_mkdir(const char *path) EXI_MUST_CHECK;

bool fs_exists(const char *path);

/* Makes names in a directory durable. */
int fs_sync_dir(const char *path) EXI_MUST_CHECK;

/* Makes the contents of a file durable. */
int fs_sync_file(const char *path) EXI_MUST_CHECK;

/* Writes all of buf at off; resumes short writes. */
int fs_pwrite(int fd, const void *buf, size_t buflen,
              uint64_t off) EXI_MUST_CHECK;

/* Makes (or replaces the contents of) a file and syncs it. */
int fs_write(const char *path, const void *buf, size_t buflen) EXI_MUST_CHECK;

/* Puts a file in place by rename, durably: it has the old or the new contents
 * at any moment.  dir/name.tmp is used meanwhile. */
int fs_replace(const char *dir, const char *name, const void *buf,
               size_t buflen) EXI_MUST_CHECK;

/* Reads a whole file and adds a NUL; *len without it.  EXI_ELIMIT: it has
 * buflen bytes or more. */
int fs_read(const char *path, char *buf, size_t buflen,
            size_t *len) EXI_MUST_CHECK;

/* Copies the first max bytes (all, if there are fewer) into a new file of
 * size bytes, sparse at its end (0: of what was copied), and syncs it. */
int fs_copy(const char *from, const char *to, uint64_t max,
            uint64_t size) EXI_MUST_CHECK;

/* Hard link. */
int fs_link(const char *from, const char *to) EXI_MUST_CHECK;

/* rename(2) within dir, made durable. */
int fs_rename(const char *dir, const char *from, const char *to) EXI_MUST_CHECK;

/* Removes a directory with all below it; none there is fine. */
int fs_remove_tree(const char *path);

/* Calls fn with each name in a directory but . and .. in no order; non-zero
 * ends it and is returned. */
typedef int (*fs_each_pt)(void *ctx, const char *name);
int fs_each(const char *path, fs_each_pt fn, void *ctx) EXI_MUST_CHECK;

#endif /* FSUTIL_H */
