/*
 * Core module: the "electrumx NAME { ... }" blocks, and what a worker keeps
 * open for each of them.
 *
 * A worker always starts, whatever is or is not on disk: what can't be opened
 * now is tried again by a timer, and clients get errors until then.
 */

#include "ngx_electrumx_conf.h"


/* where the directives of a block stand; core modules have no such place */
#define NGX_ELECTRUMX_CONF  0x02000000

#define NGX_ELECTRUMX_TICK  1000    /* ms */

/* the indexer speaks each second; a long commit may take some */
#define NGX_ELECTRUMX_QUIET  5      /* s */


typedef struct {
    ngx_electrumx_index_t    index;
    ngx_str_t                file;      /* of the first reference */
    ngx_uint_t               line;
    ngx_uint_t               defined;
} ngx_electrumx_named_t;


typedef struct {
    ngx_array_t              named;     /* ngx_electrumx_named_t * */
} ngx_electrumx_conf_t;


static ngx_int_t ngx_electrumx_init_process(ngx_cycle_t *cycle);
static void ngx_electrumx_exit_process(ngx_cycle_t *cycle);
static void ngx_electrumx_start(ngx_electrumx_index_t *index,
    ngx_cycle_t *cycle);
static void ngx_electrumx_open(ngx_electrumx_index_t *index);
static void ngx_electrumx_tick(ngx_event_t *ev);
static void ngx_electrumx_store_log(void *ctx, int level, const char *text);

static void *ngx_electrumx_create_conf(ngx_cycle_t *cycle);
static char *ngx_electrumx_init_conf(ngx_cycle_t *cycle, void *conf);
static ngx_electrumx_named_t *ngx_electrumx_get(ngx_electrumx_conf_t *ecf,
    ngx_str_t *name);
static ngx_electrumx_named_t *ngx_electrumx_add(ngx_conf_t *cf,
    ngx_electrumx_conf_t *ecf, ngx_str_t *name);
