/* Winograd's output transform: A' m A for every tile, vectors along output channels, then rows of four pixels are
 * turned out of the vectors and stored. */
#include <string.h>

#include "winograd.h"

/* A' on six vectors */
static inline void transform(const vec m[6], vec y[4])
{
    const vec half = splat((real)0.5), two = splat(2);
    const vec sum_a = m[1] + m[2], sum_b = m[3] + m[4];
    const vec odd_a = splat(ROOT_HALF) * (m[1] - m[2]), odd_b = splat(ROOT_TWO) * (m[3] - m[4]);
    y[0] = m[0] + sum_a + sum_b;
    y[1] = odd_a + odd_b;
    y[2] = half * sum_a + two * sum_b;
    y[3] = half * odd_a + two * odd_b + m[5];
}

/* One row of four pixels for each channel of a vector, of which width pixels and count channels are real */
static inline void store_rows(const vec y[4], int64_t width, int64_t count, real *to, int64_t channel_stride)
{
    /* [channel][4], after zipping twice */
    real rows[4 * LANES] __attribute__((aligned(VECTOR_BYTES)));
    const vec low_02 = SHUFFLE(y[0], y[2], ZIP_LOW), high_02 = SHUFFLE(y[0], y[2], ZIP_HIGH);
    const vec low_13 = SHUFFLE(y[1], y[3], ZIP_LOW), high_13 = SHUFFLE(y[1], y[3], ZIP_HIGH);
    store(rows, SHUFFLE(low_02, low_13, ZIP_LOW));
    store(rows + LANES, SHUFFLE(low_02, low_13, ZIP_HIGH));
    store(rows + 2 * LANES, SHUFFLE(high_02, high_13, ZIP_LOW));
    store(rows + 3 * LANES, SHUFFLE(high_02, high_13, ZIP_HIGH));
    if (width == OUT_TILE && count == LANES) {
        UNROLL for (int c = 0; c < LANES; c++) memcpy(to + c * channel_stride, rows + c * OUT_TILE, sizeof(real[4]));
        return;
    }
    for (int64_t c = 0; c < count; c++) {
        for (int64_t j = 0; j < width; j++) to[c * channel_stride + j] = rows[c * OUT_TILE + j];
    }
}

int PC_NAME(winograd_output)(const pc_winograd *winograd, const real *sums, const real *bias, int64_t vectors,
                             int64_t channels, int64_t first_row, int64_t rows, int64_t first_col, int64_t cols,
                             real *out, const int64_t *out_strides)
{
    const int64_t width = vectors * LANES, place_pitch = rows * cols * width;
    ivec broken = {0};
    for (int64_t v = 0; v < vectors; v++) {
        const vec b = load(bias + v * LANES);
        const int64_t count = channels - v * LANES < LANES ? channels - v * LANES : LANES;
        const real *tile = sums + v * LANES;
        for (int64_t ty = 0; ty < rows; ty++) {
            const int64_t y0 = (first_row + ty) * OUT_TILE;
            const int64_t height = winograd->out_h - y0 < OUT_TILE ? winograd->out_h - y0 : OUT_TILE;
            for (int64_t tx = 0; tx < cols; tx++, tile += width) {
                const int64_t x0 = (first_col + tx) * OUT_TILE;
                const int64_t breadth = winograd->out_w - x0 < OUT_TILE ? winograd->out_w - x0 : OUT_TILE;
                vec half[4][6];
                UNROLL for (int j = 0; j < IN_TILE; j++)
                {
                    vec m[6], y[4];
                    UNROLL for (int i = 0; i < IN_TILE; i++) m[i] = load(tile + (i * IN_TILE + j) * place_pitch);
                    transform(m, y);
                    UNROLL for (int i = 0; i < OUT_TILE; i++) half[i][j] = y[i];
                }
                real *to = out + v * LANES * out_strides[1] + y0 * out_strides[2] + x0;
                UNROLL for (int i = 0; i < OUT_TILE; i++)
                {
                    if (i < height) {
                        vec y[4];
                        transform(half[i], y);
                        UNROLL for (int j = 0; j < OUT_TILE; j++)
                        {
                            y[j] += b;
                            broken |= (y[j] - y[j]) != splat(0); /* inf and NaN are not zero even then */
                        }
                        store_rows(y, breadth, count, to + i * out_strides[2], out_strides[1]);
                    }
                }
            }
        }
    }
    int result = 0;
    for (int64_t i = 0; i < LANES; i++) result |= broken[i] != 0;
    return result;
}
