/* Some rows of pooled pixels of a plane at once, in registers: where windows are square and step by 1, so that rows of the
 * input are shared. Each has the bits that register_row gives it. */
#ifndef PYCONV_POOL_SQUARE_H
#define PYCONV_POOL_SQUARE_H

#include "pool_rows.h"

/* Rows of the output that are taken at once. */
#if VECTOR_BYTES == 64
enum { TOGETHER = 4 };
#else
enum { TOGETHER = 2 };
#endif

/* What merged_down does of rows that are in registers, in its order. */
INLINE vec merged_of(int kind, int count, const vec *row)
{
    vec all = row[0];
    int j = 1;
    if (kind == NUMBERS)
        UNROLL for (; j + 2 <= count; j += 2) all = merge(kind, all, merge(kind, row[j], row[j + 1]));
    UNROLL for (; j < count; j++) all = merge(kind, all, row[j]);
    return all;
}

/* The columns at .. at + LANES of the rows of TOGETHER windows, `height` rows each, merged down. */
INLINE void columns_of(int kind, int height, int whole, const piece *p, const real *x, lane_mask lanes, vec *seen, vec *to)
{
    const vec start = splat(start_of(kind));
    vec row[TOGETHER + 6];
    UNROLL for (int j = 0; j < TOGETHER - 1 + height; j++)
        row[j] = whole ? load_once(x + j * p->row_stride) : load_lanes_or(x + j * p->row_stride, lanes, start);
    if (kind == NUMBERS) {
        vec sum = row[0];
        UNROLL for (int j = 1; j < TOGETHER - 1 + height; j++) sum += row[j];
        look(kind, sum, seen);
    }
    UNROLL for (int r = 0; r < TOGETHER; r++) to[r] = merged_of(kind, height, row + r);
}

/* TOGETHER rows of square windows that step by 1 and lie in the plane but for columns; as register_row has one. */
INLINE void square_rows_of(int kind, int width, const pc_pool *pool, const piece *p, int64_t oy, share by, real *out,
                          int64_t pitch, vec *seen)
{
    const int64_t count = pool->w.out, columns = pool->w.in;
    const real *x = p->x + (oy - pool->h.before) * p->row_stride;
    vec here[TOGETHER], next[TOGETHER];
    UNROLL for (int r = 0; r < TOGETHER; r++) here[r] = splat(0);
    for (int64_t i = -LANES; i < count; i += LANES) {
        const int64_t at = i + LANES - pool->w.before;
        if (at >= 0 && at + LANES <= columns) {
            columns_of(kind, width, 1, p, x + at, lanes_between(0, LANES), seen, next);
        } else if (at + LANES > 0 && at < columns) {
            columns_of(kind, width, 0, p, x + at, lanes_between(-at, columns - at), seen, next);
        } else {
            UNROLL for (int r = 0; r < TOGETHER; r++) next[r] = splat(start_of(kind));
        }
        UNROLL for (int r = 0; r < TOGETHER; r++)
        {
            vec all = here[r];
            UNROLL for (int k = 1; k < width; k++) all = merge(kind, all, shifted(here[r], next[r], k));
            if (i >= 0) store_part(out + r * pitch + i, finished(kind, all, by), count - i);
            here[r] = next[r];
        }
    }
}

INLINE int is_square(const pc_pool *pool, const piece *p)
{
    return p->column_stride == 1 && pool->h.kernel == pool->w.kernel && pool->h.stride == 1 && pool->w.stride == 1
           && pool->h.dilation == 1 && pool->w.dilation == 1;
}

/* Whether the piece has the rows oy .. oy + TOGETHER - 1, and their windows no row outside of the plane. */
INLINE int are_whole(const pc_pool *pool, const piece *p, int64_t oy)
{
    const int64_t top = oy - pool->h.before;
    return oy + TOGETHER <= p->end_row && top >= 0 && top + TOGETHER - 1 + pool->h.kernel <= pool->h.in;
}

/* The same, with the width that the pooling has. */
INLINE void square_rows(int kind, const pc_pool *pool, const piece *p, int64_t oy, share by, real *out, int64_t pitch,
                        vec *seen)
{
    const int64_t width = pool->w.kernel;
    if (width == 2) square_rows_of(kind, 2, pool, p, oy, by, out, pitch, seen);
    else if (width == 3) square_rows_of(kind, 3, pool, p, oy, by, out, pitch, seen);
    else if (width == 5) square_rows_of(kind, 5, pool, p, oy, by, out, pitch, seen);
    else square_rows_of(kind, 7, pool, p, oy, by, out, pitch, seen);
}

#endif
