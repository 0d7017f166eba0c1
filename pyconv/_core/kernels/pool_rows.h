/* One row of pooled pixels of a plane, in three ways: in registers, by way of a line of scratch, and window by window.
 *
 * kind says what is merged and is a constant to the compiler, and so are widths and strides where they matter. */
#ifndef PYCONV_POOL_ROWS_H
#define PYCONV_POOL_ROWS_H

#include "pool.h"
#include "stream.h"

/* x, x + step, ... merged, of count rows, of which there is at least one. */
INLINE vec merged_rows(int kind, const real *x, int64_t step, int64_t count, int whole, lane_mask lanes, vec *seen)
{
    const vec start = splat(start_of(kind));
#define ROW(j) (whole ? load_once(x + (j)*step) : load_lanes_or(x + (j)*step, lanes, start))
    vec all = ROW(0);
    if (kind == SQUARES) all *= all;
    int64_t j = 1;
    if (kind == NUMBERS) { /* two at a time, which wait for nothing but each other */
        vec sum = all;
        for (; j + 2 <= count; j += 2) {
            const vec a = ROW(j), b = ROW(j + 1);
            sum += a + b;
            all = merge(kind, all, merge(kind, a, b));
        }
        if (j < count) {
            const vec last = ROW(j);
            sum += last;
            all = merge(kind, all, last);
        }
        look(kind, sum, seen);
        return all;
    }
    for (; j < count; j++) all = merge(kind, all, ROW(j));
    return all;
#undef ROW
}

/* The same of sums with many terms. By itself, so that nothing of it is in the way of the others. */
static NOT_INLINED void add_many_rows(int kind, const real *x, int64_t step, int64_t count, int whole, lane_mask lanes,
                                      vec *all)
{
    *all = splat(0);
    for (int64_t j = 0; j < count; j += FOLDED)
        *all += merged_rows(kind, x + j * step, step, least(FOLDED, count - j), whole, lanes, NULL);
}

INLINE vec merged_down(int kind, const real *x, int64_t step, int64_t count, int whole, lane_mask lanes, vec *seen)
{
    if (!is_sum(kind) || count <= FOLDED) return merged_rows(kind, x, step, count, whole, lanes, seen);
    vec all;
    add_many_rows(kind, x, step, count, whole, lanes, &all);
    return all;
}

/* The columns at .. at + LANES of rows of the input, merged down; those outside of the plane are nothing. */
INLINE vec column_of(int kind, const pc_pool *pool, const piece *p, const real *x, int64_t count, int64_t at, vec *seen)
{
    const int64_t step = pool->h.dilation * p->row_stride;
    if (at >= 0 && at + LANES <= pool->w.in && count)
        return merged_down(kind, x + at, step, count, 1, lanes_between(0, LANES), seen);
    if (at + LANES <= 0 || at >= pool->w.in || !count) return splat(start_of(kind));
    return merged_down(kind, x + at, step, count, 0, lanes_between(-at, pool->w.in - at), seen);
}

/* LANES elements from the k-th on, of two vectors one after the other; k is a constant and not above LANES. */
INLINE vec shifted(vec a, vec b, int k)
{
    switch (k) {
    case 1: return SHUFFLE(a, b, FROM(1));
    case 2: return SHUFFLE(a, b, FROM(2));
    case 3: return SHUFFLE(a, b, FROM((3 % (2 * (int)LANES))));
    case 4: return SHUFFLE(a, b, FROM((4 % (2 * (int)LANES))));
    case 5: return SHUFFLE(a, b, FROM((5 % (2 * (int)LANES))));
    default: return SHUFFLE(a, b, FROM((6 % (2 * (int)LANES))));
    }
}

/* What sums are divided by. */
typedef struct {
    real divisor, reciprocal;
    int exact; /* a power of two: the product with its reciprocal is the quotient */
} share;

static inline share share_of(real divisor)
{
    integer bits;
    memcpy(&bits, &divisor, sizeof bits);
    return (share){divisor, 1 / divisor, (bits & (SMALLEST_NORMAL_BITS - 1)) == 0};
}

