/*
 * Error codes of libexi and the indexer: functions return EXI_OK (0) or one of
 * these negative values; split by what the caller does about it.
 */
#ifndef EXI_ERR_H
#define EXI_ERR_H

#if defined(__GNUC__)
#define EXI_MUST_CHECK __attribute__((warn_unused_result))
#else
#define EXI_MUST_CHECK
#endif

enum exi_err {
    EXI_OK = 0,
    EXI_EFORMAT = -1,   /* malformed input or stored data: never retried */
    EXI_ENOTFOUND = -2, /* a look-up has no result */
    EXI_EIO = -3,       /* the system or database failed; errno may say why */
    EXI_ENOMEM = -4,
    EXI_ESTALE = -5,    /* the snapshot is out of date: begin a new view */
    EXI_ELIMIT = -6,    /* a limit given by the caller was reached */
    EXI_EAPI = -7,      /* wrong use of a function */
    EXI_ENOTREADY = -8, /* there is no index to read yet */
    EXI_EVERSION = -9,  /* data of another format version */
    EXI_EBUSY = -10,    /* another process holds it */
    EXI_ESPACE = -11,   /* no space left on the file system */
    EXI_ENET = -12,     /* the node does not answer */
    EXI_EAUTH = -13,    /* the node refuses our password */
    EXI_EWARMUP = -14,  /* the node is still starting */
    EXI_ENODE = -15,    /* the node answered with an error */
    EXI_EANSWER = -16,  /* what the node answered makes no sense */
    EXI_ECOLD = -17,    /* a disk would have to be waited for: exi_cold.h */
    EXI_EHEAVY = -18,   /* more work than the caller wants done at once */
    EXI_EMANY = -19     /* the same, of the live layer: gather its rows */
};

/*
 * Short English text for a code, for logs; a constant string, never NULL.
 * Any thread.
 */
const char *exi_strerror(int err);

#endif /* EXI_ERR_H */
