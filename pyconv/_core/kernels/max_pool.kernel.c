/* Max pooling. Maxima of a piece are taken as if there were no NaN, which is looked for on the way; where there is one, they
 * are taken again, rows of planes by way of the line.
 */
#include "pool_channels.h"
#include "pool_pairs.h"
#include "pool_square.h"

/* Output rows by the running maximum of van Herk (Pattern Recognition Letters 13, 1992) and of Gil and Werman (IEEE
 * Transactions on Pattern Analysis and Machine Intelligence 15, 1993): the input rows are cut into blocks as high as the
 * window, so that a window is the end of one block and the beginning of the next. That is three maxima for each row,
 * however high the window. For steps of 1 and no gaps. */
INLINE void running_rows(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, real *line,
                         vec *seen)
{
    const int64_t height = pool->h.kernel, pitch = pool->line, width = pool->w.in;
    real *middle = line + pool->w.before, *ends = line + pitch, *begun = ends + height * pitch, *row = begun + pitch;
#define ROW(y, to) \
    down(kind, p->x + (y) * p->row_stride, 0, (y) >= 0 && (y) < pool->h.in, p->column_stride, width, to, seen)
    for (int64_t first = p->first_row; first < p->end_row; first += height) {
        const int64_t top = first - pool->h.before, count = least(height, p->end_row - first);
        for (int64_t i = height - 1; i >= 0; i--) { /* the block's rows from each one to its last */
            real *end = ends + i * pitch;
            ROW(top + i, end);
            for (int64_t c = 0; c < width && i < height - 1; c += LANES)
                store(end + c, merge(kind, load(end + c), load(end + pitch + c)));
        }
        for (int64_t c = 0; c < width; c += LANES) store(begun + c, splat(start_of(kind)));
        for (int64_t i = 0; i < count; i++) {
            if (i) ROW(top + height + i - 1, row);
            clear_left(kind, pool, line);
            for (int64_t c = 0; c < width; c += LANES) {
                if (i) store(begun + c, merge(kind, load(begun + c), load(row + c)));
                store(middle + c, merge(kind, load(begun + c), load(ends + i * pitch + c)));
            }
            clear_right(kind, pool, line);
            along(kind, &pool->w, line, pool->line, p->out + (first + i) * arrays->out_strides[2]);
        }
    }
#undef ROW
}

/* TOGETHER rows of maxima, as square_rows has them: what has become NaN where there was one. The piece is a copy: then
 * stores may not change the caller's. */
static NOT_INLINED vec largest_rows(const pc_pool *pool, piece p, int64_t oy, real *out, int64_t pitch)
{
    vec seen = splat(0);
    square_rows(NUMBERS, pool, &p, oy, share_of(1), out, pitch, &seen);
    return seen;
}

/* Windows of 2 x 2, as paired_rows has them. */
static NOT_INLINED vec largest_pairs(pairs rows) { return paired_rows(NUMBERS, rows, share_of(1)); }

/* The same past the caches; in functions of their own, so that those that are not find their registers as they were. */
static NOT_INLINED vec largest_pairs_past(pairs rows) { return paired_rows_past(NUMBERS, rows, share_of(1)); }

/* Rows of windows of three columns in steps of 2 likewise. */
static NOT_INLINED vec largest_rows_past(const pc_pool *pool, piece p, int64_t pitch, real *stage)
{
    vec seen = splat(0);
    stream to = stream_to(p.out + p.first_row * pitch, stage);
    for (int64_t oy = p.first_row; oy < p.end_row; oy++) {
        const window rows = window_at(&pool->h, oy);
        register_row(NUMBERS, 0, 3, 1, 2, 1, pool, &p, rows, share_of(1), to.stage + to.kept, &seen);
        pass_on(&to, pitch);
    }
    end_stream(&to);
    return seen;
}

INLINE vec pairs_seen(pairs rows) { return rows.stage ? largest_pairs_past(rows) : largest_pairs(rows); }

INLINE void rows_of(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, real *line, vec *seen)
{
    const int small = kind == NUMBERS && pool->small;
    if (small && is_paired(pool, p)) {
        *seen += pairs_seen(pairs_of(pool, arrays, p, line));
        return;
    }
    const int square = small && is_square(pool, p);
    const int64_t pitch = arrays->out_strides[2];
    if (small && pool->far && pool->w.kernel == 3 && p->column_stride == 1 && is_streaming(pool, arrays->out_strides)) {
        *seen += largest_rows_past(pool, *p, pitch, line);
        return;
    }
    for (int64_t oy = p->first_row; oy < p->end_row; oy++) {
        const window rows = window_at(&pool->h, oy);
        real *out = p->out + oy * pitch;
        if (square && are_whole(pool, p, oy)) {
            *seen += largest_rows(pool, *p, oy, out, pitch);
            oy += TOGETHER - 1;
        } else if (small && p->column_stride == 1) {
            small_row(kind, pool, p, rows, share_of(1), out, seen);
        } else {
            separable_row(kind, pool, p, rows, line, out, seen);
        }
    }
}

INLINE void channels_of(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, real *line, vec *seen)
{
    vec sums[CHANNEL_VECTORS];
    UNROLL for (int v = 0; v < CHANNEL_VECTORS; v++) sums[v] = splat(0);
    for (int64_t oy = p->first_row; oy < p->end_row; oy++)
        channels_row(kind, pool, arrays, p, oy, undivided, line, sums);
    UNROLL for (int v = 0; v < CHANNEL_VECTORS; v++) look(kind, sums[v], seen);
}

/* Maxima of channels as if there were no NaN: what has become NaN where there was one. The piece is a copy, as
 * above. */
static NOT_INLINED vec largest_channels(const pc_pool *pool, const pc_pool_arrays *arrays, piece p, real *line)
{
    vec seen = splat(0);
    channels_of(NUMBERS, pool, arrays, &p, line, &seen);
    return seen;
}

static void all_windows(const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p)
{
    for (int64_t oy = p->first_row; oy < p->end_row; oy++) {
        const window rows = window_at(&pool->h, oy);
        real *out = p->out + oy * arrays->out_strides[2];
        for (int64_t ox = 0; ox < pool->w.out; ox++)
            out[ox * arrays->out_strides[3]] = one_window(MAXIMUM, pool, p, rows, window_at(&pool->w, ox));
    }
}

void PC_NAME(max_pool_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch)
{
    if (pool->flat) {
        whole_planes(MAXIMUM, pool, arrays, task, share_of(1));
        return;
    }
    piece p = first_piece(pool, arrays, task);
    if (pool->small && is_paired(pool, &p)) {
        pairs all = pairs_of(pool, arrays, &p, scratch);
        if ((all.rows = all.joined) && !saw_nan(pairs_seen(all))) return;
    }
    for (; p.left; next_piece(pool, arrays, &p)) {
        vec seen = splat(0), again = seen;
        if (!pool->line) {
            all_windows(pool, arrays, &p);
        } else if (pool->running) {
            running_rows(NUMBERS, pool, arrays, &p, scratch, &seen);
            if (saw_nan(seen)) running_rows(MAXIMUM, pool, arrays, &p, scratch, &again);
        } else if (pool->block > 1) {
            seen = largest_channels(pool, arrays, p, scratch);
            if (saw_nan(seen)) channels_of(MAXIMUM, pool, arrays, &p, scratch, &again);
        } else {
            rows_of(NUMBERS, pool, arrays, &p, scratch, &seen);
            if (saw_nan(seen)) rows_of(MAXIMUM, pool, arrays, &p, scratch, &again);
        }
    }
}
