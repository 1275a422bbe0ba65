/*
 * Readers at full speed while the writer connects, reorganizes, settles,
 * publishes and trims; readers and the writer are killed at random.
 * LevelDB's thread does not live on in a forked process, so the one that forks
 * does not touch the index.
 *
 * The chain's life is made up before: a list of steps, each with the model's
 * answers as hashes.  The writer stores the number of the step as a fact in the
 * same transaction, so a reader can compare what its view says with exactly
 * that step.  A new writer begins a new environment at the step the last one
 * had reached.
 */
#include "tap.h"

#include "rnd.h"

#include "livebuild.h"

#include "liverun.h"

#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#define STEPS     420
#define START     30
#define WINDOW    16
#define REORG_MAX 8
#define READERS   3
#define SECONDS   9

struct step {
    int undo;    /* blocks to disconnect */
    int nblocks; /* to connect after it */
    int block[REORG_MAX + 2];
    int height;
    int chain[LB_MAX_HEIGHT]; /* block numbers */
    int npool;
    int pool[200]; /* mempool after the step, parents first */
    uint64_t answer[LB_SCRIPTS];
};

/* Shared by all processes. */
struct shared {
    volatile int step; /* last one committed */
    volatile int finished;
    volatile uint64_t asked;
    volatile uint64_t wrong;
    volatile uint64_t failed;
    volatile uint64_t switched; /* generations and environments seen */
    volatile int published;
    volatile int environments;
    char note[400];
};

static struct lr r;
static struct step *steps;
static struct shared *sh;

static uint64_t
hash64(const struct lb_text *t)
{
    uint8_t d[32];

    exi_sha256(d, t->p, t->n);
    return exi_le64(d);
}

/*
 * Making the list.
 */

static void
add_pool(struct lb *lb, int n)
{
    for (int i = 0; i < n; i++) {
        int t = lb_make_tx(lb, &lb->st, lb_ok_unspent);
        if (t >= 0) {
            lb->st.where[t] = LB_POOL;
        }
    }
}

static void
add_block(struct lb *lb, struct step *s)
{
    int b = lb_make_block(lb, &lb->st, 70, (int) rnd_below(4));

    lb_connect(lb, &lb->st, b);
    s->block[s->nblocks++] = b;
}

static void
change(struct lb *lb, struct step *s)
{
    switch (rnd_below(8)) {
    case 0:
    case 1:
    case 2:
        add_block(lb, s);
        break;
    case 3:
        s->undo = 1 + (int) rnd_below(REORG_MAX);
        for (int i = 0; i < s->undo; i++) {
            lb_disconnect(lb, &lb->st);
        }
        for (int i = 0; i <= s->undo; i++) {
            add_block(lb, s);
        }
        break;
    case 4:
        for (int i = 1; i < lb->ntx; i++) {
            if (lb->st.where[i] == LB_POOL && rnd_below(5) == 0) {
                lb_remove(lb, &lb->st, i);
            }
        }
        break;
    default:
        add_pool(lb, 1 + (int) rnd_below(5));
        break;
    }
}

static void
note_step(struct lb *lb, struct step *s)
{
    struct lb_text t = { 0 };

    s->height = lb->st.height;
    memcpy(s->chain, lb->st.chain, sizeof s->chain);
    for (int i = 0; i < lb->ntx; i++) {
        if (lb->st.where[i] == LB_POOL && s->npool < 200) {
            s->pool[s->npool++] = i;
        }
    }
    for (int i = 0; i < LB_SCRIPTS; i++) {
        t.n = 0;
        lb_model_script(&t, lb, &lb->st, i);
        s->answer[i] = hash64(&t);
    }
    free(t.p);
}

static void
make_steps(void)
{
    struct lb *lb = r.lb;

    for (int i = 0; i < STEPS; i++) {
        if (i > 0) {
            change(lb, &steps[i]);
        }
        note_step(lb, &steps[i]);
    }
}

/*
 * The writer.
 */

static void
store_step(int n)
{
    char text[16];
    int len = snprintf(text, sizeof text, "%d", n);

    lr_must(live_fact(r.live, "step", text, (size_t) len));
}

static bool
wanted(const struct step *s, const struct exi_txid *id)
{
    for (int i = 0; i < s->npool; i++) {
        if (memcmp(&r.lb->tx[s->pool[i]].id, id, sizeof *id) == 0) {
            return true;
        }
    }
    return false;
}

struct gone {
    const struct step *s;
    struct exi_txid id[400];
    int n;
};

static int
collect_gone(void *ctx, const struct exi_live_tx *t)
{
    struct gone *g = ctx;

    if (!wanted(g->s, &t->txid) && g->n < 400) {
        g->id[g->n++] = t->txid;
    }
    return 0;
}

