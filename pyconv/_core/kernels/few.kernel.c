/* Direct convolution of few input channels, with vectors along output channels: for images, and for small maps.
 *
 * A band is packed as for conv_direct.kernel.c. A tile is two rows of some neighbouring pixels and one vector of output
 * channels; one flat loop over all taps keeps its sums in registers: a weight vector is loaded, pixels are broadcast.
 * So no place of a tile lies between two rows, and no row of few pixels leaves lanes empty. The sums of some rows wait in
 * scratch, [pixel][channel], and are turned into rows of the output. Each output is one chain of multiply-adds in tap
 * order that begins at the bias: the bits of conv_tile.kernel.c.
 *
 * Where a relu and a pooling of 2 x 2 follow, both are done while the sums are in registers: four times fewer numbers are
 * put down and turned.
 */
#include "conv.h"
#include "select.h"
#include "squares.h"

/* Columns of the widest tile: its sums, the weights and, where pixels are not broadcast by the multiply-add itself, one
 * pixel take 32 registers, or 16. Number of pixels that wait together, unless two rows are more. */
#if defined(__AVX512F__)
#define MOST_COLUMNS 14
#elif defined(__aarch64__)
#define MOST_COLUMNS 12
#else
#define MOST_COLUMNS 6
#endif
enum { WAITING = 256 };

typedef void few_tile(const real *band, int64_t below, const int32_t *offsets, int64_t taps, const real *weights,
                      const real *bias, int64_t pooled, real *to, int64_t to_below);

/* Pixels band[p] and band[below + p], whose sums go to to[p * LANES] and to[to_below + p * LANES]; pooled (see pc_direct),
 * their maxima of 2 x 2 go to to[p / 2 * LANES]. */
#define TILE(P)                                                                                                     \
    static void tile_##P(const real *band, int64_t below, const int32_t *offsets, int64_t taps, const real *weights, \
                         const real *bias, int64_t pooled, real *to, int64_t to_below)                              \
    {                                                                                                               \
        vec sum[2][P];                                                                                              \
        UNROLL for (int p = 0; p < P; p++) sum[0][p] = sum[1][p] = load(bias);                                      \
        for (int64_t t = 0; t < taps; t++, weights += LANES) {                                                      \
            const vec w = load(weights);                                                                            \
            const real *first = band + offsets[t], *second = first + below;                                         \
            UNROLL for (int p = 0; p < P; p++) sum[0][p] += splat(first[p]) * w;                                    \
            UNROLL for (int p = 0; p < P; p++) sum[1][p] += splat(second[p]) * w;                                   \
        }                                                                                                           \
        if (pooled) {                                                                                               \
            UNROLL for (int p = 0; p + 1 < P; p += 2) store(to + p / 2 * LANES, largest(sum[0] + p, sum[1] + p, pooled)); \
            return;                                                                                                 \
        }                                                                                                           \
        UNROLL for (int p = 0; p < P; p++) store(to + p * LANES, sum[0][p]);                                        \
        UNROLL for (int p = 0; p < P; p++) store(to + to_below + p * LANES, sum[1][p]);                             \
    }

/* Of two pixels in each of two rows, or of their relu; NaN if one of them is. */
static inline vec largest(const vec *above, const vec *below, int64_t pooled)
{
    vec four[4] = {above[0], above[1], below[0], below[1]};
    if (pooled == 2) UNROLL for (int i = 0; i < 4; i++) four[i] = greater_of(splat(0), four[i]);
    return max_or_nan(max_or_nan(max_or_nan(four[0], four[1]), four[2]), four[3]);
}

TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if MOST_COLUMNS > 6
TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
#endif
#if MOST_COLUMNS > 12
TILE(13) TILE(14)
#endif

static few_tile *const tiles[MOST_COLUMNS] = {
    tile_1, tile_2, tile_3, tile_4, tile_5, tile_6,
#if MOST_COLUMNS > 6
    tile_7, tile_8, tile_9, tile_10, tile_11, tile_12,
#endif
#if MOST_COLUMNS > 12
    tile_13, tile_14,
#endif
};

const int64_t PC_NAME(few_columns) = MOST_COLUMNS;

void PC_NAME(few_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    const pc_direct *conv = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    /* task = (((image * groups + group) * bands_h + band row) * bands_w + band column) * shares + share */
    const int64_t share = task % conv->shares;
    int64_t rest = task / conv->shares;
    const int64_t first_col = rest % conv->bands_w * conv->cols;
    rest /= conv->bands_w;
    const int64_t first_row = rest % conv->bands_h * conv->rows;
    rest /= conv->bands_h;
    const int64_t group = rest % conv->groups, image = rest / conv->groups;
    const int64_t rows = least(conv->rows, conv->out_h - first_row);
    const int64_t cols = least(conv->cols, conv->out_w - first_col);
    const int64_t blocks = conv->full_tiles + (conv->last_channels > 0), taps = conv->taps, pitch = conv->pitch;

    const real *x = (const real *)arrays->x + image * x_strides[0] + group * conv->in_channels * x_strides[1];
    const real *weights = (const real *)arrays->weights + group * blocks * LANES * taps;
    const real *bias = (const real *)arrays->bias + group * blocks * LANES;
    real *band = scratch, *sums = band + conv->band_size;
    const int halved = conv->pooled != 0; /* both axes */
    real *out = (real *)arrays->out + image * out_strides[0] + group * conv->out_channels * out_strides[1] +
                (first_row >> halved) * out_strides[2] + (first_col >> halved);
    const int64_t first_block = blocks * share / conv->shares, end_block = blocks * (share + 1) / conv->shares;
    const int64_t out_cols = cols >> halved;
    const int64_t together = out_cols * 2 < WAITING ? WAITING / out_cols / 2 * 2 : 2; /* rows whose sums wait together */
    /* tiles as wide as each other, if they can be; of an even number of columns where these are pooled */
    const int64_t pieces = (cols + MOST_COLUMNS - 1) / MOST_COLUMNS;
    const int64_t width = ((cols + pieces - 1) / pieces + halved) & -(1 + halved);

    const __auto_type mode = flush_denormals();
    PC_NAME(conv_pack)(conv, x, x_strides, first_row, rows, first_col, band);
    for (int64_t block = first_block; block < end_block; block++) {
        const int64_t channel = block * LANES, channels = least(conv->out_channels - channel, LANES);
        for (int64_t top = 0; top < rows; top += together) {
            const int64_t end = least(top + together, rows);
            for (int64_t row = top; row < end; row += 2) {
                const int64_t two = row + 1 < end; /* else a row is computed twice */
                for (int64_t col = 0; col < cols; col += width) {
                    real *to = sums + (((row - top) >> halved) * out_cols + (col >> halved)) * LANES;
                    tiles[least(width, cols - col) - 1](band + row * pitch + col, two * pitch, conv->offsets, taps,
                                                        weights + channel * taps, bias + channel, conv->pooled, to,
                                                        two * cols * LANES);
                }
            }
            write_rows(sums, LANES, 0, ((end - top) >> halved) * out_cols, channels, out_cols,
                       out + channel * out_strides[1] + (top >> halved) * out_strides[2], out_strides);
        }
    }
    restore_denormals(mode);
}
