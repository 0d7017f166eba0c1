/* Average and L-p pooling: sums of the windows' elements, or of their squares, over how many there are.
 *
 * Every sum is taken down the columns first and then along, in one order for any number of threads.
 */
#include "pool_rows.h"

/* What a window's sum is divided by: its elements, or the number that was given instead; relative to a whole window for
 * L-p, whose windows all weigh the same. */
static real divisor_of(const pc_pool *pool, window rows, window columns)
{
    return (real)(pool->divisor ? pool->divisor : (double)rows.counted * (double)columns.counted / pool->area);
}

/* The columns first .. end of a row whose windows count as many elements as most do. */
static void usual_columns(const pc_pool *pool, int64_t *first, int64_t *end)
{
    *first = 0, *end = pool->w.out;
    if (pool->divisor) return;
    const int64_t usual = pool->w.adaptive ? 0 : pool->w.kernel; /* adaptive: all are divided one by one */
    while (*first < *end && window_at(&pool->w, *first).counted != usual) ++*first;
    while (*end > *first && window_at(&pool->w, *end - 1).counted != usual) --*end;
}

/* Sums to averages, in place. */
static void divide_row(const pc_pool *pool, window rows, real *out)
{
    int64_t first, end;
    usual_columns(pool, &first, &end);
    for (int64_t i = 0; i < pool->w.out; i++) {
        if (i == first && first < end) {
            const real divisor = divisor_of(pool, rows, window_at(&pool->w, first));
            for (; i < end; i++) out[i] /= divisor;
            if (i == pool->w.out) break;
        }
        out[i] /= divisor_of(pool, rows, window_at(&pool->w, i));
    }
}

/* All windows of a row in registers as if they were the usual ones; then those that are not, one by one. */
INLINE void divided_row(int kind, const pc_pool *pool, const piece *p, window rows, real *out)
{
    int64_t first, end;
    mask none = {0};
    const window usual = {.counted = pool->w.kernel};
    usual_columns(pool, &first, &end);
    small_row(kind, pool, p, rows, divisor_of(pool, rows, usual), out, &none);
    for (int64_t i = 0; i < pool->w.out; i++) {
        if (i == first) i = end;
        if (i == pool->w.out) break;
        const window columns = window_at(&pool->w, i);
        out[i] = one_window(kind, pool, p, rows, columns) / divisor_of(pool, rows, columns);
    }
}

static void root_row(int64_t count, real *out)
{
    for (int64_t i = 0; i < count; i++) out[i] = PC_F64 ? sqrt(out[i]) : sqrtf(out[i]);
}

INLINE void channels_row(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, window rows,
                         real *line, real *out)
{
    mask none = {0};
    for (int64_t ox = 0; ox < pool->w.out; ox++) {
        const window columns = window_at(&pool->w, ox);
        const real divisor = divisor_of(pool, rows, columns);
        const vec all = channels_window(kind, pool, p, rows, columns, &none);
        store(line + ox * LANES, divided(all, splat(divisor), splat(1 / divisor)));
    }
    if (kind == SQUARES) root_row(pool->w.out * LANES, line);
    put_channels(arrays, p, line, pool->w.out, out);
}

INLINE void rows_of(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, real *line)
{
    mask none = {0};
    for (int64_t oy = p->first_row; oy < p->end_row; oy++) {
        const window rows = window_at(&pool->h, oy);
        real *out = p->out + oy * arrays->out_strides[2];
        if (pool->block > 1) {
            channels_row(kind, pool, arrays, p, rows, line, out);
            continue;
        }
        if (pool->small && p->column_stride == 1) {
            divided_row(kind, pool, p, rows, out);
        } else {
            if (pool->line) {
                separable_row(kind, pool, p, rows, line, out, &none);
            } else {
                for (int64_t ox = 0; ox < pool->w.out; ox++)
                    out[ox] = one_window(kind, pool, p, rows, window_at(&pool->w, ox));
            }
            divide_row(pool, rows, out);
        }
        if (kind == SQUARES) root_row(pool->w.out, out);
    }
}

void PC_NAME(sum_pool_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch)
{
    if (pool->flat) { /* one window a plane */
        const window one = window_at(&pool->h, 0), all = window_at(&pool->w, 0);
        if (!pool->squares) {
            whole_planes(SUM, pool, arrays, task, divisor_of(pool, one, all));
            return;
        }
    }
    for (piece p = first_piece(pool, arrays, task); p.left; next_piece(pool, arrays, &p)) {
        if (pool->squares) rows_of(SQUARES, pool, arrays, &p, scratch);
        else rows_of(SUM, pool, arrays, &p, scratch);
    }
}
