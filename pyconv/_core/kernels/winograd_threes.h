/* A part of winograd_row.kernel.c: kernels of five rows over one input channel, on AVX-512 in float32. Same bits, other
 * order.
 *
 * A lane computes three outputs below one another in place of one. What its sums read then lies in whole vectors, one
 * for each of seven rows of input, and not across two lines of the cache; a number of the kernel is read once for three
 * of them; and tiles may lie in a vector in the order in which squares of four lanes need them, whose shuffles are the
 * cheapest.
 *
 * What is done with the sums is written behind the products that come next. Operations that wait for others fill the
 * core's schedulers, and then products that could begin do not get in.
 */
#ifndef PYCONV_WINOGRAD_THREES_H
#define PYCONV_WINOGRAD_THREES_H

#include "winograd.h"

#if defined(__AVX512F__) && !PC_F64
#define HAS_THREES 1

enum { THREE = 3, FIVE = 5, NEAR = THREE + FIVE - 1, PLACES = 8, FOUR_TILES = 4 };

/* Four tiles that follow one another, whose pixels fill a vector: where they begin in the image or the band and in the
 * outputs, and where they would if those beyond the end of a row, which go on in another one, were all; and which lanes
 * these are, of pixels and of outputs that there are. */
typedef struct {
    int64_t from, from_next, to, to_next;
    uint32_t next, here, there;
} four_tiles;

/* Those from number `number` on of a band whose rows are taken three at a time, the last ones twice if need be. */
static inline four_tiles tiles_at(int64_t number, int64_t cols, int64_t rows, int64_t pitch, int64_t row_stride,
                                  int64_t width)
{
    const int64_t group = (uint32_t)number / (uint32_t)cols, x = (number - group * cols) * 4;
    const int64_t in_row = least(cols * 4 - x, LANES), row = least(group * THREE, rows - THREE);
    const int64_t after = in_row < LANES ? least(row + THREE, rows - THREE) : row;
    const int64_t before = in_row < LANES ? -in_row : x;
    return (four_tiles){
        .from = row * pitch + x, .from_next = after * pitch + before,
        .to = row * row_stride + x, .to_next = after * row_stride + before,
        .next = 0xFFFFu & ~((1u << in_row) - 1),
        .here = (1u << least(width - x, in_row)) - 1, .there = 0xFFFFu & ~((1u << in_row) - 1),
    };
}

static inline int64_t groups_of_three(int64_t rows) { return (rows + THREE - 1) / THREE; }

/* Whether a band has so many tiles that hardly more lanes idle than with one output row in each. */
INLINE int goes_by_threes(int64_t planes, int64_t height, int64_t rows, int64_t cols)
{
    if (planes != 1 || height != FIVE || cols < FOUR_TILES || rows < THREE) return 0;
    const int64_t threes = (groups_of_three(rows) * cols + LANES - 1) / LANES;
    const int64_t single = (rows * cols + LANES - 1) / LANES;
    return 5 * THREE * threes <= 6 * single;
}

/* Rows and columns exchanged in each square of four lanes. */
INLINE void turn_fours(const vec *a, vec *b)
{
    const __m512d low = (__m512d)_mm512_unpacklo_ps(a[0], a[1]), high = (__m512d)_mm512_unpackhi_ps(a[0], a[1]);
    const __m512d next_low = (__m512d)_mm512_unpacklo_ps(a[2], a[3]);
    const __m512d next_high = (__m512d)_mm512_unpackhi_ps(a[2], a[3]);
    b[0] = (vec)_mm512_unpacklo_pd(low, next_low);
    b[1] = (vec)_mm512_unpackhi_pd(low, next_low);
    b[2] = (vec)_mm512_unpacklo_pd(high, next_high);
    b[3] = (vec)_mm512_unpackhi_pd(high, next_high);
}

/* Sixteen pixels, of four tiles the first four or the last four. What is read beyond a row lies in another one. */
INLINE vec pixels_of(const real *pixels, const four_tiles *at)
{
    const vec here = load(pixels + at->from);
    if (!at->next) return here;
    return _mm512_mask_blend_ps((__mmask16)at->next, here, load(pixels + at->from_next));
}

/* B' along seven rows for a vector of tiles: places[point][row]. */
INLINE void transform_rows(const real *pixels, int64_t pitch, const four_tiles *at, real *places)
{
    for (int y = 0; y < NEAR; y++, pixels += pitch, places += LANES) {
        vec part[8], d[8], t[PLACES];
        UNROLL for (int q = 0; q < 4; q++)
        {
            part[q] = pixels_of(pixels, at + q);
            part[4 + q] = pixels_of(pixels + 4, at + q);
        }
        turn_fours(part, d);
        turn_fours(part + 4, d + 4);
        transform_in(3, d, t);
        UNROLL for (int i = 0; i < PLACES; i++) store(places + i * NEAR * LANES, t[i]);
    }
}

/* The sums of points +-p number `pair`, or 0 and infinity, for three rows; the first begun at `start`, if it is not
 * NULL. */
