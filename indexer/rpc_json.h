/*
 * JSON text of values that the node gave.  jansson keeps numbers as doubles
 * and would print 0.0001 as 0.0001000000000000000048 or 0.0001 as 1e-05; here
 * a number comes out as short as it can be and still the same.  Any thread.
 *
 * Amounts of 2^26 coins and more may lose their last decimal.  Only an output
 * of `verbosetx` could have one, on a network with more coins than that (of
 * those we know litecoin: 84 million), and be four fifths of them; sums are in
 * satoshi or of fees.
 */
#ifndef RPC_JSON_H
#define RPC_JSON_H

#include <jansson.h>

#include "rpc.h"

/* Room for rpc_json_real(). */
#define RPC_JSON_REAL_MAX 40

/*
 * Writes a finite double with terminator: amounts (up to 8 decimals, below
 * 2^26) as plain decimals ("0.00001", "21000000.00000001", "1.0"), others
 * as the shortest text that reads back as the same double.  Returns the length.
 */
size_t rpc_json_real(char out[RPC_JSON_REAL_MAX], double v);

/* Appends the text of a value, compact.  EXI_ENOMEM: out is then cut short. */
int rpc_json_text(struct rpc_buf *out, const json_t *v) EXI_MUST_CHECK;

/* Appends {"code":code,"message":message}. */
int rpc_json_error(struct rpc_buf *out, int code,
                   const char *message) EXI_MUST_CHECK;

#endif /* RPC_JSON_H */
