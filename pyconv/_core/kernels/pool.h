/* What the poolings share: where windows lie, the pieces of a task, and pooling by separable steps, down the columns into
 * a line of scratch and then along the line. Max pooling and sums differ in how two elements are merged. */
#ifndef PYCONV_POOL_H
#define PYCONV_POOL_H

#include <math.h>

#include "kernels.h"
#include "vector.h"

#define INLINE static inline __attribute__((always_inline))

static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

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
} piece;

/* The piece number i of a task; 0 if it has no more. */
static inline int piece_of(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, int64_t i, piece *p)
{
    const int64_t unit = task / pool->per_plane * pool->planes + i;
    if (i == pool->planes || unit >= pool->units) return 0;
    const int64_t image = unit / pool->blocks, channel = unit % pool->blocks * pool->block;
    const int64_t *from = arrays->x_strides, *to = arrays->out_strides;
    p->x = (const real *)arrays->x + image * from[0] + channel * from[1];
    p->row_stride = from[2], p->column_stride = from[3];
    p->out = (real *)arrays->out + image * to[0] + channel * to[1];
    p->indices = arrays->indices;
    if (p->indices) p->indices += (image * pool->channels + channel) * pool->h.out * pool->w.out;
    p->channels = least(pool->block, pool->channels - channel);
    p->first_row = task % pool->per_plane * pool->rows;
    p->end_row = least(p->first_row + pool->rows, pool->h.out);
    return 1;
}

enum { MAXIMUM, SUM, SQUARES };

INLINE real start_of(int kind) { return kind == MAXIMUM ? -INFINITY : 0; }
INLINE int then(int kind) { return kind == SQUARES ? SUM : kind; } /* once the terms are made */

INLINE vec merge(int kind, vec a, vec x)
{
    return kind == MAXIMUM ? max_or_nan(a, x) : kind == SUM ? a + x : a + x * x;
}

INLINE real merge_1(int kind, real a, real x)
{
    return kind == MAXIMUM ? (x > a || x != x ? x : a) : kind == SUM ? a + x : a + x * x;
}

/* line[i] = x[i], x[i + step], ... merged, over count rows; up to a vector more of line is overwritten */
INLINE void down(int kind, const real *x, int64_t step, int64_t count, int64_t column_stride, int64_t width, real *line)
{
    if (column_stride == 1) {
        int64_t i = 0;
        for (; i + LANES <= width; i += LANES) {
            vec all = splat(start_of(kind));
            for (int64_t j = 0; j < count; j++) all = merge(kind, all, load(x + j * step + i));
            store(line + i, all);
        }
        if (i < width) {
            const lane_mask rest = lanes_between(0, width - i);
            vec all = splat(start_of(kind));
            for (int64_t j = 0; j < count; j++) all = merge(kind, all, load_lanes(x + j * step + i, rest));
            store(line + i, all);
        }
        return;
    }
    for (int64_t i = 0; i < width; i++) {
        real all = start_of(kind);
        for (int64_t j = 0; j < count; j++) all = merge_1(kind, all, x[j * step + i * column_stride]);
        line[i] = all;
    }
}

/* The even elements of the 2 * LANES ones at p. */
static inline vec evens(const real *p) { return SHUFFLE(load(p), load(p + LANES), EVENS); }

/* count elements side by side, merged */
INLINE real run_of(int kind, const real *p, int64_t count)
{
    real all = start_of(kind);
    int64_t i = 0;
    if (count >= 2 * LANES) {
        vec a = splat(start_of(kind)), b = a;
        for (; i + 2 * LANES <= count; i += 2 * LANES) {
            a = merge(kind, a, load(p + i));
            b = merge(kind, b, load(p + i + LANES));
        }
        a = merge(then(kind), a, b);
        for (int64_t lane = 0; lane < LANES; lane++) all = merge_1(then(kind), all, a[lane]);
    }
    for (; i < count; i++) all = merge_1(kind, all, p[i]);
    return all;
}

/* out[i] = the window that starts at line[i * stride], merged. Windows of equal size read up to two vectors more than
 * they need; adaptive ones are gone through one by one. */
