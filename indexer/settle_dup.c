#include "settle_int.h"
int
settle_dup_outs(struct settle *s)
{
    (void) s;
    return 0;
}
int
settle_dup_rows(struct settle *s, struct settle_db_batch *wb,
                struct exi_meta *m)
{
    (void) s;
    (void) wb;
    (void) m;
    return 0;
}
