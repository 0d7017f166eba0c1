/* Winograd's input transform: B' d B for a grid of overlapping tiles, vectors along channels.
 *
 * First the channels of a vector are put side by side, pixel by pixel, with the padding written out. Then no transform
 * needs a shuffle, and no lane is idle however small the image is.
 */
#include "winograd.h"

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

/* B' down the rows of a row of tiles, for every column. */
INLINE void vertical(const int pairs, const real *pixels, int64_t columns, real *to)
{
    const int size = 2 * pairs + 2;
    for (int64_t j = 0; j < columns; j++, pixels += LANES, to += LANES) {
        vec d[MOST_IN], t[MOST_IN];
        UNROLL for (int i = 0; i < size; i++) d[i] = load(pixels + i * columns * LANES);
        transform_in(pairs, d, t);
        UNROLL for (int i = 0; i < size; i++) store(to + i * columns * LANES, t[i]);
    }
}

static void vertical_short(const real *pixels, int64_t columns, real *to)
{
    for (int64_t j = 0; j < columns; j++, pixels += LANES, to += LANES) {
        vec d[SHORT_IN], t[SHORT_IN];
        UNROLL for (int i = 0; i < SHORT_IN; i++) d[i] = load(pixels + i * columns * LANES);
        transform_in_short(d, t);
        UNROLL for (int i = 0; i < SHORT_IN; i++) store(to + short_place(i) * columns * LANES, t[i]);
    }
}

/* B' along the rows, for every tile: of a short row only the rows that it has. */
INLINE void horizontal(const int pairs, const int is_short, const real *rows, int64_t columns, int64_t tiles,
                       real *places, int64_t plane_pitch, int64_t tile_pitch)
{
    const int size = 2 * pairs + 2;
    for (int64_t tile = 0; tile < tiles; tile++, rows += 2 * pairs * LANES, places += tile_pitch) {
        for (int i = 0; i < size; i++) {
            if (is_short && !is_short_place(i)) continue;
            vec d[MOST_IN], t[MOST_IN];
            UNROLL for (int j = 0; j < size; j++) d[j] = load(rows + (i * columns + j) * LANES);
            transform_in(pairs, d, t);
            UNROLL for (int j = 0; j < size; j++) store(places + (i * size + j) * plane_pitch, t[j]);
        }
    }
}

/* The short tile at the end of a row. */
static void horizontal_short(int is_short, const real *rows, int64_t columns, real *places, int64_t plane_pitch)
{
    const int size = SHORT_OF + 2;
    for (int i = 0; i < size; i++) {
        if (is_short && !is_short_place(i)) continue;
        vec d[SHORT_IN], t[SHORT_IN];
        UNROLL for (int j = 0; j < SHORT_IN; j++) d[j] = load(rows + (i * columns + j) * LANES);
        transform_in_short(d, t);
        UNROLL for (int j = 0; j < SHORT_IN; j++) store(places + (i * size + short_place(j)) * plane_pitch, t[j]);
    }
}

/* A row of tiles of a vector of channels. */
INLINE void transform_row(const int pairs, const real *pixels, int64_t columns, int64_t tiles, real *work,
                          real *places, int64_t plane_pitch, int64_t tile_pitch)
{
    vertical(pairs, pixels, columns, work);
    horizontal(pairs, 0, work, columns, tiles, places, plane_pitch, tile_pitch);
}

/* The same of tiles of four, where the row or its last tile is short. */
static void transform_short_row(const real *pixels, int64_t columns, pc_tiles tiles, int short_row, real *work,
                                real *places, int64_t plane_pitch, int64_t tile_pitch)
{
    const int pairs = SHORT_OF / 2;
    const int64_t whole = tiles.cols - tiles.short_col;
    if (short_row) {
        vertical_short(pixels, columns, work);
        horizontal(pairs, 1, work, columns, whole, places, plane_pitch, tile_pitch);
    } else {
        vertical(pairs, pixels, columns, work);
        horizontal(pairs, 0, work, columns, whole, places, plane_pitch, tile_pitch);
    }
    if (tiles.short_col) {
        horizontal_short(short_row, work + whole * SHORT_OF * LANES, columns, places + whole * tile_pitch, plane_pitch);
    }
}

void PC_NAME(winograd_input)(const pc_winograd *winograd, const real *x, const int64_t *x_strides, pc_tiles tiles,
                             real *places, real *work)
{
    /* the part of the padded input that the tiles touch, and what of it is the image's */
    const int64_t tile = winograd->tile, lines = tile * tiles.rows + 2, columns = tile * tiles.cols + 2;
    const int64_t top = tiles.first_row * tile - winograd->pad_top, left = tiles.first_col * tile - winograd->pad_left;
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
        for (int64_t ty = 0; ty < tiles.rows; ty++) {
            const real *pixels = work + ty * tile * columns * LANES;
            real *of_row = places + ty * tiles.cols * winograd->tile_pitch + c;
            const int short_row = tiles.short_row && ty + 1 == tiles.rows;
            if (short_row || tiles.short_col) {
                transform_short_row(pixels, columns, tiles, short_row, transformed, of_row, winograd->plane_pitch,
                                    winograd->tile_pitch);
                continue;
            }
            switch (tile / 2) {
#define ROW(PAIRS)                                                                                                  \
    case PAIRS:                                                                                                     \
        transform_row(PAIRS, pixels, columns, tiles.cols, transformed, of_row, winograd->plane_pitch,               \
                      winograd->tile_pitch);                                                                        \
        break;
                ROW(1) ROW(2) ROW(3)
#undef ROW
            }
        }
    }
}
