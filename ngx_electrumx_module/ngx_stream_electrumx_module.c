/*
 * Electrum over TCP and TLS: hands a stream session's connection to a session.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "ngx_electrumx.h"


typedef struct {
    ngx_electrumx_index_t  *index;
} ngx_stream_electrumx_srv_conf_t;


static void ngx_stream_electrumx_handler(ngx_stream_session_t *s);
static void ngx_stream_electrumx_finalize(ngx_electrumx_session_t *es,
    ngx_int_t rc);

static void *ngx_stream_electrumx_create_srv_conf(ngx_conf_t *cf);
static char *ngx_stream_electrumx_pass(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_stream_electrumx_commands[] = {

    { ngx_string("electrumx_pass"),
      NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_stream_electrumx_pass,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_stream_module_t  ngx_stream_electrumx_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_stream_electrumx_create_srv_conf,  /* create server configuration */
    NULL                                   /* merge server configuration */
};


extern ngx_module_t  ngx_stream_electrumx_module;

ngx_module_t  ngx_stream_electrumx_module = {
    NGX_MODULE_V1,
    &ngx_stream_electrumx_module_ctx,      /* module context */
    ngx_stream_electrumx_commands,         /* module directives */
    NGX_STREAM_MODULE,                     /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void
ngx_stream_electrumx_handler(ngx_stream_session_t *s)
{
    ngx_connection_t                 *c;
    ngx_electrumx_session_t          *es;
    ngx_stream_electrumx_srv_conf_t  *escf;

    c = s->connection;

    if (c->type != SOCK_STREAM) {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "electrumx_pass serves no datagrams");
        ngx_stream_finalize_session(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
        return;
    }

    escf = ngx_stream_get_module_srv_conf(s, ngx_stream_electrumx_module);

    /* what a preread phase has read */

    if (c->buffer && c->buffer->pos < c->buffer->last) {

        es = ngx_electrumx_session_create(c, escf->index, NGX_ELECTRUMX_LINE,
                                          ngx_stream_electrumx_finalize, s,
                                          c->buffer->pos,
                                          c->buffer->last - c->buffer->pos);
    } else {

        es = ngx_electrumx_session_create(c, escf->index, NGX_ELECTRUMX_LINE,
                                          ngx_stream_electrumx_finalize, s,
                                          NULL, 0);
    }

    if (es == NULL) {
        ngx_stream_finalize_session(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
    }
}


static void
ngx_stream_electrumx_finalize(ngx_electrumx_session_t *es, ngx_int_t rc)
{
    ngx_stream_session_t  *s;

    s = es->data;

    s->connection->data = s;
    s->received += es->received;

    ngx_stream_finalize_session(s, NGX_STREAM_OK);
}


static void *
ngx_stream_electrumx_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_stream_electrumx_srv_conf_t));
}


static char *
ngx_stream_electrumx_pass(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_electrumx_srv_conf_t  *escf = conf;

    ngx_str_t                   *value;
    ngx_stream_core_srv_conf_t  *cscf;

    if (escf->index) {
        return (char *) "is duplicate";
    }

    value = cf->args->elts;

    escf->index = ngx_electrumx_ref(cf, &value[1]);
    if (escf->index == NULL) {
        return NGX_CONF_ERROR;
    }

    cscf = ngx_stream_conf_get_module_srv_conf(cf, ngx_stream_core_module);
    cscf->handler = ngx_stream_electrumx_handler;

    return NGX_CONF_OK;
}
