/* Winograd's input transform: B' d B for a grid of overlapping 6 x 6 tiles, vectors along channels.
 *
 * First the channels of a vector are put side by side, pixel by pixel, with the padding written out. Then no transform
 * needs a shuffle, and no lane is idle however small the image is.
 */
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

/* The pixels begin .. end of a row of `count` channels, as [pixel][LANES channels] from to + begin * LANES on; from is
 * where pixel 0 is or would be. */
static void turn_row(const real *from, int64_t channel_stride, int64_t column_stride, int64_t count, int64_t begin,
                     int64_t end, real *to)
{
    if (channel_stride == 1) {
        for (int64_t j = begin; j < end; j++) store(to + j * LANES, load_part(from + j * column_stride, 0, count));
    } else if (column_stride == 1) {
        for (int64_t j = begin; j < end; j += LANES) {
            vec a[LANES];
            if (j + LANES <= end && count == LANES) {
                UNROLL for (int c = 0; c < LANES; c++) a[c] = load(from + c * channel_stride + j);
            } else {
                const lane_mask lanes = lanes_between(0, end - j);
                UNROLL for (int c = 0; c < LANES; c++)
                {
                    a[c] = c < count ? load_lanes(from + c * channel_stride + j, lanes) : splat(0);
                }
            }
            turn_square(a);
            UNROLL for (int i = 0; i < LANES; i++)
            {
                if (j + i < end) store(to + (j + i) * LANES, a[i]);
            }
        }
    } else {
        for (int64_t j = begin; j < end; j++) {
            for (int64_t c = 0; c < LANES; c++) {
                to[j * LANES + c] = c < count ? from[c * channel_stride + j * column_stride] : 0;
            }
        }
    }
}

/* B' down the six rows of a row of tiles, for every column. */
static void vertical(const real *pixels, int64_t columns, real *to)
{
    for (int64_t j = 0; j < columns; j++, pixels += LANES, to += LANES) {
        vec d[IN_TILE], t[IN_TILE];
        UNROLL for (int i = 0; i < IN_TILE; i++) d[i] = load(pixels + i * columns * LANES);
        transform(d, t);
        UNROLL for (int i = 0; i < IN_TILE; i++) store(to + i * columns * LANES, t[i]);
    }
}

/* B' along the six rows, for every tile. */
static void horizontal(const real *rows, int64_t columns, int64_t tiles, real *places, int64_t plane_pitch,
                       int64_t tile_pitch)
{
    for (int64_t tile = 0; tile < tiles; tile++, rows += OUT_TILE * LANES, places += tile_pitch) {
        UNROLL for (int i = 0; i < IN_TILE; i++)
        {
            vec d[IN_TILE], t[IN_TILE];
            UNROLL for (int j = 0; j < IN_TILE; j++) d[j] = load(rows + (i * columns + j) * LANES);
            transform(d, t);
            UNROLL for (int j = 0; j < IN_TILE; j++) store(places + (i * IN_TILE + j) * plane_pitch, t[j]);
        }
    }
}

void PC_NAME(winograd_input)(const pc_winograd *winograd, const real *x, const int64_t *x_strides, int64_t first_row,
                             int64_t rows, int64_t first_col, int64_t cols, real *places, real *work)
{
    /* the part of the padded input that the tiles touch, and what of it is the image's */
    const int64_t lines = OUT_TILE * rows + 2, columns = OUT_TILE * cols + 2;
    const int64_t top = first_row * OUT_TILE - winograd->pad_top, left = first_col * OUT_TILE - winograd->pad_left;
    int64_t begin = left < 0 ? -left : 0, end = winograd->in_w - left < columns ? winograd->in_w - left : columns;
    if (begin > columns) begin = columns;
    if (end < begin) end = begin;
    real *transformed = work + lines * columns * LANES;
    for (int64_t c = 0; c < winograd->in_channels; c += LANES) {
        const int64_t count = winograd->in_channels - c < LANES ? winograd->in_channels - c : LANES;
        real *to = work;
        for (int64_t line = 0; line < lines; line++, to += columns * LANES) {
            const int64_t row = top + line, inside = row >= 0 && row < winograd->in_h;
            const int64_t first = inside ? begin : columns, past = inside ? end : columns;
            for (int64_t j = 0; j < first; j++) store(to + j * LANES, splat(0));
            for (int64_t j = past; j < columns; j++) store(to + j * LANES, splat(0));
            if (inside) {
                turn_row(x + c * x_strides[1] + row * x_strides[2] + left * x_strides[3], x_strides[1], x_strides[3],
                         count, first, past, to);
            }
        }
        for (int64_t ty = 0; ty < rows; ty++) {
            vertical(work + ty * OUT_TILE * columns * LANES, columns, transformed);
            horizontal(transformed, columns, cols, places + ty * cols * winograd->tile_pitch + c,
                       winograd->plane_pitch, winograd->tile_pitch);
        }
    }
}