/* Makes the mempool that of the step. */
static void
sync_pool(const struct step *s)
{
    struct gone *g = calloc(1, sizeof *g);

    g->s = s;
    lr_must(live_mempool_each(r.live, collect_gone, g));
    for (int i = 0; i < g->n; i++) {
        int rc = live_mempool_remove(r.live, &g->id[i]);
        lr_must(rc == EXI_ENOTFOUND ? EXI_OK : rc);
    }
    free(g);
    for (int i = 0; i < s->npool; i++) {
        lr_must(lr_add(&r, s->pool[i]));
    }
}

static void
do_step(int n)
{
    const struct step *s = &steps[n];

    lr_must(live_begin(r.live));
    for (int i = 0; i < s->undo; i++) {
        lr_must(live_disconnect(r.live));
    }
    for (int i = 0; i < s->nblocks; i++) {
        lr_must(lr_connect(&r, s->block[i]));
    }
    sync_pool(s);
    store_step(n);
    lr_must(live_commit(r.live, s->undo ? EXI_CHANGE_REORG : EXI_CHANGE_BLOCK));
    sh->step = n;
}

/* A new environment at the step that was reached. */
static void
rebuild(void)
{
    int n = sh->step;
    const struct step *s = &steps[n];

    lr_must(lr_open_live(&r));
    lr_must(live_begin(r.live));
    for (int h = (int) r.gens[0].height + 1; h <= s->height; h++) {
        lr_must(lr_connect(&r, s->chain[h]));
    }
    sync_pool(s);
    store_step(n);
    lr_must(live_commit(r.live, EXI_CHANGE_ALL));
    lr_must(live_serve(r.live));
    sh->environments++;
}

static void
settle_some(int n)
{
    const struct step *s = &steps[n];
    int settled = (int) settle_meta(r.settle)->height;
    struct lb_state st = { .height = s->height };
    bool done = false;

    if (s->height < settled + WINDOW + 2) {
        return;
    }
    memcpy(st.chain, s->chain, sizeof st.chain);
    r.gens[r.ngens++] = lr_settle(&r, &st, s->height - WINDOW);
    lr_must(live_begin(r.live));
    lr_must(live_generations(r.live, r.gens, r.ngens));
    lr_must(live_commit(r.live, EXI_CHANGE_SETTLED));
    sh->published++;
    memmove(r.gens, r.gens + 1, --r.ngens * sizeof *r.gens);
    while (!done) {
        lr_must(live_begin(r.live));
        lr_must(live_generations(r.live, r.gens, r.ngens));
        lr_must(live_trim(r.live, r.gens[0].height + 1, 3, &done));
        lr_must(live_commit(r.live, EXI_CHANGE_SETTLED));
    }
    settle_prune(r.settle, r.gens, r.ngens);
    live_reap(r.live);
}

static void
writer(void)
{
    struct exi_live_gen gen;

    lr_open_settle(&r);
    if (!settle_any(r.settle)) {
        (void) lr_settle(&r, &r.lb->st, START);
    }
    /* the last one may have been killed between commit and publish */
    lr_must(settle_publish(r.settle, &gen));
    rebuild();
    while (sh->step + 1 < STEPS) {
        do_step(sh->step + 1);
        settle_some(sh->step);
        if (rnd_below(3)) {
            usleep((useconds_t) rnd_below(12000));
        }
    }
    sh->finished = 1;
    live_close(r.live);
    settle_close(r.settle);
}

/*
 * The readers.
 */

static void
wrong(const char *what, int step, int script, int rc)
{
    if (__sync_fetch_and_add(&sh->wrong, 1) == 0) {
        snprintf(sh->note, sizeof sh->note, "%s: step %d, script %d: %d", what,
                 step, script, rc);
    }
}

static int
view_step(struct exi_view *v)
{
    const char *json;
    char text[16];
    size_t len;

    if (exi_fact(v, "step", &json, &len) != EXI_OK || len >= sizeof text) {
        return -1;
    }
    memcpy(text, json, len);
    text[len] = '\0';
    return atoi(text);
}

/* The last blocks' headers hash to what they should, and to each other. */
static void
check_tip(struct exi_view *v, const struct step *s, int n)
{
    uint32_t tip = exi_view_state(v)->tip_height;
    uint8_t header[EXI_HEADER_LEN];
    struct exi_blkid hash;

    if ((int) tip != s->height) {
        wrong("height", n, -1, 0);
        return;
    }
    for (uint32_t h = tip; h + 25 > tip && h > 0; h--) {
        const struct lb_block *b = &r.lb->block[s->chain[h]];
        int rc = exi_block_hash(v, h, &hash);
        rc = rc ? rc : exi_header(v, h, header);
        if (rc || memcmp(&hash, &b->hash, 32) != 0
            || memcmp(header, b->header, sizeof header) != 0) {
            wrong("block", n, (int) h, rc);
        }
    }
}