INLINE void sums_of(const int pair, const real *places, const real *weights, const vec *start, vec first[THREE],
                    vec second[THREE])
{
    const real *x = places + (pair ? 2 * pair - 1 : 0) * NEAR * LANES;
    const real *other = places + (pair ? 2 * pair : PLACES - 1) * NEAR * LANES;
    const real *weight = weights + pair * FIVE * 2 * WINOGRAD_FEW_CHANNELS;
    vec a[NEAR], b[NEAR];
    UNROLL for (int y = 0; y < THREE - 1; y++)
    {
        a[y] = load_once(x + y * LANES);
        b[y] = load_once(other + y * LANES);
    }
    UNROLL for (int i = 0; i < FIVE; i++, weight += 2 * WINOGRAD_FEW_CHANNELS)
    {
        a[i + THREE - 1] = load_once(x + (i + THREE - 1) * LANES);
        const vec w = splat(weight[0]), v = splat(weight[WINOGRAD_FEW_CHANNELS]);
        UNROLL for (int y = 0; y < THREE; y++)
            first[y] = i || start ? multiply_add(a[i + y], w, i ? first[y] : *start) : a[i + y] * w;
        b[i + THREE - 1] = load_once(other + (i + THREE - 1) * LANES);
        UNROLL for (int y = 0; y < THREE; y++) second[y] = i ? multiply_add(b[i + y], v, second[y]) : b[i + y] * v;
    }
}

/* Lanes of a vector to memory. */
INLINE void store_these(real *p, vec v, uint32_t lanes)
{
    touch_lanes(p, lanes);
    _mm512_mask_storeu_ps(p, (__mmask16)lanes, v);
}

/* What a channel's outputs lack yet, points 0 and infinity, and its rows of pixels to memory. */
INLINE void put_down(vec y[THREE][4], const vec *zero, const vec *infinity, real *out, const int64_t row_stride,
                     const four_tiles *at, vec *odd)
{
    vec joined[THREE][4];
    UNROLL for (int row = 0; row < THREE; row++)
    {
        y[row][0] += zero[row];
        y[row][3] += infinity[row];
        /* zero, but for inf and NaN */
        *odd = multiply_add((y[row][0] + y[row][1]) + (y[row][2] + y[row][3]), splat(0), *odd);
        turn_fours(y[row], joined[row]);
    }
    real *rows[] = {out, out + row_stride, out + 2 * row_stride};
    UNROLL for (int q = 0; q < 4; q++)
    {
        if (at[q].here == 0xFFFF) {
            UNROLL for (int row = 0; row < THREE; row++) store(rows[row] + at[q].to, joined[row][q]);
        } else {
            UNROLL for (int row = 0; row < THREE; row++)
            {
                store_these(rows[row] + at[q].to, joined[row][q], at[q].here);
                store_these(rows[row] + at[q].to_next, joined[row][q], at[q].there);
            }
        }
    }
}

/* A band of `rows` rows of `cols` tiles for the channels begin .. end - 1: 1 if a result is not finite. */
NOT_INLINED static int outputs_by_threes(const real *pixels, int64_t pitch, int64_t rows, int64_t cols, int64_t width,
                                         const pc_conv_arrays *arrays, real *out, int64_t begin, int64_t end,
                                         real *places)
{
    const int64_t each = WINOGRAD_FEW_CHANNELS, to_next_block = PLACES * FIVE * each - each + 1;
    const int64_t tiles = groups_of_three(rows) * cols, row_stride = arrays->out_strides[2];
    vec odd = splat(0);
    for (int64_t t = 0; t < tiles; t += LANES) {
        four_tiles at[4];
        UNROLL for (int q = 0; q < 4; q++)
            at[q] = tiles_at(least(t + 4 * q, tiles - FOUR_TILES), cols, rows, pitch, row_stride, width);
        transform_rows(pixels, pitch, at, places);
        vec y[THREE][4] = {{{0}}}, first[THREE], second[THREE], zero[THREE] = {{0}}, infinity[THREE] = {{0}};
        const real *weights = (const real *)arrays->weights + begin * PLACES * FIVE;
        real *before = out + begin * arrays->out_strides[1]; /* of the channel before this one */
        for (int64_t c = begin; c < end; c++) {
            const vec bias = splat(((const real *)arrays->bias)[c]);
            sums_of(2, places, weights, &bias, first, second);
            if (c > begin) {
                put_down(y, zero, infinity, before, row_stride, at, &odd);
                before += arrays->out_strides[1];
            }
            vec half[THREE], minus_half[THREE];
            sums_of(1, places, weights, NULL, half, minus_half);
            UNROLL for (int row = 0; row < THREE; row++) begin_points(4, first[row], second[row], y[row]);
            sums_of(3, places, weights, NULL, first, second);
            UNROLL for (int row = 0; row < THREE; row++) add_points(3, 4, 1, half[row], minus_half[row], y[row]);
            sums_of(0, places, weights, NULL, zero, infinity);
            UNROLL for (int row = 0; row < THREE; row++) add_points(3, 4, 3, first[row], second[row], y[row]);
            /* from one channel to the next in a block of them, or to the next block */
            weights += (c + 1) % each ? 1 : to_next_block;
        }
        if (end > begin) put_down(y, zero, infinity, before, row_stride, at, &odd);
    }
    return _mm512_cmp_ps_mask(odd, splat(0), _CMP_NEQ_UQ) != 0;
}
#else
#define HAS_THREES 0
#endif

#endif
