/*
 * Blocks that messages are written into, small and large ones: a buffer, its
 * chain link and its bytes in one piece of memory.  Those that are given back
 * are kept in free lists of the worker, a bounded number of each size.
 */

#include "ngx_electrumx_session.h"


#define NGX_ELECTRUMX_BLOCK_LARGE   16384

/* blocks of each size in the free lists */
#define NGX_ELECTRUMX_BLOCKS        NGX_ELECTRUMX_KEEP(256)


/* A buffer with its chain link; its bytes follow. */

typedef struct {
    ngx_chain_t    link;        /* first: a link is its block */
    ngx_buf_t      buf;
    ngx_uint_t     large;
} ngx_electrumx_block_t;


typedef struct {
    ngx_chain_t   *free;
    ngx_uint_t     n;
} ngx_electrumx_list_t;


static ngx_electrumx_list_t   ngx_electrumx_blocks[2];


ngx_chain_t *
ngx_electrumx_block_get(ngx_uint_t large)
{
    size_t                  size;
    ngx_buf_t              *b;
    ngx_chain_t            *cl;
    ngx_electrumx_list_t   *list;
    ngx_electrumx_block_t  *block;

    list = &ngx_electrumx_blocks[large];
    cl = list->free;

    if (cl) {
        list->free = cl->next;
        list->n--;

        cl->next = NULL;
        b = cl->buf;
        b->pos = b->start;
        b->last = b->start;

        return cl;
    }

    size = large ? NGX_ELECTRUMX_BLOCK_LARGE : NGX_ELECTRUMX_BLOCK_SMALL;

    block = ngx_alloc(size, ngx_cycle->log);
    if (block == NULL) {
        return NULL;
    }

    ngx_memzero(block, sizeof(ngx_electrumx_block_t));

    block->large = large;
    block->link.buf = &block->buf;

    b = &block->buf;
    b->start = (u_char *) block + sizeof(ngx_electrumx_block_t);
    b->end = (u_char *) block + size;
    b->pos = b->start;
    b->last = b->start;
    b->temporary = 1;

    return &block->link;
}


void
ngx_electrumx_block_put(ngx_chain_t *cl)
{
    ngx_electrumx_list_t   *list;
    ngx_electrumx_block_t  *block;

    block = (ngx_electrumx_block_t *) cl;
    list = &ngx_electrumx_blocks[block->large];

    if (list->n + 1 > NGX_ELECTRUMX_BLOCKS) {
        ngx_free(block);
        return;
    }

    cl->next = list->free;
    list->free = cl;
    list->n++;
}


void
ngx_electrumx_blocks_put(ngx_chain_t *cl)
{
    ngx_chain_t  *next;

    for ( /* void */ ; cl; cl = next) {
        next = cl->next;
        ngx_electrumx_block_put(cl);
    }
}


void
ngx_electrumx_blocks_exit(void)
{
    ngx_uint_t    i;
    ngx_chain_t  *cl, *next;

    for (i = 0; i < 2; i++) {

        for (cl = ngx_electrumx_blocks[i].free; cl; cl = next) {
            next = cl->next;
            ngx_free(cl);
        }

        ngx_electrumx_blocks[i].free = NULL;
        ngx_electrumx_blocks[i].n = 0;
    }
}