/* Each transaction of the mempool and the tip is where the step has it. */
static void
check_txs(struct exi_view *v, const struct step *s, int n)
{
    struct exi_txpos p;
    const struct lb_block *b = &r.lb->block[s->chain[s->height]];
    int rc;

    for (int i = 0; i < s->npool; i++) {
        rc = exi_tx_find(v, &r.lb->tx[s->pool[i]].id, &p);
        if (rc || p.confirmed) {
            wrong("mempool", n, i, rc);
        }
    }
    for (int i = 0; i < b->ntx; i++) {
        rc = exi_tx_find(v, &r.lb->tx[b->tx[i]].id, &p);
        if (rc || p.height != s->height || (int) p.pos != i) {
            wrong("transaction", n, i, rc);
        }
    }
}

static void
check_scripts(struct exi_view *v, const struct step *s, int n,
              struct lb_text *t)
{
    for (int i = 0; i < 6; i++) {
        int script = (int) rnd_below(LB_SCRIPTS), rc;
        t->n = 0;
        rc = lb_view_script(t, r.lb, v, script);
        if (rc || hash64(t) != s->answer[script]) {
            wrong("answers", n, script, rc);
        }
        __sync_fetch_and_add(&sh->asked, 1);
    }
}

static void
one_view(struct exi_view *v, struct lb_text *t)
{
    int rc = exi_view_begin(v), n;

    if (rc) {
        if (rc != EXI_ENOTREADY) {
            __sync_fetch_and_add(&sh->failed, 1);
            snprintf(sh->note, sizeof sh->note, "begin: %d", rc);
        }
        return;
    }
    n = view_step(v);
    if (n < 0 || n >= STEPS) {
        wrong("no step", n, -1, 0);
    } else {
        check_tip(v, &steps[n], n);
        check_txs(v, &steps[n], n);
        check_scripts(v, &steps[n], n, t);
    }
    exi_view_end(v);
}

static void
reader(void)
{
    struct exi_store *s;
    struct exi_view *v[2];
    struct lb_text t = { 0 };
    uint64_t instance = 0;

    lr_must(exi_store_new(&s, r.dir, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        lr_must(exi_view_new(s, &v[i]));
    }
    for (uint64_t i = 0;; i++) {
        if (i % 4 == 0) {
            int rc = exi_store_refresh(s);
            if (rc && rc != EXI_ENOTREADY) {
                __sync_fetch_and_add(&sh->failed, 1);
                snprintf(sh->note, sizeof sh->note, "refresh: %d", rc);
            }
        }
        one_view(v[rnd_below(3) == 0], &t);
        if (exi_view_state(v[0])->instance != instance) {
            instance = exi_view_state(v[0])->instance;
            __sync_fetch_and_add(&sh->switched, 1);
        }
    }
}

/*
 * The one that starts and kills.
 */

static pid_t
start(void (*fn)(void))
{
    pid_t pid;

    rnd_state += 77;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        fn();
        fflush(stdout);
        _exit(0);
    }
    return pid;
}

static void
stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Until the steps are done: kills one now and then and starts it again.  Most
 * writers may do some steps before. */
static int
drive(pid_t *w, pid_t readers[READERS])
{
    time_t end = time(NULL) + SECONDS;
    int killed = 0, status, from = 0;

    while (!sh->finished && time(NULL) < end) {
        usleep(20000 + (useconds_t) rnd_below(100000));
        if (waitpid(*w, &status, WNOHANG) == *w) {
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                return -1;
            }
            *w = 0;
            break;
        }
        if ((sh->step > from + 20 || rnd_below(9) == 0)
            && sh->step + 20 < STEPS) {
            stop(*w);
            from = sh->step;
            *w = start(writer);
            killed++;
        } else if (rnd_below(2)) {
            int i = (int) rnd_below(READERS);
            stop(readers[i]);
            readers[i] = start(reader);
        }
    }
    return killed;
}

int
main(void)
{
    pid_t w, readers[READERS];
    int killed;

    rnd_init();
    sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE,
              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    steps = calloc(STEPS, sizeof *steps);
    lr_make(&r, START);
    for (int i = 0; i < WINDOW; i++) {
        lb_connect(r.lb, &r.lb->st, lb_make_block(r.lb, &r.lb->st, 80, 3));
    }
    make_steps();

    w = start(writer);
    for (int i = 0; i < READERS; i++) {
        readers[i] = start(reader);
    }
    killed = drive(&w, readers);
    ok(killed >= 0, "the writer never failed; killed %d times", killed);
    usleep(200000);
    for (int i = 0; i < READERS; i++) {
        stop(readers[i]);
    }
    if (w > 0) {
        stop(w);
    }
    is_int((int) sh->wrong, 0, "no wrong answer");
    is_int((int) sh->failed, 0, "no refused view");
    if (sh->note[0]) {
        diag("%s", sh->note);
    }
    diag("%llu questions, step %d of %d, %d generations, %d environments, "
         "%llu seen",
         (unsigned long long) sh->asked, sh->step, STEPS, sh->published,
         sh->environments, (unsigned long long) sh->switched);
    ok(sh->asked > 1000 && sh->step > 20 && sh->published > 1,
       "something happened");
    lr_remove_dir(&r);
    lb_free(r.lb);
    free(steps);
    return done_testing();
}
