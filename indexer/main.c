/*
 * electrumx-indexer: arguments, signals, start and stop order.
 * The only exit() of the program (_exit() when a thread is stuck in the disk).
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <curl/curl.h>

#include "check.h"
#include "datadir.h"
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

/* Without it workers ask the node for old transactions. */
static void
start_blockpos(struct sync *s)
{
    struct blockpos_opts o = { s->conf->data_dir, s->conf->blocks_dir,
                               s->coin->magic };
    char why[512];

    if (o.blocks_dir != NULL && o.blocks_dir[0] != '\0'
        && blockpos_start(&s->blockpos, &o, why, sizeof(why)) != EXI_OK) {
        log_warn("main", "block files are not used for transactions: %s", why);
    }
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
    o.passthrough = s->conf->passthrough;
    o.files = s->blockpos;
    rc = bell_start(&s->bell, &o, why, sizeof(why));
    if (rc != EXI_OK) {
        log_error("main", "%s", why);
    }
    return rc;
}

/* Longest wait at the end for a disk that is being written to. */
#define STOP_DISK_MS 1500

/* Ends all; false: but the settle thread, which waits for the disk. */
static bool
stop_all(struct sync *s)
{
    bool settled = settler_stop(s->settler, STOP_DISK_MS);

    if (s->notify != NULL) {
        notify_stop(s->notify);
    }
    feed_stop(s->feed);
    if (s->live != NULL) {
        live_close(s->live);
    }
    exi_past_close(s->past);
    if (s->settle != NULL && settled) {
        settle_close(s->settle);
    }
    if (s->bell != NULL) {
        bell_stop(s->bell);
    }
    blockpos_stop(s->blockpos);
    if (s->rpc != NULL) {
        main_rpc = NULL;
        rpc_free(s->rpc);
    }
    rpc_buf_free(&s->block);
    rpc_buf_free(&s->mempool_info);
    return settled;
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
    lock = datadir_lock(c->data_dir);
    if (lock < 0) {
        return EXIT_FAILURE;
    }
    say_start(c);
    rc = start_rpc(&s);
    if (rc == EXI_OK) {
        main_rpc = s.rpc;
        start_blockpos(&s);
        rc = start_bell(&s);
    }
    if (rc == EXI_OK) {
        s.status.bell = s.bell;
        status_set(&s.status, STATE_CONNECTING, "connecting to the node");
        rc = sync_run(&s);
    }
    log_info("main", "stopping");
    status_remove(&s.status);
    if (!stop_all(&s)) {
        log_info("main", "stopped, not waiting for the disk");
        _exit(rc == EXI_OK ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    close(lock);
    log_info("main", "stopped");
    return rc == EXI_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void
start(void)
{
    if (set_signals() != 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        fprintf(stderr, "electrumx-indexer: cannot start: %s\n",
                strerror(errno));
        exit(EXIT_FAILURE);
    }
}

int
main(int argc, char **argv)
{
    enum conf_action action = CONF_RUN;
    struct conf conf;
    char why[1024];
    int rc;

    if (argc > 1 && strcmp(argv[1], "check") == 0) {
        start();
        exit(check_main(argc, argv, &stop_flag));
    }
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
    start();
    rc = run(&conf);
    curl_global_cleanup();
    conf_free(&conf);
    exit(rc);
}