INLINE void along(int kind, const pc_pool_axis *axis, const real *line, real *out)
{
    const int64_t stride = axis->stride, kernel = axis->kernel, gap = axis->dilation, width = axis->out;
    if (axis->adaptive) {
        for (int64_t i = 0; i < width; i++) {
            const window w = window_at(axis, i);
            out[i] = run_of(kind, line + w.first, w.taps);
        }
    } else if (stride == 1) {
        for (int64_t i = 0; i < width; i += LANES) {
            vec all = load(line + i);
            for (int64_t k = 1; k < kernel; k++) all = merge(kind, all, load(line + i + k * gap));
            store_part(out + i, all, width - i);
        }
    } else if (stride == 2) {
        for (int64_t i = 0; i < width; i += LANES) {
            vec all = evens(line + 2 * i);
            for (int64_t k = 1; k < kernel; k++) all = merge(kind, all, evens(line + 2 * i + k * gap));
            store_part(out + i, all, width - i);
        }
    } else if (gap == 1) {
        for (int64_t i = 0; i < width; i++) out[i] = run_of(kind, line + i * stride, kernel);
    } else {
        for (int64_t i = 0; i < width; i++) {
            real all = line[i * stride];
            for (int64_t k = 1; k < kernel; k++) all = merge_1(kind, all, line[i * stride + k * gap]);
            out[i] = all;
        }
    }
}

/* One output row of one plane, by way of the line. */
INLINE void separable_row(int kind, const pc_pool *pool, const piece *p, window rows, real *line, real *out)
{
    const real nothing = start_of(kind);
    real *middle = line + pool->w.before;
    for (real *at = line; at < middle; at++) *at = nothing;
    down(kind, p->x + rows.first * p->row_stride, pool->h.dilation * p->row_stride, rows.taps, p->column_stride,
         pool->w.in, middle);
    /* after the middle, which is written in whole vectors */
    for (real *at = middle + pool->w.in; at < line + pool->line; at++) *at = nothing;
    along(then(kind), &pool->w, line, out);
}

/* One output pixel of one plane, window by window. */
INLINE real one_window(int kind, const pc_pool *pool, const piece *p, window rows, window columns)
{
    real all = start_of(kind);
    for (int64_t i = 0; i < rows.taps; i++) {
        const real *row = p->x + (rows.first + i * pool->h.dilation) * p->row_stride;
        if (p->column_stride == 1 && pool->w.dilation == 1) {
            all = merge_1(then(kind), all, run_of(kind, row + columns.first, columns.taps));
            continue;
        }
        for (int64_t k = 0; k < columns.taps; k++)
            all = merge_1(kind, all, row[(columns.first + k * pool->w.dilation) * p->column_stride]);
    }
    return all;
}

/* One output pixel of a vector of channels, which are neighbours in memory. */
INLINE vec channels_window(int kind, const pc_pool *pool, const piece *p, window rows, window columns)
{
    const lane_mask lanes = lanes_between(0, p->channels);
    vec all = splat(start_of(kind));
    for (int64_t i = 0; i < rows.taps; i++) {
        const real *row = p->x + (rows.first + i * pool->h.dilation) * p->row_stride;
        for (int64_t k = 0; k < columns.taps; k++) {
            const real *from = row + (columns.first + k * pool->w.dilation) * p->column_stride;
            all = merge(kind, all, p->channels == LANES ? load(from) : load_lanes(from, lanes));
        }
    }
    return all;
}

/* A row of pixels of a vector of channels, row[pixel * LANES + channel], to where it belongs: channels side by side, or
 * each channel's pixels. The row is filled up to a multiple of LANES pixels. */
static inline void put_channels(const pc_pool_arrays *arrays, const piece *p, real *row, int64_t width, real *out)
{
    const int64_t plane = arrays->out_strides[1];
    if (plane == 1) {
        for (int64_t i = 0; i < width; i++) store_part(out + i * arrays->out_strides[3], load(row + i * LANES), p->channels);
        return;
    }
    for (int64_t i = 0; i < width; i += LANES) {
        vec square[LANES];
        UNROLL for (int64_t k = 0; k < LANES; k++) square[k] = load(row + (i + k) * LANES);
        turn_square(square);
        if (p->channels == LANES) {
            UNROLL for (int64_t k = 0; k < LANES; k++) store_part(out + k * plane + i, square[k], width - i);
        } else {
            for (int64_t k = 0; k < p->channels; k++) store_part(out + k * plane + i, square[k], width - i);
        }
    }
}

#endif
