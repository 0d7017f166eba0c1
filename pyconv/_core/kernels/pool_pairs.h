/* Windows of two rows and two columns, in steps of 2 along rows, all of which lie in the plane: what poolings mostly are.
 *
 * Rows are read and written in whole vectors: a masked store takes as long as all the rest. The end of a long row is a
 * vector that begins before the last one has ended. What a vector holds beyond the end of a short row is written too, where
 * the next rows follow in memory and are written later by the same task; two rows at a time where they fit into a vector.
 * Each window has the bits that register_row gives it. */
#ifndef PYCONV_POOL_PAIRS_H
#define PYCONV_POOL_PAIRS_H

#include "pool_rows.h"

/* Rows of windows, of one plane or of several that follow one another as if they were one. */
typedef struct {
    const real *x;
    int64_t step, down; /* from a window's first row to its second one, and to the first one of the next window down */
    real *out;
    int64_t pitch, width, rows;
    int64_t joined;      /* rows of all pieces that are left, if they are planes that follow one another, or 0 */
    int64_t height, gap; /* rows of windows of a plane; from where the next one would be to the next plane */
    int64_t readable, writable; /* elements from x and out on that vectors may touch beyond the end of a row, or 0 */
    int64_t ahead, level; /* elements by which rows are fetched ahead, and into which level of the cache; 0: not */
    real *stage;          /* of results that are written past the caches, or NULL */
} pairs;

INLINE int is_paired(const pc_pool *pool, const piece *p)
{
    const pc_pool_axis *h = &pool->h, *w = &pool->w;
    return w->kernel == 2 && w->stride == 2 && w->dilation == 1 && w->before == 0 && 2 * w->out <= w->in && !w->adaptive
           && h->kernel == 2 && !h->adaptive && p->column_stride == 1 && p->first_row * h->stride >= h->before
           && (p->end_row - 1) * h->stride - h->before + h->dilation < h->in;
}

static inline pairs pairs_of(const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, void *scratch)
{
    const pc_pool_axis *h = &pool->h, *w = &pool->w;
    const int64_t *from = arrays->x_strides, *to = arrays->out_strides;
    const int64_t in_plane = h->in * w->in, out_plane = h->out * w->out, others = p->left - 1;
    const int64_t top = p->first_row * h->stride - h->before, rows = p->end_row - p->first_row;
    const int one_image = p->channel + p->left <= pool->channels;
    const int x_follows = from[1] == in_plane && (one_image || from[0] == pool->channels * in_plane);
    const int out_follows = to[1] == out_plane && (one_image || to[0] == pool->channels * out_plane);
    pairs found = {.x = p->x + top * p->row_stride, .out = p->out + p->first_row * to[2]};
    found.step = h->dilation * p->row_stride, found.down = h->stride * p->row_stride, found.pitch = to[2];
    found.ahead = pool->near ? pool->near : pool->far, found.level = pool->near ? 1 : pool->far ? 2 : 0;
    found.stage = is_streaming(pool, to) ? scratch : NULL;
    found.width = w->out, found.rows = found.height = rows, found.gap = in_plane - rows * found.down;
    if (from[2] == w->in) { /* to the end of the last window's row */
        found.readable = (rows - 1) * found.down + found.step + w->in;
        if (x_follows) found.readable += others * in_plane;
    }
    if (to[2] == w->out) found.writable = (out_follows ? others * out_plane : 0) + rows * w->out;
    if (from[2] == w->in && to[2] == w->out && x_follows && out_follows) found.joined = others * h->out + rows;
    return found;
}

/* The row after that at x, of which `left` more are in its plane with it. */
INLINE const real *next_row(const pairs *r, const real *x, int64_t *left)
{
    if (--*left) return x + r->down;
    *left = r->height;
    return x + r->down + r->gap;
}

/* LANES windows from x on */
INLINE vec paired(int kind, const pairs *r, const real *x, share by, vec *sums)
{
    const lane_mask all = lanes_between(0, LANES);
    const vec left = merged_down(kind, x, r->step, 2, 1, all, sums);
    const vec right = merged_down(kind, x + LANES, r->step, 2, 1, all, sums + 1);
    return finished(kind, merge(kind, even_of(left, right), odd_of(left, right)), by);
}

/* Rows of at least a vector */
INLINE void long_rows(int kind, int level, const pairs *r, share by, vec *sums)
{
    const int64_t last = r->width - LANES;
    const real *x = r->x;
    real *out = r->out;
    for (int64_t rest = r->rows, left = r->height; rest; rest--, x = next_row(r, x, &left), out += r->pitch) {
        for (int64_t i = 0; i < r->width; i += LANES) {
            const int64_t at = least(i, last);
            if (level) fetch(x + 2 * at + r->ahead, r->step, level);
            store(out + at, paired(kind, r, x + 2 * at, by, sums));
        }
    }
}

