/* Average and L-p pooling: sums of the windows' elements, or of their squares, over how many there are.
 *
 * Every sum is taken down the columns first and then along, in one order for any number of threads.
 */
#include "pool.h"

/* What a window's sum is divided by: its elements, or the number that was given instead; relative to a whole window for
 * L-p, whose windows all weigh the same. */
static real divisor_of(const pc_pool *pool, window rows, window columns)
{
    return (real)(pool->divisor ? pool->divisor : (double)rows.counted * (double)columns.counted / pool->area);
}

/* Sums to averages, in place. All windows of a row have one divisor but those near its ends. */
static void divide_row(const pc_pool *pool, window rows, real *out)
{
    const int64_t width = pool->w.out;
    int64_t first = 0, end = width;
    if (!pool->divisor) {
        const int64_t middle = pool->w.adaptive ? 0 : pool->w.kernel; /* adaptive: all are divided one by one */
        while (first < end && window_at(&pool->w, first).counted != middle) first++;
        while (end > first && window_at(&pool->w, end - 1).counted != middle) end--;
    }
    for (int64_t i = 0; i < first; i++) out[i] /= divisor_of(pool, rows, window_at(&pool->w, i));
    for (int64_t i = end; i < width; i++) out[i] /= divisor_of(pool, rows, window_at(&pool->w, i));
    if (first < end) {
        const real divisor = divisor_of(pool, rows, window_at(&pool->w, first));
        for (int64_t i = first; i < end; i++) out[i] /= divisor;
    }
}

static void root_row(int64_t count, real *out)
{
    for (int64_t i = 0; i < count; i++) out[i] = PC_F64 ? sqrt(out[i]) : sqrtf(out[i]);
}

INLINE void channels_row(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, window rows,
                         real *line, real *out)
{
    for (int64_t ox = 0; ox < pool->w.out; ox++) {
        const window columns = window_at(&pool->w, ox);
        store(line + ox * LANES, channels_window(kind, pool, p, rows, columns) / splat(divisor_of(pool, rows, columns)));
    }
    if (kind == SQUARES) root_row(pool->w.out * LANES, line);
    put_channels(arrays, p, line, pool->w.out, out);
}

INLINE void rows_of(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, real *line)
{
    for (int64_t oy = p->first_row; oy < p->end_row; oy++) {
        const window rows = window_at(&pool->h, oy);
        real *out = p->out + oy * arrays->out_strides[2];
        if (pool->block > 1) {
            channels_row(kind, pool, arrays, p, rows, line, out);
            continue;
        }
        if (pool->line) {
            separable_row(kind, pool, p, rows, line, out);
        } else {
            for (int64_t ox = 0; ox < pool->w.out; ox++)
                out[ox] = one_window(kind, pool, p, rows, window_at(&pool->w, ox));
        }
        divide_row(pool, rows, out);
        if (kind == SQUARES) root_row(pool->w.out, out);
    }
}

void PC_NAME(sum_pool_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch)
{
    piece p;
    for (int64_t i = 0; piece_of(pool, arrays, task, i, &p); i++) {
        if (pool->squares) rows_of(SQUARES, pool, arrays, &p, scratch);
        else rows_of(SUM, pool, arrays, &p, scratch);
    }
}
