/* What the poolings share: where windows lie, the pieces of a task, and how two elements are merged. */
#ifndef PYCONV_POOL_H
#define PYCONV_POOL_H

#include <math.h>

#include "kernels.h"
#include "select.h"
#include "vector.h"

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* One window along one axis. */
typedef struct {
    int64_t first, taps; /* those inside the array: first, first + dilation, ... */
    int64_t counted;     /* what an average divides by */
    int64_t nearest;     /* the place inside that is nearest to its first tap */
} window;

static inline window window_at(const pc_pool_axis *axis, int64_t i)
{
    if (axis->adaptive) { /* floor(i * in / out) to ceil((i + 1) * in / out), in products that 64 bits hold */
        const int64_t whole = axis->in / axis->out, rest = axis->in % axis->out;
        const int64_t first = whole * i + rest * i / axis->out;
        const int64_t end = whole * (i + 1) + (rest * (i + 1) + axis->out - 1) / axis->out;
        return (window){first, end - first, end - first, first};
    }
    const int64_t start = i * axis->stride - axis->before, gap = axis->dilation;
    int64_t begin = 0, end = axis->kernel;
    if (start < 0) begin = least((-start + gap - 1) / gap, end);
    if (start + (end - 1) * gap >= axis->in) end = start < axis->in ? (axis->in - 1 - start) / gap + 1 : 0;
    end = larger(begin, end);
    const int64_t counted = axis->count_padding ? least(axis->kernel, axis->in + axis->after - start) : end - begin;
    return (window){start + begin * gap, end - begin, counted, least(larger(start, 0), axis->in - 1)};
}

/* Output rows of one plane, or of a block of planes whose channels are neighbours in memory. */
typedef struct {
    const real *x;
    int64_t row_stride, column_stride;
    real *out;
    int64_t *indices;
    int64_t channels;
    int64_t first_row, end_row;
    int64_t image, channel, left; /* where it lies; pieces of the task that are left */
} piece;

static inline void place_piece(const pc_pool *pool, const pc_pool_arrays *arrays, piece *p)
{
    p->x = (const real *)arrays->x + p->image * arrays->x_strides[0] + p->channel * arrays->x_strides[1];
    p->out = (real *)arrays->out + p->image * arrays->out_strides[0] + p->channel * arrays->out_strides[1];
    p->indices = arrays->indices;
    if (p->indices) p->indices += p->image * arrays->index_strides[0] + p->channel * arrays->index_strides[1];
    p->channels = least(pool->block, pool->channels - p->channel);
}

/* A task's first piece; left is 0 after the last one. */
static inline piece first_piece(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task)
{
    const int64_t unit = task / pool->per_plane * pool->planes, row = task % pool->per_plane * pool->rows;
    piece p = {.row_stride = arrays->x_strides[2], .column_stride = arrays->x_strides[3]};
    p.image = unit / pool->blocks, p.channel = unit % pool->blocks * pool->block;
    p.left = least(pool->planes, pool->units - unit);
    p.first_row = row, p.end_row = least(row + pool->rows, pool->h.out);
    place_piece(pool, arrays, &p);
    return p;
}

static inline void next_piece(const pc_pool *pool, const pc_pool_arrays *arrays, piece *p)
{
    p->channel += pool->block;
    if (p->channel >= pool->channels) p->channel = 0, p->image++;
    if (--p->left) place_piece(pool, arrays, p);
}

/* NUMBERS: maxima of elements that are no NaN, which is quicker. What is merged so is added up besides, which hands NaN
 * on and takes the processor no time, since other units add than compare. */
enum { MAXIMUM, NUMBERS, SUM, SQUARES };

INLINE real start_of(int kind) { return kind == MAXIMUM || kind == NUMBERS ? -INFINITY : 0; }
INLINE int then(int kind) { return kind == SQUARES ? SUM : kind; } /* once the terms are made */

INLINE vec merge(int kind, vec a, vec x)
{
    if (kind == NUMBERS) return greater_of(a, x);
    return kind == MAXIMUM ? max_or_nan(a, x) : kind == SUM ? a + x : a + x * x;
}

INLINE real merge_1(int kind, real a, real x)
{
    if (kind == NUMBERS) return a > x ? a : x;
    return kind == MAXIMUM ? (x > a || x != x ? x : a) : kind == SUM ? a + x : a + x * x;
}

/* Note x in seen, a sum that becomes NaN with the first NaN, where the kind does not hand NaN on. Infinities of both signs
 * make it NaN too: then it was looked at in vain. */
INLINE void look(int kind, vec x, vec *seen)
{
    if (kind == NUMBERS) *seen += x;
}

/* Whether there may have been a NaN. */
INLINE int saw_nan(vec seen) { return any(unordered(seen, seen)); }

INLINE void look_1(int kind, real x, int *seen)
{
    if (kind == NUMBERS) *seen |= x != x;
}

/* All lanes merged, in halves. */
INLINE real lanes_of(int kind, vec a)
{
    for (int64_t rest = LANES; rest > 1; rest /= 2) a = merge(kind, SHUFFLE(a, a, ZIP_LOW), SHUFFLE(a, a, ZIP_HIGH));
    return a[0];
}

/* Terms that one sum takes; longer ones are added up of such. So what rounds the same way at every step, as equal numbers
 * do, errs by some FOLDED steps and not by all of them. Of maxima it makes no difference. */
enum { FOLDED = 64 };

INLINE int is_sum(int kind) { return kind == SUM || kind == SQUARES; }

/* count elements side by side, merged, but for the lanes */
INLINE vec piece_of_run(int kind, const real *p, int64_t count)
{
    const vec start = splat(start_of(kind));
    vec a = start, b = start, c = start, d = start;
    int64_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES) {
        a = merge(kind, a, load(p + i));
        b = merge(kind, b, load(p + i + LANES));
        c = merge(kind, c, load(p + i + 2 * LANES));
        d = merge(kind, d, load(p + i + 3 * LANES));
    }
    for (; i + LANES <= count; i += LANES) a = merge(kind, a, load(p + i));
    if (i < count) b = merge(kind, b, load_lanes_or(p + i, lanes_between(0, count - i), start));
    return merge(then(kind), merge(then(kind), a, b), merge(then(kind), c, d));
}

INLINE vec run_vector(int kind, const real *p, int64_t count)
{
    const int64_t piece = is_sum(kind) ? FOLDED * 4 * LANES : count;
    vec all = piece_of_run(kind, p, least(piece, count));
    for (int64_t i = piece; i < count; i += piece)
        all = merge(then(kind), all, piece_of_run(kind, p + i, least(piece, count - i)));
    return all;
}

INLINE real run_of(int kind, const real *p, int64_t count) { return lanes_of(then(kind), run_vector(kind, p, count)); }

#endif