/* The same past the caches, by way of the stage. All of it waits for memory: the level need not be known beforehand. */
INLINE vec paired_rows_past(int kind, pairs rows, share by)
{
    vec sums[2] = {splat(0), splat(0)};
    const pairs *r = &rows;
    const int64_t last = r->width - LANES;
    const real *x = r->x;
    stream to = stream_to(r->out, r->stage);
    for (int64_t rest = r->rows, left = r->height; rest; rest--, x = next_row(r, x, &left)) {
        for (int64_t i = 0; i < r->width; i += LANES) {
            const int64_t at = least(i, last);
            if (r->level) fetch(x + 2 * at + r->ahead, r->step, r->level);
            store(to.stage + to.kept + at, paired(kind, r, x + 2 * at, by, sums));
        }
        pass_on(&to, r->width);
    }
    end_stream(&to);
    return sums[0] + sums[1];
}

/* Rows of less than a vector and more than half of one */
INLINE void short_rows(int kind, int level, const pairs *r, share by, vec *sums)
{
    const lane_mask all = lanes_between(0, LANES), some = lanes_between(0, 2 * r->width - LANES);
    const real *x = r->x, *last_x = x + r->readable - r->step - 2 * LANES;
    real *out = r->out, *last_out = r->readable && r->writable ? out + r->writable - LANES : 0;
    for (int64_t rest = r->rows, left = r->height; rest; rest--, x = next_row(r, x, &left), out += r->pitch) {
        if (level) fetch(x + r->ahead, r->step, level);
        if (x <= last_x && out <= last_out) {
            store(out, paired(kind, r, x, by, sums));
            continue;
        }
        const vec a = merged_down(kind, x, r->step, 2, 1, all, sums);
        const vec b = merged_down(kind, x + LANES, r->step, 2, 0, some, sums + 1);
        store_part(out, finished(kind, merge(kind, even_of(a, b), odd_of(a, b)), by), r->width);
    }
}

/* Rows of at most half a vector: two at a time */
INLINE void shortest_rows(int kind, const pairs *r, share by, vec *sums)
{
    const int64_t half = LANES / 2, width = r->width;
    const lane_mask all = lanes_between(0, LANES), some = lanes_between(0, 2 * width);
    const ivec lane = {FROM(0)}, behind = lane >= (integer)width; /* all ones where it holds */
    const ivec side_by_side = (lane + (behind & (integer)(half - width))) & (integer)(LANES - 1);
    const real *x = r->x, *last_x = x + r->readable - r->step - LANES;
    real *out = r->out, *last_out = r->readable && r->writable ? out + r->writable - LANES : 0;
    for (int64_t rest = r->rows, left = r->height; rest > 0; rest -= 2, x = next_row(r, x, &left)) {
        const real *first = x;
        if (rest > 1) x = next_row(r, x, &left);
        if (rest > 1 && x <= last_x && out <= last_out) {
            const vec one = merged_down(kind, first, r->step, 2, 1, all, sums);
            const vec two = merged_down(kind, x, r->step, 2, 1, all, sums + 1);
            const vec both = finished(kind, merge(kind, even_of(one, two), odd_of(one, two)), by);
            store(out, width == half ? both : rearranged(both, side_by_side));
            out += 2 * r->pitch;
            continue;
        }
        const vec one = merged_down(kind, first, r->step, 2, 0, some, sums);
        const vec two = merged_down(kind, x, r->step, 2, 0, some, sums + 1);
        const vec both = finished(kind, merge(kind, even_of(one, two), odd_of(one, two)), by);
        store_part(out, both, width);
        if (rest > 1) store_part(out + r->pitch, SHUFFLE(both, both, FROM_HALF), width);
        out += 2 * r->pitch;
    }
}

/* All of them; returns what has become NaN where there was one. The pairs are a copy: then stores may not change the
 * caller's. */
INLINE vec paired_rows(int kind, pairs r, share by)
{
    vec sums[2] = {splat(0), splat(0)};
#define ROWS(level)                                                     \
    do {                                                                \
        if (r.width >= LANES) long_rows(kind, level, &r, by, sums);     \
        else short_rows(kind, level, &r, by, sums);                     \
    } while (0)
    if (2 * r.width <= LANES) shortest_rows(kind, &r, by, sums);
    else if (r.level == 1) ROWS(1);
    else if (r.level == 2) ROWS(2);
    else ROWS(0);
#undef ROWS
    return sums[0] + sums[1];
}

#endif