/* a / divisor, rounded once; by its reciprocal where the remainder can be had exactly. */
INLINE vec divided(vec a, share by)
{
    const vec reciprocal = splat(by.reciprocal), divisor = splat(by.divisor);
    if (by.exact) return a * reciprocal;
#if FUSES
    const vec q = a * reciprocal, rest = subtract_product(q, divisor, a);
    return pick(unordered(rest, rest), q, multiply_add(rest, reciprocal, q)); /* of infinities there is no remainder */
#else
    return a / divisor;
#endif
}

/* What was merged, as the kind has it: sums are divided. */
INLINE vec finished(int kind, vec all, share by) { return kind == SUM ? divided(all, by) : all; }

/* Ask a level of the cache for what a round of windows in steps of 2 will read of two rows, so far ahead: the processor by
 * itself fetches too little of rows that are read two by two. */
INLINE void fetch(const real *x, int64_t row_stride, int level)
{
    const int64_t line = 64 / sizeof(real);
    UNROLL for (int64_t i = 0; i < 2 * LANES; i += line)
    {
        if (level == 1) __builtin_prefetch(x + i, 0, 3), __builtin_prefetch(x + row_stride + i, 0, 3);
        else __builtin_prefetch(x + i, 0, 2), __builtin_prefetch(x + row_stride + i, 0, 2);
    }
}

/* Whether rows of results go past the caches by way of the scratch: a stage, which holds a row, what is left of the one
 * before and a line more. */
INLINE int is_streaming(const pc_pool *pool, const int64_t *out_strides)
{
    return pool->streams && pool->w.stride == 2 && pool->w.out >= 2 * LINE && pool->line >= pool->w.out + 2 * LINE
           && out_strides[2] == pool->w.out;
}

/* A row in registers: windows of width elements gap apart in steps of 1, or of width 2 or 3 in steps of 2; sums are
 * divided. A window reaches into the next vector, and no further: what one round of the loop reads is finished in the next,
 * so that every element of the input is read once for each row, by code that stands there once. */
INLINE void register_row(int kind, int height, int width, int gap, int step, int is_far, const pc_pool *pool,
                         const piece *p, window rows, share by, real *out, vec *seen)
{
    const int64_t before = pool->w.before, count = pool->w.out, taps = height ? height : rows.taps;
    const real *x = p->x + rows.first * p->row_stride;
    /* of windows that do not reach into the next vector, nothing */
    const int64_t ahead = step == 2 && width == 2 ? 0 : LANES;
    vec here = splat(0), all = here; /* the last round's columns, or its even ones; and merged with the odd ones */
#define COLUMN(at) column_of(kind, pool, p, x, taps, (at)-before, seen)
    for (int64_t i = -ahead; i < count; i += LANES) {
        if (is_far) fetch(x + 2 * i + (pool->near ? pool->near : pool->far), p->row_stride, pool->near ? 1 : 2);
        vec next = COLUMN(step * (i + ahead)), merged = next;
        if (step == 2) {
            const vec right = COLUMN(2 * (i + ahead) + LANES), odd = odd_of(next, right);
            next = even_of(next, right), merged = merge(kind, next, odd);
        }
        if (!ahead) all = merged;
        if (i >= 0) {
            if (step == 2 && width == 3) all = merge(kind, all, shifted(here, next, 1));
            if (step == 1) UNROLL for (int k = 1; k < width; k++) all = merge(kind, all, shifted(here, next, k * gap));
            store_part(out + i, finished(kind, all, by), count - i);
        }
        here = next, all = merged;
    }
#undef COLUMN
}

/* The same, with the width, gap and step that the pooling has. */
INLINE void small_row(int kind, const pc_pool *pool, const piece *p, window rows, share by, real *out, vec *seen)
{
#define ROWS(height, width, gap, step, far) \
    register_row(kind, height, width, gap, step, far, pool, p, rows, by, out, seen)
#define FAR_OR_NOT(width, gap, step, far)                           \
    do {                                                            \
        if (rows.taps == 2) ROWS(2, width, gap, step, far);         \
        else if (rows.taps == 3) ROWS(3, width, gap, step, far);    \
        else ROWS(0, width, gap, step, far);                        \
    } while (0)
#define OF(width, gap, step) FAR_OR_NOT(width, gap, step, 0)
    const int64_t width = pool->w.kernel;
    if (pool->w.stride == 2 && pool->far) {
        if (width == 2) FAR_OR_NOT(2, 1, 2, 1);
        else FAR_OR_NOT(3, 1, 2, 1);
    } else if (pool->w.stride == 2) {
        if (width == 2) OF(2, 1, 2);
        else OF(3, 1, 2);
    } else if (pool->w.dilation == 2) {
        OF(3, 2, 1);
    } else if (width == 2) {
        OF(2, 1, 1);
    } else if (width == 3) {
        OF(3, 1, 1);
    } else if (width == 5) {
        OF(5, 1, 1);
    } else {
        OF(7, 1, 1);
    }
#undef OF
#undef FAR_OR_NOT
#undef ROWS
}

