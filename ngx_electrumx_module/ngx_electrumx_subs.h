/*
 * The table of subscriptions: scripts, and the sessions subscribed to each.
 * Pure, as ngx_electrumx_json.h, but for malloc.
 *
 * Scripts and subs live in slabs and refer to each other by 32-bit numbers
 * (0: none), which stay good as long as the thing does; pointers do, too.  With
 * one subscriber a script takes about 135 bytes in all.
 */

#ifndef _NGX_ELECTRUMX_SUBS_H_INCLUDED_
#define _NGX_ELECTRUMX_SUBS_H_INCLUDED_


#include "ngx_electrumx.h"


/* rest of the hash, and how it was named (NGX_ELECTRUMX_BY_...) */
#define NGX_ELECTRUMX_TAIL           (EXI_HASH_LEN - EXI_SKEY_LEN + 1)

/* flags of a script */
#define NGX_ELECTRUMX_DIRTY          1        /* status may be out of date */
#define NGX_ELECTRUMX_QUEUED         2        /* in the list of dirty ones */
#define NGX_ELECTRUMX_SOME           4        /* status is not null */


typedef struct {
    uint32_t                     next;        /* in the table */
    uint32_t                     subs;        /* first subscriber */
    uint32_t                     dirty;       /* next dirty one */
    u_char                       key[EXI_SKEY_LEN];
    u_char                       flags;
    u_char                       status[EXI_HASH_LEN];
} ngx_electrumx_script_t;


typedef struct {
    ngx_electrumx_session_t     *session;
    union {
        uint64_t                 upper;       /* bit n: digit n is A ... F */
        u_char                  *address;     /* NUL-ended, malloc'd */
    };
    uint32_t                     hash_next;   /* in the table */
    uint32_t                     script;
    uint32_t                     next;        /* of the script */
    uint32_t                     prev;
    uint32_t                     snext;       /* of the session */
    uint32_t                     sprev;
    u_char                       tail[NGX_ELECTRUMX_TAIL];
} ngx_electrumx_sub_t;


typedef struct {
    u_char                     **chunks;
    uint32_t                     nchunks;
    uint32_t                     size;        /* of a thing */
    uint32_t                     last;        /* highest number in use ever */
    uint32_t                     free;
    uint32_t                     n;           /* in use */

    uint32_t                    *slots;       /* first of each chain */
    uint32_t                     nslots;
} ngx_electrumx_slab_t;


typedef struct {
    ngx_electrumx_slab_t         scripts;
    ngx_electrumx_slab_t         subs;
    uint64_t                     seed;        /* against chosen collisions */
} ngx_electrumx_table_t;


#define NGX_ELECTRUMX_CHUNK_SHIFT    8        /* things in a chunk */
#define NGX_ELECTRUMX_CHUNK_MASK     255

#define ngx_electrumx_slab(slab, i)                                           \
    ((slab)->chunks[(i) >> NGX_ELECTRUMX_CHUNK_SHIFT]                         \
     + (size_t) ((i) & NGX_ELECTRUMX_CHUNK_MASK) * (slab)->size)

#define ngx_electrumx_script(table, i)                                        \
    ((ngx_electrumx_script_t *) ngx_electrumx_slab(&(table)->scripts, i))
#define ngx_electrumx_sub(table, i)                                           \
    ((ngx_electrumx_sub_t *) ngx_electrumx_slab(&(table)->subs, i))

/* First subscription of a session. */
#define ngx_electrumx_first(s)  ((uint32_t) (uintptr_t) (s)->subscriptions)


void ngx_electrumx_table_init(ngx_electrumx_table_t *t, uint64_t seed);

/* Frees all memory; the table is empty afterwards and can be used again. */
void ngx_electrumx_table_done(ngx_electrumx_table_t *t);

/* Number of the script, or 0. */
uint32_t ngx_electrumx_script_find(ngx_electrumx_table_t *t,
    const u_char *key);

/* A new one without subscribers, flags and status; 0: out of memory. */
uint32_t ngx_electrumx_script_new(ngx_electrumx_table_t *t, const u_char *key);

/* Only without subscribers. */
void ngx_electrumx_script_free(ngx_electrumx_table_t *t, uint32_t i);

/* The session's subscription to a script (tail: rest of the hash, how it was
   named), or 0. */
uint32_t ngx_electrumx_sub_find(ngx_electrumx_table_t *t,
    ngx_electrumx_session_t *s, uint32_t script, const u_char *tail);

/* A new one, the first of its script and of its session; 0: out of memory. */
uint32_t ngx_electrumx_sub_new(ngx_electrumx_table_t *t,
    ngx_electrumx_session_t *s, uint32_t script, const u_char *tail);

void ngx_electrumx_sub_free(ngx_electrumx_table_t *t, uint32_t k);

/* Remembers how the client wrote it; NGX_ERROR: out of memory. */
ngx_int_t ngx_electrumx_sub_spell(ngx_electrumx_sub_t *sub,
    const ngx_str_t *spelling);

/* Writes the rest of the method's name, and of the parameters the opening and
   the name of the script without its closing quote: a script hash or an
   address as the client wrote it; of a script its hash. */
void ngx_electrumx_sub_name(ngx_electrumx_sub_t *sub,
    ngx_electrumx_script_t *script, struct exi_jw *jw);


#endif /* _NGX_ELECTRUMX_SUBS_H_INCLUDED_ */
