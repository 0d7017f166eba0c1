/* Direct convolution with vectors along output channels: nothing is packed, and taps that lie in the padding are left
 * out. For images so small that vectors along their rows would be half empty, and for channels-last images.
 *
 * Pixels whose valid taps are the same form tiles. Part after part of the weights, so small that it stays in the first
 * level of the cache, passes all tiles of a band of pixels; their sums wait in scratch, [pixel][channel], and are turned
 * into rows of the output at the end.
 */
#include <stddef.h>

#include "channels.h"
#include "squares.h"

/* Where the first tap of every pixel of a band's tiles lies, in elements from the first of the image; it may lie before
 * the image, where nothing is read. */
static void find_offsets(const pc_channels *conv, const int64_t *x_strides, int64_t band, int64_t *offsets)
{
    const int64_t first = band * conv->pixels;
    for (int64_t t = conv->band_tiles[band]; t < conv->band_tiles[band + 1]; t++, offsets += MOST_PIXELS) {
        const pc_channels_tile *tile = conv->tiles + t;
        for (int64_t p = 0; p < tile->count; p++) {
            const int64_t pixel = first + tile->pixels[p], y = pixel / conv->out_w, column = pixel % conv->out_w;
            offsets[p] = (y * conv->stride_h - conv->pad_top) * x_strides[2] +
                         (column * conv->stride_w - conv->pad_left) * x_strides[3];
        }
    }
}

/* One band of pixels for one block of output channels: its sums, [pixel][channel]. offsets has the place in the input
 * of the first tap of every pixel of every tile, in or out of the image. */
static void run_band(const pc_channels *conv, const real *x, const int64_t *x_strides, int64_t band,
                     const int64_t *offsets, int64_t vectors, const real *weights, const real *bias, real *sums)
{
    const int64_t width = vectors * LANES;
    const pc_channels_tile *tiles = conv->tiles + conv->band_tiles[band];
    const int64_t count = conv->band_tiles[band + 1] - conv->band_tiles[band];
    channel_tile *const *runs = PC_NAME(channel_tiles)[vectors - 1];
    for (int64_t i = 0; i < conv->kernel_h; i++) {
        for (int64_t j = 0; j < conv->kernel_w; j++) {
            for (int64_t c = 0; c < conv->in_channels; c += conv->chunk) {
                const int64_t channels = conv->in_channels - c < conv->chunk ? conv->in_channels - c : conv->chunk;
                const int64_t at = i * conv->dilation_h * x_strides[2] + j * conv->dilation_w * x_strides[3] +
                                   c * x_strides[1];
                /* the tiles that pass first fetch the part of the weights that comes next */
                const char *next = (const char *)(weights + channels * width);
                const char *next_end = next + channels * width * (int64_t)sizeof(real);
                for (int64_t t = 0; t < count; t++) {
                    const pc_channels_tile *tile = tiles + t;
                    if (i < tile->row || i >= tile->end_row || j < tile->column || j >= tile->end_column) continue;
                    const int is_first = c == 0 && i == tile->row && j == tile->column;
                    const real *inputs[MOST_PIXELS];
                    real *to[MOST_PIXELS];
                    for (int64_t p = 0; p < tile->count; p++) {
                        inputs[p] = x + (offsets[t * MOST_PIXELS + p] + at);
                        to[p] = sums + tile->pixels[p] * width;
                    }
                    runs[tile->count - 1](inputs, x_strides[1], channels, weights, is_first ? bias : NULL, to, next,
                                          next < next_end ? FETCHED : 0);
                    if (next < next_end) next += channels * FETCHED;
                }
                weights += channels * width;
            }
        }
    }
}

void PC_NAME(channels_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    /* task = ((image * groups + group) * parts + part of the bands) * shares + share of the blocks */
    const pc_channels *conv = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    const int64_t share = task % conv->shares, part = task / conv->shares % conv->parts;
    const int64_t group = task / (conv->shares * conv->parts) % conv->groups;
    const int64_t image = task / (conv->shares * conv->parts * conv->groups);
    const int64_t first_block = conv->blocks * share / conv->shares, end_block = conv->blocks * (share + 1) / conv->shares;
    const int64_t first_band = conv->bands * part / conv->parts, end_band = conv->bands * (part + 1) / conv->parts;
    const int64_t all_vectors = (conv->out_channels + LANES - 1) / LANES;
    const int64_t taps = conv->in_channels * conv->kernel_h * conv->kernel_w;
    const int64_t pixels = conv->out_h * conv->out_w;
    const real *x = (const real *)arrays->x + image * x_strides[0] + group * conv->in_channels * x_strides[1];
    const real *weights = (const real *)arrays->weights + group * all_vectors * LANES * taps;
    const real *bias = (const real *)arrays->bias + group * all_vectors * LANES;
    real *out = (real *)arrays->out + image * out_strides[0] + group * conv->out_channels * out_strides[1];
    int64_t *offsets = scratch;
    real *sums = (real *)(offsets + conv->most_tiles * MOST_PIXELS);
    const __auto_type mode = flush_denormals();
    for (int64_t block = first_block; block < end_block; block++) {
        const int64_t vector = all_vectors * block / conv->blocks, channel = vector * LANES;
        const int64_t vectors = all_vectors * (block + 1) / conv->blocks - vector; /* BLOCK_VECTORS at most */
        const int64_t channels = conv->out_channels - channel < vectors * LANES ? conv->out_channels - channel
                                                                                : vectors * LANES;
        for (int64_t band = first_band; band < end_band; band++) {
            const int64_t first = band * conv->pixels;
            const int64_t count = pixels - first < conv->pixels ? pixels - first : conv->pixels;
            find_offsets(conv, x_strides, band, offsets);
            run_band(conv, x, x_strides, band, offsets, vectors, weights + channel * taps, bias + channel, sums);
            write_rows(sums, vectors * LANES, first, count, channels, conv->out_w, out + channel * out_strides[1],
                       out_strides);
        }
    }
    restore_denormals(mode);
}
