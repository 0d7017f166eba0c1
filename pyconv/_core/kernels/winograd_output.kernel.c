/* Winograd's output transform: A' m A for every tile, vectors along output channels, then rows of pixels are turned out
 * of the vectors and stored: several tiles at a time, so that whole cache lines are written. */
#include <stddef.h>

#include "squares.h"
#include "winograd.h"

enum { SEGMENT = 48 }; /* pixels of a row that are turned together: whole tiles and whole vectors of every size */

/* A' m A + b of a tile, whose row k goes to rows + k * SEGMENT * LANES, a vector of channels for each pixel; lanes of
 * results that are not finite are set in `broken`. */
INLINE void transform_tile(const int pairs, const real *sums, int64_t place_pitch, vec b, real *rows,
                                  ivec *broken)
{
    const int size = 2 * pairs + 2, tile = 2 * pairs;
    vec half[MOST_OUT][MOST_IN];
    UNROLL for (int j = 0; j < size; j++)
    {
        vec m[MOST_IN], y[MOST_OUT];
        UNROLL for (int i = 0; i < size; i++) m[i] = load(sums + (i * size + j) * place_pitch);
        transform_out(pairs, tile, m, NULL, y);
        UNROLL for (int i = 0; i < tile; i++) half[i][j] = y[i];
    }
    UNROLL for (int i = 0; i < tile; i++)
    {
        vec y[MOST_OUT];
        transform_out(pairs, tile, half[i], NULL, y);
        UNROLL for (int j = 0; j < tile; j++)
        {
            y[j] += b;
            *broken |= (y[j] - y[j]) != splat(0); /* inf and NaN are not zero even then */
            store(rows + (i * SEGMENT + j) * LANES, y[j]);
        }
    }
}

/* A run of `count` tiles of a row. */
INLINE void transform_run(const int pairs, const real *sums, int64_t count, int64_t width, int64_t place_pitch,
                                 vec b, real *rows, ivec *broken)
{
    for (int64_t i = 0; i < count; i++, sums += width, rows += 2 * pairs * LANES) {
        transform_tile(pairs, sums, place_pitch, b, rows, broken);
    }
}

int PC_NAME(winograd_output)(const pc_winograd *winograd, const real *sums, const real *bias, int64_t vectors,
                             int64_t channels, pc_tiles tiles, real *out, const int64_t *out_strides)
{
    const int64_t tile = winograd->tile, width = vectors * LANES, place_pitch = tiles.rows * tiles.cols * width;
    real rows[MOST_OUT * SEGMENT * LANES] __attribute__((aligned(VECTOR_BYTES)));
    ivec broken = {0};
    for (int64_t v = 0; v < vectors; v++) {
        const vec b = load(bias + v * LANES);
        const int64_t count = channels - v * LANES < LANES ? channels - v * LANES : LANES;
        const real *from = sums + v * LANES;
        for (int64_t ty = 0; ty < tiles.rows; ty++) {
            const int64_t y0 = (tiles.first_row + ty) * tile;
            const int64_t height = winograd->out_h - y0 < tile ? winograd->out_h - y0 : tile;
            for (int64_t tx = 0; tx < tiles.cols; tx += SEGMENT / tile) {
                const int64_t x0 = (tiles.first_col + tx) * tile;
                const int64_t run = tiles.cols - tx < SEGMENT / tile ? tiles.cols - tx : SEGMENT / tile;
                const int64_t breadth = winograd->out_w - x0 < run * tile ? winograd->out_w - x0 : run * tile;
                switch (tile / 2) {
#define RUN(PAIRS)                                                                                                  \
    case PAIRS: transform_run(PAIRS, from, run, width, place_pitch, b, rows, &broken); break;
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
    for (int64_t i = 0; i < LANES; i++) result |= broken[i] != 0;
    return result;
}
