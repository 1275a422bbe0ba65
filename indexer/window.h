/* The blocks of the window into a new live environment. */
#ifndef WINDOW_H
#define WINDOW_H

#include "sync.h"

/* Blocks connected without settling first, beyond the window. */
#define WINDOW_AHEAD 500

/*
 * Loads the blocks between the tip of s->live (new, empty, not served) and the
 * node's best one, if that is worth it: follow_tip() does the rest.  After an
 * error s->live is of no use.  Errors as live_load() and of the node.
 */
int window_load(struct sync *s) EXI_MUST_CHECK;

#endif /* WINDOW_H */
