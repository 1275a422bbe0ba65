/*
 * electrumx-indexer check --repair: makes the settled layer whole again with as
 * little work as the damage allows (docs/reliability.md):
 *
 *   FORMAT, settled/CURRENT    written again from a generation
 *   the epoch that is written  made again from the newest generation
 *   flat files                 the blocks that fail are fetched from the node
 *   anything in LevelDB        back to the newest generation that is whole, or
 *                              to an empty index: the indexer syncs the rest
 *
 * Nothing that a reader may hold is changed: damaged files are replaced, and
 * damaged generations are no longer listed.
 */
#ifndef REPAIR_H
#define REPAIR_H

#include "check.h"
#include "conf.h"

/*
 * Checks all (node: as check --node) and repairs what is found.  Locks the data directory.  A kill at any
 * moment leaves something that can be checked and repaired again.
 * EXI_OK: a full check of what is there now finds nothing; other values: what is
 * wrong has been logged.
 */
int repair_run(const struct conf *c, bool node,
               volatile sig_atomic_t *stop) EXI_MUST_CHECK;

/*
 * repair_flat.c: writes the records of damaged blocks and the header tree again
 * in dir (a generation's flat/) for the chain of its manifest m.
 * Blocks come from the node of c.  EXI_OK, node errors (logged), EXI_EFORMAT:
 * the node's chain is not ours, EXI_ESPACE, EXI_EIO, EXI_ENOMEM.
 */
int repair_flat(const struct conf *c, const char *dir,
                const struct exi_manifest *m,
                const struct check_result *found) EXI_MUST_CHECK;

/*
 * Gives missing or short segments in dir their length, so that the files open;
 * records that are lost are zeros, which the check finds.  EXI_OK, EXI_ESPACE,
 * EXI_EIO.
 */
int repair_segments(const char *dir,
                    const struct exi_manifest *m) EXI_MUST_CHECK;

#endif /* REPAIR_H */
