/*
 * Setters of the core module's directives; only ngx_electrumx_module.c and
 * _conf.c include it.
 */

#ifndef _NGX_ELECTRUMX_CONF_H_INCLUDED_
#define _NGX_ELECTRUMX_CONF_H_INCLUDED_


#include "ngx_electrumx.h"


/* cmd->post of a size or a time: what is allowed, both included. */

typedef struct {
    ngx_conf_post_handler_pt  post_handler;
    size_t                    low;
    size_t                    high;
} ngx_electrumx_bounds_t;


/* Into an ngx_str_t: a path, made absolute with nginx's prefix. */
char *ngx_electrumx_set_path(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* Into an ngx_array_t *: of ngx_str_t, report services; of ngx_cidr_t. */
char *ngx_electrumx_set_hosts(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_electrumx_set_addresses(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/* Into a time_t: seconds, or 0 for "off". */
char *ngx_electrumx_set_stale(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* "threads NAME | off", and its default at the end of a block. */
char *ngx_electrumx_set_threads(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_electrumx_init_threads(ngx_conf_t *cf, ngx_electrumx_index_t *index);

/* Post handlers for ngx_electrumx_bounds_t. */
char *ngx_electrumx_check_size(ngx_conf_t *cf, void *post, void *data);
char *ngx_electrumx_check_msec(ngx_conf_t *cf, void *post, void *data);

/* At the end of a block: where Tor's clients come from if it does not say. */
char *ngx_electrumx_init_tor(ngx_conf_t *cf, ngx_electrumx_index_t *index);


#endif /* _NGX_ELECTRUMX_CONF_H_INCLUDED_ */
