/* Max pooling. NaN wins over everything (max_or_nan). */
#include "pool.h"

/* Window by window, with the place of each maximum.
 * torch's choice: the first of equal elements, the last NaN. A window of -inf points at its first tap inside the plane;
 * one that has no element (padding and dilation can do that) at its first tap, moved into the plane. */
static real one_place(const pc_pool *pool, const piece *p, window rows, window columns, int64_t *index)
{
    real best = -INFINITY;
    if (rows.taps && columns.taps) *index = rows.first * pool->w.in + columns.first;
    else *index = rows.nearest * pool->w.in + columns.nearest;
    for (int64_t i = 0; i < rows.taps; i++) {
        const int64_t y = rows.first + i * pool->h.dilation;
        for (int64_t k = 0; k < columns.taps; k++) {
            const int64_t column = columns.first + k * pool->w.dilation;
            const real value = p->x[y * p->row_stride + column * p->column_stride];
            if (value > best || value != value) {
                best = value;
                *index = y * pool->w.in + column;
            }
        }
    }
    return best;
}

static void channels_row(const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, window rows, real *line,
                         real *out)
{
    for (int64_t ox = 0; ox < pool->w.out; ox++)
        store(line + ox * LANES, channels_window(MAXIMUM, pool, p, rows, window_at(&pool->w, ox)));
    put_channels(arrays, p, line, pool->w.out, out);
}

void PC_NAME(max_pool_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch)
{
    piece p;
    for (int64_t i = 0; piece_of(pool, arrays, task, i, &p); i++) {
        for (int64_t oy = p.first_row; oy < p.end_row; oy++) {
            const window rows = window_at(&pool->h, oy);
            real *out = p.out + oy * arrays->out_strides[2];
            if (pool->block > 1) {
                channels_row(pool, arrays, &p, rows, scratch, out);
            } else if (pool->line) {
                separable_row(MAXIMUM, pool, &p, rows, scratch, out);
            } else {
                for (int64_t ox = 0; ox < pool->w.out; ox++)
                    out[ox] = one_window(MAXIMUM, pool, &p, rows, window_at(&pool->w, ox));
            }
        }
    }
}

void PC_NAME(max_pool_indices_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch)
{
    (void)scratch;
    piece p;
    for (int64_t i = 0; piece_of(pool, arrays, task, i, &p); i++) {
        for (int64_t oy = p.first_row; oy < p.end_row; oy++) {
            const window rows = window_at(&pool->h, oy);
            real *out = p.out + oy * arrays->out_strides[2];
            int64_t *indices = p.indices + oy * pool->w.out;
            for (int64_t ox = 0; ox < pool->w.out; ox++)
                out[ox] = one_place(pool, &p, rows, window_at(&pool->w, ox), indices + ox);
        }
    }
}
