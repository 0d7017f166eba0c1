/* The register tile of a convolution, and packing; shared by the files of the direct convolution. */
#ifndef PYCONV_CONV_TILE_H
#define PYCONV_CONV_TILE_H

#include "kernels.h"
#include "vector.h"

/* Deep tile: as many channels as the registers hold beside 3 vectors of pixels and one broadcast weight
 * (8 x 3 = 24 of 32 registers, 4 x 3 = 12 of 16). Wide tiles: for fewer output channels. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define TILE_CHANNELS 8
#define WIDE_1 8
#define WIDE_2 8
#define WIDE_4 6
#else
#define TILE_CHANNELS 4
#define WIDE_1 8
#define WIDE_2 4
#define WIDE_4 0 /* the deep tile has four channels */
#endif
#define DEEP_VECTORS 3
#define MOST_VECTORS 8

/* Sum over the taps of K channels x V vectors of pixels: to[k * to_stride + pixel] = bias[k] + sum over t of
 * band[offsets[t] + pixel] * weights[t * K + k]. */
typedef void conv_tile(const real *band, const int32_t *offsets, int64_t taps, const real *weights, const real *bias,
                       real *to, int64_t to_stride);

/* The tile for 1, 2, 4 or 8 channels. */
conv_tile *PC_NAME(conv_tile_for)(int64_t channels, int64_t wide);

/* Copy a band's input into scratch; first_row and first_col are output coordinates. */
void PC_NAME(conv_pack)(const pc_conv *conv, const real *x, const int64_t *x_strides, int64_t first_row,
                        int64_t rows, int64_t first_col, real *band);

#endif
