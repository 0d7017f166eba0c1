/* What the files of the Winograd convolution share.
 *
 * F(m x m, 3 x 3) for m = 2, 4 and 6, after Lavin and Gray (2016): Y = A' [(G g G') * (B' d B)] A, where * is a
 * product for each of (m + 2)^2 places, summed over the input channels. The interpolation points are 0, pairs +-p, and
 * infinity; pairs so chosen that the transforms' numbers stay small: with +-sqrt(1/2), +-sqrt(2) the error of m = 4 is
 * less than half of that with +-1, +-2; for m = 6 no others of some hundred erred less than +-1/2, +-1, +-2.
 */
#ifndef PYCONV_WINOGRAD_H
#define PYCONV_WINOGRAD_H

#include "channels.h"
#include "deal.h"

enum { MOST_PAIRS = 3, MOST_OUT = 2 * MOST_PAIRS, MOST_IN = MOST_OUT + 2 };

/* What the transforms multiply by. They are the same for +p and -p but for signs of odd powers. */
typedef struct {
    real point[MOST_PAIRS];
    real others[MOST_PAIRS][MOST_PAIRS]; /* prod (y - q^2) over all other pairs q: the factors of 1, y, y^2 */
    real all[MOST_PAIRS + 1];            /* the same over all pairs */
    real powers[MOST_PAIRS][MOST_OUT];   /* p^0, p^1, ... */
} pc_points;

#define POWERS(P) {1, (P), (P) * (P), (P) * (P) * (P), (P) * (P) * (P) * (P), (P) * (P) * (P) * (P) * (P)}
#define ROOT_HALF 0.70710678118654752440
#define ROOT_TWO 1.41421356237309504880

static const pc_points points_of[MOST_PAIRS] = {
    {.point = {1}, .others = {{1}}, .all = {-1, 1}, .powers = {POWERS(1.0)}},
    {.point = {ROOT_HALF, ROOT_TWO},
     .others = {{-2, 1}, {-0.5, 1}},
     .all = {1, -2.5, 1},
     .powers = {{1, ROOT_HALF, 0.5, 0.5 * ROOT_HALF, 0.25}, {1, ROOT_TWO, 2, 2 * ROOT_TWO, 4}}},
    {.point = {0.5, 1, 2},
     .others = {{4, -5, 1}, {1, -4.25, 1}, {0.25, -1.25, 1}},
     .all = {-1, 5.25, -5.25, 1},
     .powers = {POWERS(0.5), POWERS(1.0), POWERS(2.0)}},
};

/* A function of a constant number of pairs is written once, INLINE, and compiled for each of them.
 *
 * B' on the pixels of a column or a row. For a point p it is the product over all other points of (x - those), where
 * x^k stands for pixel k: x (x + p) times what is even, so that the even and the odd pixels' parts serve -p too. */
INLINE void transform_in(const int pairs, const vec *d, vec *t)
{
    const pc_points *points = &points_of[pairs - 1];
    vec zero = splat(points->all[0]) * d[0], infinity = splat(points->all[0]) * d[1];
    UNROLL for (int k = 1; k <= pairs; k++)
    {
        zero += splat(points->all[k]) * d[2 * k];
        infinity += splat(points->all[k]) * d[2 * k + 1];
    }
    t[0] = zero;
    UNROLL for (int i = 0; i < pairs; i++)
    {
        vec even = d[2 * pairs], odd = d[2 * pairs - 1];
        UNROLL for (int k = 0; k < pairs - 1; k++)
        {
            even += splat(points->others[i][k]) * d[2 * k + 2];
            odd += splat(points->others[i][k]) * d[2 * k + 1];
        }
        odd *= splat(points->point[i]);
        t[2 * i + 1] = even + odd;
        t[2 * i + 2] = even - odd;
    }
    t[2 * pairs + 1] = infinity;
}

/* B' of one point less, for kernels of one tap less: without 0, for which t[0] would stand. The other products are
 * summed with those of all points, since A' of each is the same. */
