/* Average and L-p pooling: sums of the windows' elements, or of their squares, over how many there are.
 *
 * Every sum is taken down the columns first and then along, in one order for any number of threads.
 */
#include "pool_channels.h"
#include "pool_pairs.h"
#include "pool_square.h"

/* What a window's sum is divided by: its elements, or the number that was given instead; relative to a whole window for
 * L-p, whose windows all weigh the same. */
static real divisor_of(const pc_pool *pool, window rows, window columns)
{
    return (real)(pool->divisor ? pool->divisor : (double)rows.counted * (double)columns.counted / pool->area);
}

/* The columns of a row whose windows count as many elements as most do; the same for every row. */
typedef struct {
    int64_t first, end;
} usual;

static usual usual_columns(const pc_pool *pool)
{
    usual found = {0, pool->w.out};
    if (pool->divisor) return found;
    const int64_t count = pool->w.adaptive ? 0 : pool->w.kernel; /* adaptive: all are divided one by one */
    while (found.first < found.end && window_at(&pool->w, found.first).counted != count) found.first++;
    while (found.end > found.first && window_at(&pool->w, found.end - 1).counted != count) found.end--;
    return found;
}

/* What the sums of a row's usual windows are divided by. */
static share usual_share(const pc_pool *pool, window rows)
{
    return share_of(divisor_of(pool, rows, (window){.counted = pool->w.kernel}));
}

/* Sums to averages, in place. */
static void divide_row(const pc_pool *pool, usual columns, window rows, real *out)
{
    const share by = usual_share(pool, rows);
    int64_t i = columns.first;
    for (; i + LANES <= columns.end; i += LANES) store(out + i, divided(load(out + i), by));
    for (; i < columns.end; i++) out[i] /= by.divisor;
    for (i = 0; i < pool->w.out; i++) {
        if (i == columns.first) i = columns.end;
        if (i == pool->w.out) break;
        out[i] /= divisor_of(pool, rows, window_at(&pool->w, i));
    }
}

/* Windows of a row that are not the usual ones, one by one. */
INLINE void divide_edges(const pc_pool *pool, const piece *p, usual columns, window rows, real *out)
{
    for (int64_t i = 0; i < pool->w.out; i++) {
        if (i == columns.first) i = columns.end;
        if (i == pool->w.out) break;
        const window other = window_at(&pool->w, i);
        out[i] = one_window(SUM, pool, p, rows, other) / divisor_of(pool, rows, other);
    }
}

/* All windows of a row in registers as if they were the usual ones; then those that are not. */
INLINE void divided_row(const pc_pool *pool, const piece *p, usual columns, window rows, real *out)
{
    vec none = splat(0);
    small_row(SUM, pool, p, rows, usual_share(pool, rows), out, &none);
    divide_edges(pool, p, columns, rows, out);
}

/* Likewise TOGETHER rows, which begin with row oy. The piece is a copy: then stores may not change the caller's. */
static NOT_INLINED void divided_rows(const pc_pool *pool, piece p, usual columns, int64_t oy, real *out, int64_t pitch)
{
    const window rows = window_at(&pool->h, oy);
    vec none = splat(0);
    square_rows(SUM, pool, &p, oy, usual_share(pool, rows), out, pitch, &none);
    for (int64_t r = 0; r < TOGETHER; r++) divide_edges(pool, &p, columns, window_at(&pool->h, oy + r), out + r * pitch);
}

/* Windows of 2 x 2, as paired_rows has them. */
static NOT_INLINED void divided_pairs(pairs rows, share by) { paired_rows(SUM, rows, by); }

/* The same past the caches. */
static NOT_INLINED void divided_pairs_past(pairs rows, share by) { paired_rows_past(SUM, rows, by); }

INLINE void divide_pairs(pairs rows, share by)
{
    if (rows.stage) divided_pairs_past(rows, by);
    else divided_pairs(rows, by);
}

/* Whether a piece is of such windows, of which each counts as many elements. */
static inline int are_pairs(const pc_pool *pool, const piece *p, usual columns)
{
    return pool->small && columns.first == 0 && columns.end == pool->w.out && is_paired(pool, p);
}

static inline share pixel_share(const pc_pool *pool, window rows, window columns)
{
    return share_of(divisor_of(pool, rows, columns));
}

INLINE void channels_of(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, real *line)
{
    vec none[CHANNEL_VECTORS];
    for (int64_t oy = p->first_row; oy < p->end_row; oy++)
        channels_row(kind, pool, arrays, p, oy, pixel_share, line, none);
}

INLINE void rows_of(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, usual columns, real *line)
{
    const int small = kind == SUM && pool->small; /* sums of squares go by way of the line */
    vec none = splat(0);
    if (kind == SUM && are_pairs(pool, p, columns)) {
        divide_pairs(pairs_of(pool, arrays, p, line), usual_share(pool, window_at(&pool->h, p->first_row)));
        return;
    }
    const int square = small && is_square(pool, p);
    const int64_t pitch = arrays->out_strides[2];
    for (int64_t oy = p->first_row; oy < p->end_row; oy++) {
        const window rows = window_at(&pool->h, oy);
        real *out = p->out + oy * pitch;
        if (square && are_whole(pool, p, oy)) {
            divided_rows(pool, *p, columns, oy, out, pitch);
            oy += TOGETHER - 1;
        } else if (small && p->column_stride == 1) {
            divided_row(pool, p, columns, rows, out);
        } else {
            if (pool->line) {
                separable_row(kind, pool, p, rows, line, out, &none);
            } else {
                for (int64_t ox = 0; ox < pool->w.out; ox++)
                    out[ox] = one_window(kind, pool, p, rows, window_at(&pool->w, ox));
            }
            divide_row(pool, columns, rows, out);
        }
        if (kind == SQUARES) root_row(pool->w.out, out);
    }
}

void PC_NAME(sum_pool_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch)
{
    if (pool->flat) { /* one window a plane */
        const window one = window_at(&pool->h, 0), all = window_at(&pool->w, 0);
        if (!pool->squares) {
            whole_planes(SUM, pool, arrays, task, share_of(divisor_of(pool, one, all)));
            return;
        }
    }
    const usual columns = usual_columns(pool);
    piece p = first_piece(pool, arrays, task);
    if (!pool->squares && are_pairs(pool, &p, columns)) {
        pairs all = pairs_of(pool, arrays, &p, scratch);
        if ((all.rows = all.joined)) {
            divide_pairs(all, usual_share(pool, window_at(&pool->h, p.first_row)));
            return;
        }
    }
    for (; p.left; next_piece(pool, arrays, &p)) {
        if (pool->block > 1 && pool->squares) channels_of(SQUARES, pool, arrays, &p, scratch);
        else if (pool->block > 1) channels_of(SUM, pool, arrays, &p, scratch);
        else if (pool->squares) rows_of(SQUARES, pool, arrays, &p, columns, scratch);
        else rows_of(SUM, pool, arrays, &p, columns, scratch);
    }
}
