/* Places of maxima: how they are compared and stored, and rows of windows that are taken in registers.
 *
 * Places are as wide as an element while they are compared, and have 64 bits in memory. */
#ifndef PYCONV_POOL_PLACES_H
#define PYCONV_POOL_PLACES_H

#include "pool_rows.h"

INLINE ivec same_place(int64_t place) { return (ivec){0} + (integer)place; }

/* An element that comes later in the window than what was found: kind NUMBERS if it is no NaN. */
INLINE void improve(int kind, vec *best, ivec *place, vec value, ivec at, vec *seen)
{
    const mask better = kind == NUMBERS ? below(*best, value) : below(*best, value) | unordered(value, value);
    look(kind, value, seen);
    /* the same but for NaN, and the next maximum need not wait for the comparison */
    *best = kind == NUMBERS ? greater_of(value, *best) : pick(better, value, *best);
    *place = (ivec)pick(better, (vec)at, (vec)*place);
}

/* A maximum of a part of the window, no NaN: of equal ones that with the lower place stays. */
INLINE void improve_with(vec *best, ivec *place, vec value, ivec at)
{
    const mask better = below(*best, value) | (equal(*best, value) & below_bits(at, *place));
    *best = pick(better, value, *best);
    *place = (ivec)pick(better, (vec)at, (vec)*place);
}

/* The first count places to where results have 64 bits; no other memory is touched. */
#if PC_F64
static inline void put_places(int64_t *indices, ivec places, int64_t count) { store_part((real *)indices, (vec)places, count); }
#elif defined(__AVX512F__)
static inline void put_places(int64_t *indices, ivec places, int64_t count)
{
    const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256((__m512i)places));
    const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64((__m512i)places, 1));
    if (count >= LANES) {
        _mm512_storeu_si512(indices, low);
        _mm512_storeu_si512(indices + LANES / 2, high);
        return;
    }
    touch_first((real *)indices, 2 * count);
    _mm512_mask_storeu_epi64(indices, (__mmask8)((1u << least(count, 8)) - 1), low);
    _mm512_mask_storeu_epi64(indices + LANES / 2, (__mmask8)(((1u << count) - 1) >> 8), high);
}
#elif defined(__AVX2__)
static inline void put_places(int64_t *indices, ivec places, int64_t count)
{
    const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128((__m256i)places));
    const __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256((__m256i)places, 1));
    if (count >= LANES) {
        _mm256_storeu_si256((__m256i *)indices, low);
        _mm256_storeu_si256((__m256i *)(indices + LANES / 2), high);
        return;
    }
    const __m256i first = _mm256_set_epi64x(3, 2, 1, 0), limit = _mm256_set1_epi64x(count);
    touch_first((real *)indices, 2 * count);
    _mm256_maskstore_epi64((long long *)indices, _mm256_cmpgt_epi64(limit, first), low);
    _mm256_maskstore_epi64((long long *)(indices + LANES / 2),
                           _mm256_cmpgt_epi64(limit, _mm256_add_epi64(first, _mm256_set1_epi64x(4))), high);
}
#else
static inline void put_places(int64_t *indices, ivec places, int64_t count)
{
    for (int64_t i = 0; i < least(count, LANES); i++) indices[i] = places[i];
}
#endif

/* Places of the lanes, step apart. */
INLINE ivec lanes_apart(int64_t step)
{
    ivec lanes;
    for (int64_t i = 0; i < LANES; i++) lanes[i] = (integer)(i * step);
    return lanes;
}

/* What is found in columns or windows side by side. */
typedef struct {
    vec best;
    ivec place;
} maxima;

#define NOWHERE (PC_F64 ? (integer)INT64_MAX : (integer)INT32_MAX) /* after every place */

/* Rows of in elements, of which the windows have count in the plane; the next one lies step elements and down places on. */
typedef struct {
    const real *x;
    int64_t in, count, step, place, down;
} rows_in_plane;

