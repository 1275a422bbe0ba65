/*
 * Texts of the error codes.  They end up in logs and in what the operator
 * reads, so they say what happened, not which function noticed.  No default in
 * the switch: a new code without a text is a compiler warning.
 */
#include "exi_err.h"

const char *
exi_strerror(int err)
{
    switch ((enum exi_err) err) {
    case EXI_OK:
        return "no error";
    case EXI_EFORMAT:
        return "malformed data";
    case EXI_ENOTFOUND:
        return "not found";
    case EXI_EIO:
        return "input or output failed";
    case EXI_ENOMEM:
        return "out of memory";
    case EXI_ESTALE:
        return "snapshot is out of date";
    case EXI_ELIMIT:
        return "limit reached";
    case EXI_EAPI:
        return "wrong use of a function";
    case EXI_ENOTREADY:
        return "index is not ready";
    case EXI_EVERSION:
        return "data of another format version";
    case EXI_EBUSY:
        return "in use by another process";
    case EXI_ESPACE:
        return "no space left on the file system";
    case EXI_ENET:
        return "node is not reachable";
    case EXI_EAUTH:
        return "node refuses user or password";
    case EXI_EWARMUP:
        return "node is still starting";
    case EXI_ENODE:
        return "node answered with an error";
    case EXI_EANSWER:
        return "the node's answer makes no sense";
    case EXI_ECOLD:
        return "not in memory yet";
    case EXI_EHEAVY:
        return "too much work at once";
    case EXI_EMANY:
        return "too many live rows at once";
    }
    return "unknown error";
}
