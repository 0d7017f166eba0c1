/* Winograd's output transform: A' m A for every tile, vectors along output channels, then rows of pixels are turned out
 * of the vectors and stored: several tiles at a time, so that whole cache lines are written. */
#include <stddef.h>

#include "squares.h"
#include "winograd.h"

#define ROLLED _Pragma("GCC unroll 1")

enum { SEGMENT = 48 }; /* pixels of a row that are turned together: whole tiles and whole vectors of every size */

/* A' on a column or a row of products, of a tile that may be short; how many pixels it has. */
INLINE int transform_axis(const int pairs, const int is_short, const vec *m, vec *y)
{
    if (is_short) transform_out_short(m, y);
    else transform_out(pairs, 2 * pairs, m, NULL, y);
    return is_short ? SHORT_OUT : 2 * pairs;
}

/* A' m A + b of a tile, whose row k goes to rows + k * SEGMENT * LANES, a vector of channels for each pixel. Lanes of
 * `check`, zeros, become NaN where a result is not finite. What is half transformed goes through memory: it is more than
 * registers hold, and so loops stay loops and need no place to keep all addresses. */
INLINE void transform_tile(const int pairs, const int short_row, const int short_col, const real *sums,
                           int64_t place_pitch, vec b, real *rows, vec *check)
{
    const int size = 2 * pairs + 2;
    const int high = short_row ? SHORT_IN : size, wide = short_col ? SHORT_IN : size;
    vec half[MOST_OUT][MOST_IN];
    ROLLED for (int j = 0; j < wide; j++)
    {
        const real *column = sums + (short_col ? short_place(j) : j) * place_pitch;
        vec m[MOST_IN], y[MOST_OUT];
        UNROLL for (int i = 0; i < high; i++)
        {
            m[i] = load_once(column + (short_row ? short_place(i) : i) * size * place_pitch);
        }
        const int height = transform_axis(pairs, short_row, m, y);
        UNROLL for (int i = 0; i < height; i++) half[i][j] = y[i];
    }
    ROLLED for (int i = 0; i < high - 2; i++)
    {
        vec y[MOST_OUT];
        const int width = transform_axis(pairs, short_col, half[i], y);
        UNROLL for (int j = 0; j < width; j++)
        {
            y[j] += b;
            check[j] += y[j] * splat(0); /* NaN of what is not finite */
            store(rows + (i * SEGMENT + j) * LANES, y[j]);
        }
    }
}

/* A run of `count` tiles of a row; of short ones, if it is one, and with a last one that is short. */
INLINE void transform_run(const int pairs, const int short_row, const int short_last, const real *sums, int64_t count,
                          int64_t width, int64_t place_pitch, vec b, real *rows, vec *check)
{
    const int64_t whole = count - short_last;
    for (int64_t i = 0; i < whole; i++, sums += width, rows += 2 * pairs * LANES) {
        transform_tile(pairs, short_row, 0, sums, place_pitch, b, rows, check);
    }
    if (short_last) transform_tile(pairs, short_row, 1, sums, place_pitch, b, rows, check);
}

/* The same where there are short ones. */
static void transform_short_run(int short_row, int short_last, const real *sums, int64_t count, int64_t width,
                                int64_t place_pitch, vec b, real *rows, vec *check)
{
    if (!short_row) transform_run(SHORT_OF / 2, 0, 1, sums, count, width, place_pitch, b, rows, check);
    else if (short_last) transform_run(SHORT_OF / 2, 1, 1, sums, count, width, place_pitch, b, rows, check);
    else transform_run(SHORT_OF / 2, 1, 0, sums, count, width, place_pitch, b, rows, check);
}

int PC_NAME(winograd_output)(const pc_winograd *winograd, const real *sums, const real *bias, int64_t vectors,
                             int64_t channels, pc_tiles tiles, real *out, const int64_t *out_strides)
{
    const int64_t tile = winograd->tile, width = vectors * LANES, place_pitch = tiles.rows * tiles.cols * width;
    real rows[MOST_OUT * SEGMENT * LANES] __attribute__((aligned(VECTOR_BYTES)));
    vec check[MOST_OUT];
    UNROLL for (int j = 0; j < MOST_OUT; j++) check[j] = splat(0);
    for (int64_t v = 0; v < vectors; v++) {
        const vec b = load(bias + v * LANES);
        const int64_t count = channels - v * LANES < LANES ? channels - v * LANES : LANES;
        const real *from = sums + v * LANES;
        for (int64_t ty = 0; ty < tiles.rows; ty++) {
            const int64_t y0 = (tiles.first_row + ty) * tile;
            const int short_row = tiles.short_row && ty + 1 == tiles.rows;
            const int64_t height = winograd->out_h - y0 < tile ? winograd->out_h - y0 : tile;
            for (int64_t tx = 0; tx < tiles.cols; tx += SEGMENT / tile) {
                const int64_t x0 = (tiles.first_col + tx) * tile;
                const int64_t run = tiles.cols - tx < SEGMENT / tile ? tiles.cols - tx : SEGMENT / tile;
                const int64_t breadth = winograd->out_w - x0 < run * tile ? winograd->out_w - x0 : run * tile;
                const int short_last = tiles.short_col && tx + run == tiles.cols;
                switch (short_row || short_last ? 0 : tile / 2) {
                case 0: transform_short_run(short_row, short_last, from, run, width, place_pitch, b, rows, check); break;
#define RUN(PAIRS)                                                                                                  \
    case PAIRS: transform_run(PAIRS, 0, 0, from, run, width, place_pitch, b, rows, check); break;
                    RUN(1) RUN(2) RUN(3)
#undef RUN
                }
                from += run * width;
                real *to = out + v * LANES * out_strides[1] + y0 * out_strides[2] + x0;
                for (int64_t i = 0; i < height; i++) {
                    for (int64_t j = 0; j < breadth; j += LANES) {
                        write_square(rows + (i * SEGMENT + j) * LANES, LANES, breadth - j < LANES ? breadth - j : LANES,
                                     count, to + i * out_strides[2] + j, out_strides[1]);
                    }
                }
            }
        }
    }
    int result = 0;
    UNROLL for (int j = 1; j < MOST_OUT; j++) check[0] += check[j];
    for (int64_t i = 0; i < LANES; i++) result |= check[0][i] != 0;
    return result;
}