/* Their columns at .. at + LANES; those outside of the plane are nothing. */
INLINE maxima columns_places(int whole, int height, rows_in_plane r, int64_t at, vec *seen)
{
    const int64_t count = height ? height : r.count;
    const lane_mask lanes = lanes_between(-at, r.in - at);
    const ivec column = lanes_apart(1) + same_place(at);
#define ROW(j) (whole ? load_once(r.x + at + (j)*r.step) : load_lanes_or(r.x + at + (j)*r.step, lanes, splat(-INFINITY)))
    ivec place = column + same_place(r.place);
    maxima all = {ROW(0), place};
    look(NUMBERS, all.best, seen);
    for (int64_t j = 1; j < count; j++) {
        place += same_place(r.down);
        improve(NUMBERS, &all.best, &all.place, ROW(j), place, seen);
    }
#undef ROW
    if (whole) return all;
    const mask outside = below_bits(column, same_place(0)) | below_bits(same_place(r.in - 1), column);
    all.place = (ivec)pick(outside, (vec)same_place(NOWHERE), (vec)all.place);
    return all;
}

INLINE maxima columns_at(int height, rows_in_plane r, int64_t at, vec *seen)
{
    if (at >= 0 && at + LANES <= r.in) return columns_places(1, height, r, at, seen);
    if (at + LANES <= 0 || at >= r.in) return (maxima){splat(-INFINITY), same_place(NOWHERE)};
    return columns_places(0, height, r, at, seen);
}

INLINE maxima even_maxima(maxima a, maxima b)
{
    return (maxima){even_of(a.best, b.best), (ivec)even_of((vec)a.place, (vec)b.place)};
}

INLINE maxima odd_maxima(maxima a, maxima b)
{
    return (maxima){odd_of(a.best, b.best), (ivec)odd_of((vec)a.place, (vec)b.place)};
}

INLINE maxima shifted_maxima(maxima a, maxima b, int k)
{
    return (maxima){shifted(a.best, b.best, k), (ivec)shifted((vec)a.place, (vec)b.place, k)};
}

/* Of the same windows, found in other columns: of equal maxima the first place. */
INLINE maxima joined(maxima a, maxima b)
{
    improve_with(&a.best, &a.place, b.best, b.place);
    return a;
}

/* A row in registers, down the columns and then along, of windows that all have columns in the plane; see register_row. */
INLINE void register_places_row(int height, int width, int step, const pc_pool *pool, const piece *p, window rows, real *out,
                                int64_t *indices, vec *seen)
{
    const int64_t before = pool->w.before, count = pool->w.out, in = pool->w.in;
    const rows_in_plane r = {p->x + rows.first * p->row_stride, in, rows.taps, pool->h.dilation * p->row_stride,
                             rows.first * in, pool->h.dilation * in};
    maxima here = {splat(0), same_place(0)}, all = here;
    const int64_t ahead = step == 2 && width == 2 ? 0 : LANES;
    vec sum = *seen; /* not through the pointer, which may point at what is stored, as far as the compiler knows */
    for (int64_t i = -ahead; i < count; i += LANES) {
        maxima next = columns_at(height, r, step * (i + ahead) - before, &sum), merged = next;
        if (step == 2) {
            const maxima right = columns_at(height, r, 2 * (i + ahead) + LANES - before, &sum);
            const maxima odd = odd_maxima(next, right);
            next = even_maxima(next, right), merged = joined(next, odd);
        }
        if (!ahead) all = merged;
        if (i >= 0) {
            if (step == 2 && width == 3) all = joined(all, shifted_maxima(here, next, 1));
            if (step == 1) UNROLL for (int k = 1; k < width; k++) all = joined(all, shifted_maxima(here, next, k));
            store_part(out + i, all.best, count - i);
            put_places(indices + i, all.place, count - i);
        }
        here = next, all = merged;
    }
    *seen = sum;
}

/* The same, with the width and step that the pooling has. */
static void small_places_row(const pc_pool *pool, const piece *p, window rows, real *out, int64_t *indices, vec *seen)
{
#define ROWS(height, width, step) register_places_row(height, width, step, pool, p, rows, out, indices, seen)
#define OF(width, step)                             \
    do {                                            \
        if (rows.taps == 2) ROWS(2, width, step);   \
        else if (rows.taps == 3) ROWS(3, width, step); \
        else ROWS(0, width, step);                  \
    } while (0)
    const int64_t width = pool->w.kernel;
    if (pool->w.stride == 2) {
        if (width == 2) OF(2, 2);
        else OF(3, 2);
    } else if (width == 2) {
        OF(2, 1);
    } else if (width == 3) {
        OF(3, 1);
    } else {
        OF(5, 1);
    }
#undef OF
#undef ROWS
}

#endif
