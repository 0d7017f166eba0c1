/* Elements that lie apart in memory, put side by side: out[i] = x[step * i]. */
#include "kernels.h"
#include "vector.h"

void PC_NAME(gather)(const void *x_, int64_t step, void *out_, int64_t count)
{
    const real *x = x_;
    real *out = out_;
    int64_t i = 0;
    if (step == 1) {
        for (; i + LANES <= count; i += LANES) store(out + i, load(x + i));
    } else if (step == 2) {
        /* the last element that is loaded is none of those that are asked for: one behind them has to be */
        for (; i + LANES < count; i += LANES) store(out + i, even_of(load(x + 2 * i), load(x + 2 * i + LANES)));
    }
    for (; i < count; i++) out[i] = x[step * i];
}
