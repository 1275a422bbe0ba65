/*
 * The data directory as a whole: made and locked by the one process that writes
 * to it.
 */
#ifndef DATADIR_H
#define DATADIR_H

/*
 * Makes the directory if need be and locks it (flock on DATA/lock, which gets
 * our pid).  Returns the descriptor, to be kept until the end, or -1: what is
 * wrong has been logged.  Once per process.
 */
int datadir_lock(const char *dir);

#endif /* DATADIR_H */
