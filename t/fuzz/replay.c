/*
 * main() of a fuzz target in a normal build: gives it every file named on the
 * command line, and every file of every directory named there, and prints
 * TAP.  With REPLAY_MORE=N also N damaged copies of each file (each with the
 * same damage every time).  Each input is a heap block of its exact size, so
 * that a build with ASan sees a read past its end.
 */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

/* Larger inputs are refused: the corpus is small. */
#define FILE_MAX_LEN (1 << 20)
#define PATH_LEN     4096

static int nfiles, nfailed;
static unsigned long more;

static void
run_copy(const uint8_t *buf, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    if (copy == NULL) {
        abort();
    }
    if (len != 0) {
        memcpy(copy, buf, len);
    }
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

/* Linear congruential: the same sequence everywhere. */
static uint32_t
next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void
run_damaged(uint8_t *buf, size_t len)
{
    uint32_t state = (uint32_t) len;

    for (unsigned long i = 0; i < more && len != 0; i++) {
        uint8_t *p = buf + next(&state) % len;
        uint8_t *q = buf + next(&state) % len;
        uint8_t was_p = *p, was_q = *q;

        *p ^= (uint8_t) (1u << next(&state) % 8);
        *q = (uint8_t) next(&state);
        run_copy(buf, len);
        run_copy(buf, next(&state) % len);
        *q = was_q;
        *p = was_p;
    }
}

static void
run_file(const char *path)
{
    static uint8_t buf[FILE_MAX_LEN];
    FILE *f = fopen(path, "rb");
    size_t len = f ? fread(buf, 1, sizeof(buf), f) : 0;
    int bad = f == NULL || ferror(f) || len == sizeof(buf);

    if (f != NULL) {
        fclose(f);
    }
    if (!bad) {
        run_copy(buf, len);
        run_damaged(buf, len);
    }
    nfailed += bad;
    printf("%sok %d - %s\n", bad ? "not " : "", ++nfiles, path);
}

static void
run_path(const char *path)
{
    struct dirent **names;
    struct stat st;
    int n;

    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        run_file(path);
        return;
    }
    n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char sub[PATH_LEN];

        if (names[i]->d_name[0] != '.'
            && snprintf(sub, sizeof(sub), "%s/%s", path, names[i]->d_name)
                   < (int) sizeof(sub)) {
            run_file(sub);
        }
        free(names[i]);
    }
    if (n >= 0) {
        free(names);
    }
}

int
main(int argc, char **argv)
{
    const char *s = getenv("REPLAY_MORE");

    setvbuf(stdout, NULL, _IOLBF, 0);
    more = s ? strtoul(s, NULL, 10) : 0;
    for (int i = 1; i < argc; i++) {
        run_path(argv[i]);
    }
    printf("1..%d\n", nfiles);
    return nfailed != 0 || nfiles == 0;
}