INLINE void transform_in_without_zero(const int pairs, const vec *d, vec *t)
{
    const pc_points *points = &points_of[pairs - 1];
    vec infinity = splat(points->all[0]) * d[0];
    UNROLL for (int k = 1; k <= pairs; k++) infinity += splat(points->all[k]) * d[2 * k];
    UNROLL for (int i = 0; i < pairs; i++)
    {
        vec even = d[2 * pairs - 2], odd = d[2 * pairs - 1];
        UNROLL for (int k = 0; k < pairs - 1; k++)
        {
            even += splat(points->others[i][k]) * d[2 * k];
            odd += splat(points->others[i][k]) * d[2 * k + 1];
        }
        even *= splat(points->point[i]);
        t[2 * i + 1] = odd + even;
        t[2 * i + 2] = odd - even;
    }
    t[2 * pairs + 1] = infinity;
}

/* A' on the products of a column or a row: pixel k is the sum over all points p of p^k times their product, and of the
 * last one infinity's; begun at `start`, if it is not NULL. */
INLINE void transform_out(const int pairs, const int tile, const vec *m, const vec *start, vec *y)
{
    const pc_points *points = &points_of[pairs - 1];
    vec sum[MOST_PAIRS], difference[MOST_PAIRS];
    UNROLL for (int i = 0; i < pairs; i++)
    {
        sum[i] = m[2 * i + 1] + m[2 * i + 2];
        difference[i] = m[2 * i + 1] - m[2 * i + 2];
    }
    UNROLL for (int k = 0; k < tile; k++)
    {
        y[k] = k == 0 ? m[0] + sum[0] : splat(points->powers[0][k]) * (k % 2 ? difference[0] : sum[0]);
        if (start) y[k] += *start;
        UNROLL for (int i = 1; i < pairs; i++) y[k] += splat(points->powers[i][k]) * (k % 2 ? difference[i] : sum[i]);
    }
    y[tile - 1] += m[2 * pairs + 1];
}

/* The pixels of a row that a vector of tiles has, which begin every `tile` pixels: d[j] has number j of each. */
INLINE void take_tiles(const int size, const int tile, const real *row, vec *d)
{
    vec part[MOST_OUT];
    UNROLL for (int j = 0; j < tile; j++) part[j] = load(row + j * LANES);
    UNROLL for (int j = 0; j < tile; j++) d[j] = every(part, tile, j);
    UNROLL for (int j = tile; j < size; j++) d[j] = SHUFFLE(d[j - tile], splat(row[tile * LANES + j - tile]), FROM(1));
}

/* B' along a row, for a vector of tiles. */
INLINE void transform_vector(const int pairs, const int tile, const real *row, vec *t)
{
    vec d[MOST_IN];
    take_tiles(2 * pairs + 2, tile, row, d);
    transform_in(pairs, d, t);
}

/* The same for `tiles` of them: place j of all to places + j * step. Without zero: all places but the first. */
INLINE void transform_along(const int pairs, const int tile, const int without_zero, const real *row, int64_t tiles,
                            real *places, int64_t step)
{
    const int size = 2 * pairs + 2;
    for (int64_t k = 0; k < tiles; k += LANES, row += tile * LANES, places += LANES) {
        vec t[MOST_IN];
        if (without_zero) {
            vec d[MOST_IN];
            take_tiles(size - 1, tile, row, d);
            transform_in_without_zero(pairs, d, t);
        } else {
            transform_vector(pairs, tile, row, t);
        }
        UNROLL for (int j = without_zero; j < size; j++) store(places + j * step, t[j]);
    }
}

/* What two points add to the outputs of transform_out: the pair +-p number `pair` from 1 on, or 0 and infinity. */
INLINE void add_pair(const int pairs, const int tile, const int pair, vec first, vec second, vec *y)
{
    if (pair == 0) {
        y[0] += first;
        y[tile - 1] += second;
        return;
    }
    const real *powers = points_of[pairs - 1].powers[pair - 1];
    const vec sum = first + second, difference = first - second;
    UNROLL for (int k = 0; k < tile; k++) y[k] += splat(powers[k]) * (k % 2 ? difference : sum);
}