static char *ngx_electrumx_block(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_electrumx_block_init(ngx_conf_t *cf,
    ngx_electrumx_conf_t *ecf, ngx_electrumx_index_t *index);


static ngx_electrumx_bounds_t  ngx_electrumx_bounds_request =
    { ngx_electrumx_check_size, 1024, 64 * 1024 * 1024 };
static ngx_electrumx_bounds_t  ngx_electrumx_bounds_response =
    { ngx_electrumx_check_size, 8 * 1024, 1024 * 1024 * 1024 };
static ngx_electrumx_bounds_t  ngx_electrumx_bounds_queue =
    { ngx_electrumx_check_size, 4096, 1024 * 1024 * 1024 };
static ngx_electrumx_bounds_t  ngx_electrumx_bounds_timeout =
    { ngx_electrumx_check_msec, 1, 24 * 3600 * 1000 };

static ngx_conf_num_bounds_t  ngx_electrumx_bounds_count =
    { ngx_conf_check_num_bounds, 1, 100000000 };


static ngx_command_t  ngx_electrumx_commands[] = {

    { ngx_string("electrumx"),
      NGX_MAIN_CONF|NGX_CONF_BLOCK|NGX_CONF_TAKE1,
      ngx_electrumx_block,
      0,
      0,
      NULL },

    { ngx_string("data"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_electrumx_set_path,
      0,
      offsetof(ngx_electrumx_index_t, data),
      NULL },

    { ngx_string("max_request"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      0,
      offsetof(ngx_electrumx_index_t, max_request),
      &ngx_electrumx_bounds_request },

    { ngx_string("max_response"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      0,
      offsetof(ngx_electrumx_index_t, max_response),
      &ngx_electrumx_bounds_response },

    { ngx_string("max_batch"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      0,
      offsetof(ngx_electrumx_index_t, max_batch),
      &ngx_electrumx_bounds_count },

    { ngx_string("max_subs"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      0,
      offsetof(ngx_electrumx_index_t, max_subs),
      &ngx_electrumx_bounds_count },

    { ngx_string("max_calls"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      0,
      offsetof(ngx_electrumx_index_t, max_calls),
      &ngx_electrumx_bounds_count },

    { ngx_string("max_queue"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      0,
      offsetof(ngx_electrumx_index_t, max_queue),
      &ngx_electrumx_bounds_queue },

    { ngx_string("idle_timeout"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      0,
      offsetof(ngx_electrumx_index_t, idle_timeout),
      &ngx_electrumx_bounds_timeout },

    { ngx_string("send_timeout"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      0,
      offsetof(ngx_electrumx_index_t, send_timeout),
      &ngx_electrumx_bounds_timeout },

    { ngx_string("banner"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_electrumx_set_path,
      0,
      offsetof(ngx_electrumx_index_t, banner),
      NULL },

    { ngx_string("tor_banner"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_electrumx_set_path,
      0,
      offsetof(ngx_electrumx_index_t, tor_banner),
      NULL },

    { ngx_string("tor_from"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_1MORE,
      ngx_electrumx_set_addresses,
      0,
      offsetof(ngx_electrumx_index_t, tor_from),
      NULL },

    { ngx_string("donation"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      0,
      offsetof(ngx_electrumx_index_t, donation),
      NULL },

    { ngx_string("report_host"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_1MORE,
      ngx_electrumx_set_hosts,
      0,
      offsetof(ngx_electrumx_index_t, hosts),
      NULL },

    { ngx_string("electrumx_passthrough"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_1MORE,
      ngx_electrumx_set_addresses,
      0,
      offsetof(ngx_electrumx_index_t, passthrough),
      NULL },

    { ngx_string("electrumx_strict"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_electrumx_index_t, strict),
      NULL },

    { ngx_string("stale_after"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_electrumx_set_stale,
      0,
      offsetof(ngx_electrumx_index_t, stale_after),
      NULL },

    { ngx_string("threads"),
      NGX_ELECTRUMX_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_electrumx_set_threads,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_core_module_t  ngx_electrumx_module_ctx = {
    ngx_string("electrumx"),
    ngx_electrumx_create_conf,
    ngx_electrumx_init_conf
};


ngx_module_t  ngx_electrumx_module = {
    NGX_MODULE_V1,
    &ngx_electrumx_module_ctx,             /* module context */
    ngx_electrumx_commands,                /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_electrumx_init_process,            /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_electrumx_exit_process,            /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* Never fails: a worker that can't start would take all of nginx with it. */

static ngx_int_t
ngx_electrumx_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t               i;
    ngx_electrumx_conf_t    *ecf;
    ngx_electrumx_named_t  **named;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    ecf = (ngx_electrumx_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                                ngx_electrumx_module);
    named = ecf->named.elts;

    if (ecf->named.nelts) {
        ngx_electrumx_files(cycle);
    }

    for (i = 0; i < ecf->named.nelts; i++) {
        ngx_electrumx_start(&named[i]->index, cycle);
    }

    return NGX_OK;
}


static void
ngx_electrumx_start(ngx_electrumx_index_t *index, ngx_cycle_t *cycle)
{
    index->timer.handler = ngx_electrumx_tick;
    index->timer.data = index;
    index->timer.log = cycle->log;
    index->timer.cancelable = 1;

    ngx_electrumx_open(index);

    if (ngx_electrumx_subs_init(index, cycle) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0,
                      "electrumx \"%V\": no subscriptions", &index->name);
    }

    if (ngx_electrumx_blocks_init(index, cycle) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0,
                      "electrumx \"%V\": no block files", &index->name);
    }

    if (ngx_electrumx_indexer_init(index, cycle) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0,
                      "electrumx \"%V\": no connection to the indexer",
                      &index->name);
    }

    ngx_add_timer(&index->timer, NGX_ELECTRUMX_TICK);
}


/* Opens what is not open yet. */

static void
ngx_electrumx_open(ngx_electrumx_index_t *index)
{
    int  rc;

    if (index->store == NULL) {

        rc = exi_store_new(&index->store, (char *) index->data.data,
                           ngx_electrumx_store_log, index);
        if (rc != EXI_OK) {
            index->store = NULL;
            ngx_electrumx_store_log(index, 0, exi_strerror(rc));
            return;
        }
    }

    if (index->view == NULL) {

        /* at the start: nobody waits yet */

        (void) exi_store_refresh(index->store);

    } else {
        (void) ngx_electrumx_refresh(index);
    }

    if (index->view == NULL) {

        rc = exi_view_new(index->store, &index->view);
        if (rc != EXI_OK) {
            index->view = NULL;
            ngx_electrumx_store_log(index, 0, exi_strerror(rc));
            return;
        }

        exi_view_nowait(index->view, index->threads != NULL);
    }
}


static void
ngx_electrumx_tick(ngx_event_t *ev)
{
    ngx_electrumx_index_t  *index;

    index = ev->data;

    ngx_electrumx_open(index);
    ngx_electrumx_indexer_tick(index);
    ngx_electrumx_subs_changed(index);

    ngx_add_timer(ev, NGX_ELECTRUMX_TICK);
}


time_t
ngx_electrumx_age(ngx_electrumx_index_t *index, const struct exi_live_state *st)
{
    time_t  now, fresh;

    now = ngx_time();
    fresh = (time_t) (st->time_ms / 1000);

    if (index->fresh > fresh) {
        fresh = index->fresh;
    }

    return now > fresh ? now - fresh : 0;
}


ngx_uint_t
ngx_electrumx_stale(ngx_electrumx_index_t *index,
    const struct exi_live_state *st)
{
    return !index->ready
           || ngx_electrumx_age(index, st) > NGX_ELECTRUMX_QUIET;
}


static void
ngx_electrumx_store_log(void *ctx, int level, const char *text)
{
    ngx_uint_t              err;
    ngx_electrumx_index_t  *index;

    index = ctx;
    err = level == 0 ? NGX_LOG_ERR : level == 1 ? NGX_LOG_WARN : NGX_LOG_INFO;

    ngx_log_error(err, index->timer.log, 0, "electrumx \"%V\": %s",
                  &index->name, text);
}


static void
ngx_electrumx_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t               i;
    ngx_electrumx_conf_t    *ecf;
    ngx_electrumx_index_t   *index;
    ngx_electrumx_named_t  **named;

    ecf = (ngx_electrumx_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                                ngx_electrumx_module);
    named = ecf->named.elts;

    for (i = 0; i < ecf->named.nelts; i++) {

        index = &named[i]->index;

        if (index->timer.handler == NULL) {
            continue;
        }

        if (index->timer.timer_set) {
            ngx_del_timer(&index->timer);
        }

        ngx_electrumx_indexer_done(index);
        ngx_electrumx_blocks_done(index);
        ngx_electrumx_subs_done(index);

        if (index->view) {
            exi_view_free(index->view);
            index->view = NULL;
        }

        if (index->store) {
            exi_store_free(index->store);
            index->store = NULL;
        }
    }

    ngx_electrumx_session_exit();
    ngx_electrumx_out_exit();
}


ngx_electrumx_index_t *
ngx_electrumx_find(ngx_cycle_t *cycle, ngx_str_t *name)
{
    ngx_electrumx_conf_t   *ecf;
    ngx_electrumx_named_t  *named;

    ecf = (ngx_electrumx_conf_t *) ngx_get_conf(cycle->conf_ctx,
                                                ngx_electrumx_module);
    named = ngx_electrumx_get(ecf, name);

    return named && named->defined ? &named->index : NULL;
}


ngx_electrumx_index_t *
ngx_electrumx_ref(ngx_conf_t *cf, ngx_str_t *name)
{
    ngx_electrumx_conf_t   *ecf;
    ngx_electrumx_named_t  *named;

    ecf = (ngx_electrumx_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                                ngx_electrumx_module);
    named = ngx_electrumx_get(ecf, name);

    if (named == NULL) {
        named = ngx_electrumx_add(cf, ecf, name);
    }

    return named ? &named->index : NULL;
}


static ngx_electrumx_named_t *
ngx_electrumx_get(ngx_electrumx_conf_t *ecf, ngx_str_t *name)
{
    ngx_uint_t               i;
    ngx_electrumx_named_t  **named;

    named = ecf->named.elts;

    for (i = 0; i < ecf->named.nelts; i++) {

        if (named[i]->index.name.len == name->len
            && ngx_strncmp(named[i]->index.name.data, name->data, name->len)
               == 0)
        {
            return named[i];
        }
    }

    return NULL;
}


static ngx_electrumx_named_t *
ngx_electrumx_add(ngx_conf_t *cf, ngx_electrumx_conf_t *ecf, ngx_str_t *name)
{
    ngx_electrumx_named_t  *named, **slot;

    named = ngx_pcalloc(cf->pool, sizeof(ngx_electrumx_named_t));
    if (named == NULL) {
        return NULL;
    }

    slot = ngx_array_push(&ecf->named);
    if (slot == NULL) {
        return NULL;
    }

    *slot = named;

    named->file = cf->conf_file->file.name;
    named->line = cf->conf_file->line;
    named->index.name = *name;

    named->index.max_request = NGX_CONF_UNSET_SIZE;
    named->index.max_response = NGX_CONF_UNSET_SIZE;
    named->index.max_batch = NGX_CONF_UNSET_UINT;
    named->index.max_subs = NGX_CONF_UNSET_UINT;
    named->index.max_calls = NGX_CONF_UNSET_UINT;
    named->index.max_queue = NGX_CONF_UNSET_SIZE;
    named->index.idle_timeout = NGX_CONF_UNSET_MSEC;
    named->index.send_timeout = NGX_CONF_UNSET_MSEC;
    named->index.threads = NGX_CONF_UNSET_PTR;
    named->index.strict = NGX_CONF_UNSET;
    named->index.stale_after = NGX_CONF_UNSET;

    ngx_queue_init(&named->index.sessions);

    return named;
}


static void *
ngx_electrumx_create_conf(ngx_cycle_t *cycle)
{
    ngx_electrumx_conf_t  *ecf;

    ecf = ngx_pcalloc(cycle->pool, sizeof(ngx_electrumx_conf_t));
    if (ecf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&ecf->named, cycle->pool, 4,
                       sizeof(ngx_electrumx_named_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return ecf;
}


static char *
ngx_electrumx_init_conf(ngx_cycle_t *cycle, void *conf)
{
    ngx_electrumx_conf_t  *ecf = conf;

    ngx_uint_t               i;
    ngx_electrumx_named_t  **named;

    named = ecf->named.elts;

    for (i = 0; i < ecf->named.nelts; i++) {

        if (!named[i]->defined) {
            ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                          "no electrumx \"%V\" block, but \"%V\" is used "
                          "in %V:%ui",
                          &named[i]->index.name, &named[i]->index.name,
                          &named[i]->file, named[i]->line);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_electrumx_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                   *rv;
    void                  **ctx;
    ngx_str_t              *value;
    ngx_conf_t              pcf;
    ngx_electrumx_conf_t   *ecf;
    ngx_electrumx_named_t  *named;

    ecf = *(ngx_electrumx_conf_t **) conf;
    value = cf->args->elts;

    if (value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "electrumx has no name");
        return NGX_CONF_ERROR;
    }

    named = ngx_electrumx_get(ecf, &value[1]);

    if (named && named->defined) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate electrumx \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (named == NULL) {
        named = ngx_electrumx_add(cf, ecf, &value[1]);
        if (named == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    ctx = ngx_pcalloc(cf->pool, ngx_max_module * sizeof(void *));
    if (ctx == NULL) {
        return NGX_CONF_ERROR;
    }

    ctx[ngx_electrumx_module.index] = &named->index;

    pcf = *cf;
    cf->ctx = ctx;
    cf->module_type = NGX_CORE_MODULE;
    cf->cmd_type = NGX_ELECTRUMX_CONF;

    rv = ngx_conf_parse(cf, NULL);

    *cf = pcf;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    named->defined = 1;

    return ngx_electrumx_block_init(cf, ecf, &named->index);
}


static char *
ngx_electrumx_block_init(ngx_conf_t *cf, ngx_electrumx_conf_t *ecf,
    ngx_electrumx_index_t *index)
{
    ngx_uint_t               i;
    ngx_electrumx_named_t  **named;

    if (index->data.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "electrumx \"%V\" has no \"data\" directive",
                           &index->name);
        return NGX_CONF_ERROR;
    }

    named = ecf->named.elts;

    /* the live layer must not be opened twice by one process */

    for (i = 0; i < ecf->named.nelts; i++) {

        if (&named[i]->index != index
            && named[i]->index.data.len == index->data.len
            && ngx_strcmp(named[i]->index.data.data, index->data.data) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "electrumx \"%V\" has the same data directory "
                               "as \"%V\"",
                               &index->name, &named[i]->index.name);
            return NGX_CONF_ERROR;
        }
    }

    ngx_conf_init_size_value(index->max_request, 1024 * 1024);
    ngx_conf_init_size_value(index->max_response, 8100000);
    ngx_conf_init_uint_value(index->max_batch, 1000);
    ngx_conf_init_uint_value(index->max_subs, 100000);
    ngx_conf_init_uint_value(index->max_calls, 32);
    ngx_conf_init_size_value(index->max_queue, 1024 * 1024);
    ngx_conf_init_msec_value(index->idle_timeout, 600000);
    ngx_conf_init_msec_value(index->send_timeout, 60000);
    ngx_conf_init_value(index->strict, 0);
    ngx_conf_init_value(index->stale_after, 24 * 3600);

    if (ngx_electrumx_init_threads(cf, index) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    return ngx_electrumx_init_tor(cf, index);
}
