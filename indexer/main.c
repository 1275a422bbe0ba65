/*
 * electrumx-indexer: arguments, data directory, signals, start and stop order.
 * The only exit() of the program.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>

#include "log.h"
#include "sync.h"
#include "lib/exi_version.h"

static volatile sig_atomic_t stop_flag;
static int wake_fd = -1;
static struct rpc *main_rpc;

static void
on_signal(int sig)
{
    uint64_t one = 1;
    int saved = errno;

    (void) sig;
    stop_flag = 1;
    if (main_rpc != NULL) {
        rpc_cancel(main_rpc);
    }
    if (write(wake_fd, &one, sizeof(one)) < 0) {
        /* the counter is full: the reader wakes all the same */
    }
    errno = saved;
}

static int
set_signals(void)
{
    struct sigaction sa;

    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        return -1;
    }
    memset(&sa, 0, sizeof(sa));
    sigemptyset(&sa.sa_mask);
    sa.sa_handler = on_signal;
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sa.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &sa, NULL);
    sigaction(SIGXFSZ, &sa, NULL); /* a write then fails with EFBIG */
    return 0;
}

/* Says who holds the lock: the file has its pid. */
static void
say_locked(const char *path, int fd)
{
    char pid[32];
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

    pid[n > 0 ? n : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    log_error("main",
              "the data directory is in use by another indexer, process %s "
              "(%s)", *pid ? pid : "unknown", path);
}

/* Makes and locks the data directory; the descriptor is kept till the end. */
static int
lock_data_dir(const char *dir)
{
    char path[4096], pid[32];
    int fd, n;

    if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
        log_error("main", "cannot make the data directory %s: %s", dir,
                  strerror(errno));
        return -1;
    }
    if (snprintf(path, sizeof(path), "%s/lock", dir) >= (int) sizeof(path)) {
        log_error("main", "data_dir is too long");
        return -1;
    }
    fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    if (fd < 0) {
        log_error("main", "cannot write in the data directory %s: %s", dir,
                  strerror(errno));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        say_locked(path, fd);
        close(fd);
        return -1;
    }
    n = snprintf(pid, sizeof(pid), "%ld\n", (long) getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t) n, 0) != n) {
        log_warn("main", "cannot write %s: %s", path, strerror(errno));
    }
    return fd;
}

static void
say_start(const struct conf *c)
{
    log_info("main", "electrumx-indexer %s, network %s, data in %s",
             EXI_VERSION, c->network, c->data_dir);
}

static int
start_rpc(struct sync *s)
{
    char why[512];
    int rc;

    s->rpc_opts.urls = s->conf->daemon_url;
    s->rpc_opts.cookie = s->conf->daemon_cookie;
    s->rpc_opts.timeout_ms = (long) s->conf->daemon_timeout_ms;
    s->rpc_opts.connect_timeout_ms = 5000;
    s->rpc_opts.default_port = s->coin->rpc_port;
    rc = rpc_new(&s->rpc, &s->rpc_opts, why, sizeof(why));
    if (rc != EXI_OK) {
        log_error("main", "%s", why);
    }
    return rc;
}

static int
start_bell(struct sync *s)
{
    struct bell_opts o;
    char why[512], path[4096];
    int rc;

    memset(&o, 0, sizeof(o));
    snprintf(path, sizeof(path), "%s/socket", s->conf->data_dir);
    o.path = path;
    o.mode = (unsigned) strtoul(s->conf->socket_mode, NULL, 8);
    o.rpc = &s->rpc_opts;
    o.threads = 4;
    rc = bell_start(&s->bell, &o, why, sizeof(why));
    if (rc != EXI_OK) {
        log_error("main", "%s", why);
    }
    return rc;
}

static void
stop_all(struct sync *s)
{
    if (s->notify != NULL) {
        notify_stop(s->notify);
    }
    if (s->live != NULL) {
        live_close(s->live);
    }
    if (s->settle != NULL) {
        settle_close(s->settle);
    }
    if (s->bell != NULL) {
        bell_stop(s->bell);
    }
    if (s->rpc != NULL) {
        main_rpc = NULL;
        rpc_free(s->rpc);
    }
    rpc_buf_free(&s->block);
    rpc_buf_free(&s->mempool_info);
}

static int
run(const struct conf *c)
{
    struct sync s;
    int rc, lock;

    memset(&s, 0, sizeof(s));
    s.conf = c;
    s.coin = coin_find(c->network);
    s.stop = &stop_flag;
    s.wake_fd = wake_fd;
    s.status.data_dir = c->data_dir;
    s.status.network = c->network;
    lock = lock_data_dir(c->data_dir);
    if (lock < 0) {
        return EXIT_FAILURE;
    }
    say_start(c);
    rc = start_rpc(&s);
    if (rc == EXI_OK) {
        main_rpc = s.rpc;
        rc = start_bell(&s);
    }
    if (rc == EXI_OK) {
        s.status.bell = s.bell;
        status_set(&s.status, STATE_CONNECTING, "connecting to the node");
        rc = sync_run(&s);
    }
    log_info("main", "stopping");
    status_remove(&s.status);
    stop_all(&s);
    close(lock);
    log_info("main", "stopped");
    return rc == EXI_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main(int argc, char **argv)
{
    enum conf_action action = CONF_RUN;
    struct conf conf;
    char why[1024];
    int rc;

    rc = conf_load(&conf, &action, argc, argv, why, sizeof(why));
    if (rc != EXI_OK) {
        fprintf(stderr, "electrumx-indexer: %s\n", why);
        exit(2);
    }
    if (action == CONF_HELP) {
        conf_help(stdout);
        exit(EXIT_SUCCESS);
    }
    if (action == CONF_VERSION) {
        printf("electrumx-indexer %s (index format %d)\n", EXI_VERSION,
               EXI_FORMAT_VERSION);
        exit(EXIT_SUCCESS);
    }
    log_set_level(conf.log_level);
    /* An arena for each thread keeps what others could use: measured with the
     * initial sync, a fifth more memory and a tenth more CPU. */
    mallopt(M_ARENA_MAX, 2);
    if (set_signals() != 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        fprintf(stderr, "electrumx-indexer: cannot start: %s\n",
                strerror(errno));
        exit(EXIT_FAILURE);
    }
    rc = run(&conf);
    curl_global_cleanup();
    conf_free(&conf);
    exit(rc);
}