/* The same with multiply-adds written as such, for sums between which loops lie: the compiler makes none of these. */
INLINE void add_points(const int pairs, const int tile, const int pair, vec first, vec second, vec *y)
{
    if (pair == 0) {
        add_pair(pairs, tile, pair, first, second, y);
        return;
    }
    const real *powers = points_of[pairs - 1].powers[pair - 1];
    const vec sum = first + second, difference = first - second;
    UNROLL for (int k = 0; k < tile; k++)
    {
        const vec both = k % 2 ? difference : sum;
        y[k] = powers[k] == 1 ? y[k] + both : multiply_add(both, splat(powers[k]), y[k]);
    }
}

/* The outputs begun with the pair +-1, which makes the others' way into them shorter. */
INLINE void begin_points(const int tile, vec first, vec second, vec *y)
{
    UNROLL for (int k = 0; k < tile; k++) y[k] = k % 2 ? first - second : first + second;
}

/* Where a row of tiles of four ends with one or two pixels, its last tile is short: of F(2, 3), whose points 0, +-p and
 * infinity are the first and the last of F(4, 3). So it takes four of the six transformed weights. */
enum { SHORT_OUT = 2, SHORT_IN = SHORT_OUT + 2, SHORT_OF = 4 };

/* The place of F(4, 3) that is number i of a short tile's, and whether such a place is one of them. */
static inline int short_place(int i) { return i < SHORT_IN - 1 ? i : SHORT_OF + 1; }
static inline int is_short_place(int64_t place) { return place < SHORT_IN - 1 || place > SHORT_OF; }

/* transform_in for a short tile, times what its weights lack: those of F(4, 3) are divided by (x^2 - r^2) as well. */
INLINE void transform_in_short(const vec *d, vec *t)
{
    const pc_points *points = &points_of[SHORT_OF / 2 - 1];
    const real square = points->powers[0][2], other = points->powers[1][2];
    const vec even = splat(square - other) * d[2], odd = splat((square - other) * points->point[0]) * d[1];
    t[0] = splat(square * other) * d[0] - splat(other) * d[2];
    t[1] = even + odd;
    t[2] = even - odd;
    t[3] = d[3] - splat(square) * d[1];
}

/* transform_out for a short tile. */
INLINE void transform_out_short(const vec *m, vec *y)
{
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = splat(points_of[SHORT_OF / 2 - 1].point[0]) * (m[1] - m[2]) + m[3];
}

/* The part of an image that a task computes, in tiles. */
typedef struct {
    int64_t first_row, rows, first_col, cols;
    int short_row, short_col; /* whether the last ones are short */
} pc_tiles;

/* B' d B of every input tile, for all input channels: places[place][tile][channel]. The work space holds the pixels of
 * a vector of channels, and a part of a row of tiles besides. */
void PC_NAME(winograd_input)(const pc_winograd *winograd, const real *x, const int64_t *x_strides, pc_tiles tiles,
                             real *places, real *work);

/* sums[place][tile][channel of the block] = sum over c of places[place][tile][c] * weights[place][c][channel], for the
 * places that a tile has */
void PC_NAME(winograd_products)(const pc_winograd *winograd, pc_tiles tiles, int64_t vectors, const real *places,
                                const real *weights, real *sums);

/* A' sums A + bias, written to the real pixels and channels; 1 if a result is not finite. */
int PC_NAME(winograd_output)(const pc_winograd *winograd, const real *sums, const real *bias, int64_t vectors,
                             int64_t channels, pc_tiles tiles, real *out, const int64_t *out_strides);

static inline int64_t places_of(const pc_winograd *winograd) { return (winograd->tile + 2) * (winograd->tile + 2); }

#endif