/* line[i] = x[i], x[i + step], ... merged, over count rows; up to a vector more of line is overwritten */
INLINE void down(int kind, const real *x, int64_t step, int64_t count, int64_t column_stride, int64_t width, real *line,
                 vec *seen)
{
    if (!count) {
        for (int64_t i = 0; i < width; i += LANES) store(line + i, splat(start_of(kind)));
        return;
    }
    if (column_stride == 1) {
        int64_t i = 0;
        for (; i + LANES <= width; i += LANES)
            store(line + i, merged_down(kind, x + i, step, count, 1, lanes_between(0, LANES), seen));
        if (i < width) store(line + i, merged_down(kind, x + i, step, count, 0, lanes_between(0, width - i), seen));
        return;
    }
    int strange = 0;
    for (int64_t i = 0; i < width; i++) {
        real all = start_of(kind);
        for (int64_t j = 0; j < count;) {
            real part = start_of(kind);
            for (const int64_t end = least(j + FOLDED, count); j < end; j++) {
                const real found = x[j * step + i * column_stride];
                look_1(kind, found, &strange);
                part = merge_1(kind, part, found);
            }
            all = merge_1(then(kind), all, part);
        }
        line[i] = all;
    }
    if (strange) look(kind, splat(NAN), seen);
}

/* The even elements of the 2 * LANES ones at p. */
static inline vec evens(const real *p) { return SHUFFLE(load(p), load(p + LANES), EVENS); }

/* Windows on the line of count places each that lie gap apart, merged pairwise until they are as long as the longest power
 * of two in the kernel, which is returned; what the line ends with is nothing anyway. */
INLINE int64_t doubled(int kind, const pc_pool_axis *axis, real *line, int64_t places)
{
    int64_t length = 1;
    for (; 2 * length <= axis->kernel; length *= 2) {
        const int64_t apart = length * axis->dilation;
        for (int64_t i = 0; i < places - apart - LANES; i += LANES)
            store(line + i, merge(kind, load(line + i), load(line + i + apart)));
    }
    return length;
}

/* Sums of windows of many columns, in steps of 1 or 2. */
static void along_many(int kind, const real *line, int64_t stride, int64_t kernel, int64_t gap, int64_t width, real *out)
{
    for (int64_t i = 0; i < width; i += LANES) {
        vec all = splat(0);
        for (int64_t k = 0; k < kernel;) {
            vec part = splat(0);
            for (const int64_t end = least(k + FOLDED, kernel); k < end; k++) {
                const real *at = line + i * stride + k * gap;
                part = merge(kind, part, stride == 1 ? load(at) : evens(at));
            }
            all += part;
        }
        store_part(out + i, all, width - i);
    }
}

/* out[i] = the window that starts at line[i * stride], merged. Windows of equal size read up to two vectors more than
 * they need; adaptive ones are gone through one by one. places: of the line, which is used up. */
INLINE void along(int kind, const pc_pool_axis *axis, real *line, int64_t places, real *out)
{
    const int64_t stride = axis->stride, width = axis->out;
    int64_t kernel = axis->kernel, gap = axis->dilation;
    if (axis->adaptive) {
        for (int64_t i = 0; i < width; i++) {
            const window w = window_at(axis, i);
            out[i] = run_of(kind, line + w.first, w.taps);
        }
        return;
    }
    if (kind == NUMBERS && kernel >= 4) { /* two overlapping windows cover it; of sums they would not be the same */
        const int64_t length = doubled(kind, axis, line, places);
        gap *= kernel - length;
        kernel = kernel == length ? 1 : 2;
    }
    if (is_sum(kind) && kernel > FOLDED && stride <= 2) {
        along_many(kind, line, stride, kernel, gap, width, out);
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
    } else if (gap == 1 && kernel >= LANES) {
        for (int64_t i = 0; i < width; i++) out[i] = run_of(kind, line + i * stride, kernel);
    } else {
        for (int64_t i = 0; i < width; i++) {
            real all = start_of(kind);
            for (int64_t k = 0; k < kernel;) {
                real part = line[i * stride + k * gap];
                for (const int64_t end = least(k + FOLDED, kernel); ++k < end;)
                    part = merge_1(kind, part, line[i * stride + k * gap]);
                all = merge_1(kind, all, part);
            }
            out[i] = all;
        }
    }
}

