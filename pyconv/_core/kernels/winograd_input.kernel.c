/* Winograd's input transform: B' d B for a grid of overlapping 6 x 6 tiles, channel by channel.
 *
 * Vertically the six rows are combined column by column, which needs no shuffle. Horizontally the columns of one tile
 * are four apart from the next tile's: a vector of each residue by four holds that column of LANES tiles.
 */
#include <stddef.h>

#include "winograd.h"

/* B' on six vectors; with the even and odd parts of each pair of points computed once */
static inline void transform(const vec d[6], vec t[6])
{
    const vec five_halves = splat((real)2.5), two = splat(2), half = splat((real)0.5);
    const vec even_a = d[4] - two * d[2], odd_a = splat(ROOT_HALF) * (d[3] - two * d[1]);
    const vec even_b = d[4] - half * d[2], odd_b = splat(ROOT_TWO) * (d[3] - half * d[1]);
    t[0] = d[0] - five_halves * d[2] + d[4];
    t[1] = even_a + odd_a;
    t[2] = even_a - odd_a;
    t[3] = even_b + odd_b;
    t[4] = even_b - odd_b;
    t[5] = d[1] - five_halves * d[3] + d[5];
}

/* B' down columns 0 .. count of six rows, of which columns begin .. end are the image's and the rest zeros; a row outside
 * of the image is NULL, and inside says that none is. Whole vectors of the result are written. */
static void vertical(const real *const rows[6], int inside, int64_t count, int64_t begin, int64_t end, real *to,
                     int64_t pitch)
{
    for (int64_t j = 0; j < count; j += LANES, to += LANES) {
        vec d[6], t[6];
        if (inside && j >= begin && j + LANES <= end) {
            UNROLL for (int i = 0; i < IN_TILE; i++) d[i] = load(rows[i] + j);
        } else {
            UNROLL for (int i = 0; i < IN_TILE; i++)
            {
                d[i] = rows[i] ? load_part(rows[i] + j, begin - j, end - j) : splat(0);
            }
        }
        transform(d, t);
        UNROLL for (int i = 0; i < IN_TILE; i++) store(to + i * pitch, t[i]);
    }
}

/* The image's columns of one row whose elements are not neighbours, put side by side. */
static const real *gathered(const real *row, int64_t column_stride, int64_t begin, int64_t end, real *to)
{
    for (int64_t i = begin; i < end; i++) to[i] = row[i * column_stride];
    return to;
}

/* B' along six rows, for a vector of tiles: the first tile's columns begin at from, the next one's four further on */
static inline void horizontal(const real *from, int64_t pitch, real *to, int64_t plane_pitch)
{
    for (int64_t i = 0; i < IN_TILE; i++, from += pitch) {
        vec v[4], d[6], t[6];
        UNROLL for (int j = 0; j < 4; j++) v[j] = load(from + j * LANES);
        const vec even_low = SHUFFLE(v[0], v[1], EVENS), even_high = SHUFFLE(v[2], v[3], EVENS);
        const vec odd_low = SHUFFLE(v[0], v[1], ODDS), odd_high = SHUFFLE(v[2], v[3], ODDS);
        d[0] = SHUFFLE(even_low, even_high, EVENS);
        d[1] = SHUFFLE(odd_low, odd_high, EVENS);
        d[2] = SHUFFLE(even_low, even_high, ODDS);
        d[3] = SHUFFLE(odd_low, odd_high, ODDS);
        d[4] = SHUFFLE(d[0], splat(from[OUT_TILE * LANES]), FROM_SECOND);
        d[5] = SHUFFLE(d[1], splat(from[OUT_TILE * LANES + 1]), FROM_SECOND);
        transform(d, t);
        UNROLL for (int j = 0; j < IN_TILE; j++) store(to + (i * IN_TILE + j) * plane_pitch, t[j]);
    }
}

void PC_NAME(winograd_input)(const pc_winograd *winograd, const real *x, const int64_t *x_strides, int64_t first_row,
                             int64_t rows, int64_t first_col, int64_t cols, real *places, real *work)
{
    /* columns of the padded input that the tiles touch, of which begin .. end are the image's */
    const int64_t columns = OUT_TILE * cols + 2;
    const int64_t left = first_col * OUT_TILE - winograd->pad_left;
    const int64_t begin = left < 0 ? -left : 0;
    const int64_t end = winograd->in_w - left < columns ? winograd->in_w - left : columns;
    const int64_t pitch = winograd->work_pitch, band = IN_TILE * pitch;
    real *gathering = work + rows * band;
    for (int64_t c = 0; c < winograd->in_channels; c++, x += x_strides[1], places += winograd->tile_pitch) {
        /* all rows down first: what was written a moment ago in other pieces cannot be read quickly */
        for (int64_t ty = 0; ty < rows; ty++) {
            const int64_t top = (first_row + ty) * OUT_TILE - winograd->pad_top;
            const real *six[IN_TILE];
            for (int64_t i = 0; i < IN_TILE; i++) {
                const int64_t row = top + i;
                six[i] = NULL;
                if (row < 0 || row >= winograd->in_h) continue;
                six[i] = x + row * x_strides[2] + left * x_strides[3];
                if (x_strides[3] != 1) six[i] = gathered(six[i], x_strides[3], begin, end, gathering + i * pitch);
            }
            const int all = top >= 0 && top + IN_TILE <= winograd->in_h;
            vertical(six, all, columns, begin, end, work + ty * band, pitch);
        }
        for (int64_t ty = 0; ty < rows; ty++) {
            /* whole vectors of tiles are stored; the next row, or the slack, takes what is too much */
            for (int64_t tx = 0; tx < cols; tx += LANES) {
                horizontal(work + ty * band + OUT_TILE * tx, pitch, places + ty * cols + tx, winograd->plane_pitch);
            }
        }
    }
}
