/* Winograd's input transform: B' d B for a grid of overlapping tiles, vectors along channels.
 *
 * First the channels of a vector are put side by side, pixel by pixel, with the padding written out. Then no transform
 * needs a shuffle, and no lane is idle however small the image is.
 */
#include "winograd.h"

/* Tiles of a row: what is half transformed stays in the first level of the cache. The scratch memory is counted by it, in
 * pyconv/backends/cpu/winograd.py. */
enum { PART = 4 };

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

/* B' down the rows of a row of tiles, for so many columns, to rows of `pitch` columns. */
INLINE void vertical(const int pairs, const int is_short, const real *pixels, int64_t columns, int64_t count,
                     int64_t pitch, real *to)
{
    const int size = is_short ? SHORT_IN : 2 * pairs + 2;
    for (int64_t j = 0; j < count; j++, pixels += LANES, to += LANES) {
        vec d[MOST_IN], t[MOST_IN];
        UNROLL for (int i = 0; i < size; i++) d[i] = load(pixels + i * columns * LANES);
        if (is_short) transform_in_short(d, t);
        else transform_in(pairs, d, t);
        UNROLL for (int i = 0; i < size; i++) store(to + (is_short ? short_place(i) : i) * pitch * LANES, t[i]);
    }
}

/* B' along the rows, for every tile; of a short row only the rows that it has. */
INLINE void horizontal(const int pairs, const int is_short, const real *rows, int64_t pitch, int64_t tiles,
                       real *places, int64_t plane_pitch, int64_t tile_pitch)
{
    const int size = 2 * pairs + 2;
    for (int64_t tile = 0; tile < tiles; tile++, rows += 2 * pairs * LANES, places += tile_pitch) {
        for (int i = 0; i < size; i++) {
            if (is_short && !is_short_place(i)) continue;
            vec d[MOST_IN], t[MOST_IN];
            UNROLL for (int j = 0; j < size; j++) d[j] = load(rows + (i * pitch + j) * LANES);
            transform_in(pairs, d, t);
            UNROLL for (int j = 0; j < size; j++) store(places + (i * size + j) * plane_pitch, t[j]);
        }
    }
}

/* The same for a short tile. */
INLINE void horizontal_short(const int is_short, const real *rows, int64_t pitch, real *places, int64_t plane_pitch)
{
    const int size = SHORT_OF + 2;
    for (int i = 0; i < size; i++) {
        if (is_short && !is_short_place(i)) continue;
        vec d[SHORT_IN], t[SHORT_IN];
        UNROLL for (int j = 0; j < SHORT_IN; j++) d[j] = load(rows + (i * pitch + j) * LANES);
        transform_in_short(d, t);
        UNROLL for (int j = 0; j < SHORT_IN; j++) store(places + (i * size + short_place(j)) * plane_pitch, t[j]);
    }
}

/* A row of tiles of a vector of channels, part by part. */
INLINE void transform_row(const int pairs, const int is_short, const real *pixels, int64_t columns, pc_tiles tiles,
                          real *work, real *places, int64_t plane_pitch, int64_t tile_pitch)
{
    const int tile = 2 * pairs, pitch = PART * tile + 2;
    const int64_t whole = tiles.cols - tiles.short_col;
    for (int64_t first = 0; first < whole; first += PART) {
        const int64_t count = least(PART, whole - first);
        vertical(pairs, is_short, pixels + first * tile * LANES, columns, count * tile + 2, pitch, work);
        horizontal(pairs, is_short, work, pitch, count, places + first * tile_pitch, plane_pitch, tile_pitch);
    }
    if (pairs == SHORT_OF / 2 && tiles.short_col) {
        vertical(pairs, is_short, pixels + whole * tile * LANES, columns, SHORT_IN, pitch, work);
        horizontal_short(is_short, work, pitch, places + whole * tile_pitch, plane_pitch);
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
            switch (tiles.short_row && ty + 1 == tiles.rows ? 0 : tile / 2) {
#define ROW(CASE, PAIRS, IS_SHORT)                                                                                  \
    case CASE:                                                                                                      \
        transform_row(PAIRS, IS_SHORT, pixels, columns, tiles, transformed, of_row, winograd->plane_pitch,          \
                      winograd->tile_pitch);                                                                        \
        break;
                ROW(0, SHORT_OF / 2, 1) ROW(1, 1, 0) ROW(2, 2, 0) ROW(3, 3, 0)
#undef ROW
            }
        }
    }
}