/* The line around the middle: nothing. What is written in whole vectors: the left before the middle is, the right after. */
INLINE void clear_left(int kind, const pc_pool *pool, real *line)
{
    for (int64_t i = 0; i < pool->w.before; i += LANES) store(line + i, splat(start_of(kind)));
}

INLINE void clear_right(int kind, const pc_pool *pool, real *line)
{
    int64_t i = pool->w.before + pool->w.in;
    for (; i + LANES <= pool->line; i += LANES) store(line + i, splat(start_of(kind)));
    for (; i < pool->line; i++) line[i] = start_of(kind);
}

/* One output row of one plane, by way of the line. */
INLINE void separable_row(int kind, const pc_pool *pool, const piece *p, window rows, real *line, real *out, vec *seen)
{
    clear_left(kind, pool, line);
    down(kind, p->x + rows.first * p->row_stride, pool->h.dilation * p->row_stride, rows.taps, p->column_stride,
         pool->w.in, line + pool->w.before, seen);
    clear_right(kind, pool, line);
    along(then(kind), &pool->w, line, pool->line, out);
}

/* The square roots of sums, in place. */
static inline void root_row(int64_t count, real *out)
{
    for (int64_t i = 0; i < count; i++) out[i] = PC_F64 ? sqrt(out[i]) : sqrtf(out[i]);
}

/* A row of a window, merged. */
INLINE real window_row(int kind, const pc_pool *pool, const piece *p, const real *row, window columns)
{
    if (p->column_stride == 1 && pool->w.dilation == 1 && columns.taps >= LANES)
        return run_of(kind, row + columns.first, columns.taps);
    real all = start_of(kind);
    for (int64_t k = 0; k < columns.taps;) {
        real part = start_of(kind);
        for (const int64_t end = least(k + FOLDED, columns.taps); k < end; k++)
            part = merge_1(kind, part, row[(columns.first + k * pool->w.dilation) * p->column_stride]);
        all = merge_1(then(kind), all, part);
    }
    return all;
}

/* One output pixel of one plane. */
INLINE real one_window(int kind, const pc_pool *pool, const piece *p, window rows, window columns)
{
    real all = start_of(kind);
    for (int64_t i = 0; i < rows.taps;) {
        real part = start_of(kind);
        for (const int64_t end = least(i + FOLDED, rows.taps); i < end; i++) {
            const real *row = p->x + (rows.first + i * pool->h.dilation) * p->row_stride;
            part = merge_1(then(kind), part, window_row(kind, pool, p, row, columns));
        }
        all = merge_1(then(kind), all, part);
    }
    return all;
}

/* Planes that are pooled whole and lie one after the other: a vector of them at a time. */
INLINE void whole_planes(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, share by)
{
    const int64_t size = pool->w.in, end = least((task + 1) * pool->planes, pool->units), *to = arrays->out_strides;
    for (int64_t unit = task * pool->planes; unit < end; unit += LANES) {
        vec square[LANES];
        UNROLL for (int64_t k = 0; k < LANES; k++)
        {
            const real *plane = (const real *)arrays->x + (unit + k) * size;
            square[k] = unit + k < end ? run_vector(kind, plane, size) : splat(start_of(kind));
        }
        turn_square(square);
        vec all = square[0];
        UNROLL for (int64_t k = 1; k < LANES; k++) all = merge(then(kind), all, square[k]);
        all = finished(then(kind), all, by);
        real *out = arrays->out;
        if (to[1] == 1 && to[0] == pool->channels) {
            store_part(out + unit, all, end - unit);
            continue;
        }
        for (int64_t k = 0; k < least(LANES, end - unit); k++)
            out[(unit + k) / pool->channels * to[0] + (unit + k) % pool->channels * to[1]] = all[k];
    }
}

#endif
