/* What the files of the direct convolution share. */
#ifndef PYCONV_CONV_H
#define PYCONV_CONV_H

#include "kernels.h"
#include "vector.h"

/* Largest tile, for the buffer that catches its result: vectors of pixels, and vectors in all. */
#if defined(__AVX512F__) || defined(__aarch64__) /* 32 registers */
#define MOST_SUMS 24
#else
#define MOST_SUMS 12
#endif
#define MOST_VECTORS 8

/* Output channels that a tile of winograd_few.kernel.c computes together: six sums each. */
#define WINOGRAD_FEW_CHANNELS (MOST_SUMS / 6)

extern const pc_tile PC_NAME(conv_tiles)[];
extern const int64_t PC_NAME(conv_tile_count);

/* Copy a band's input into scratch; first_row and first_col are output coordinates. */
void PC_NAME(conv_pack)(const pc_direct *conv, const real *x, const int64_t *x_strides, int64_t first_row,
                        int64_t rows, int64_t first_col, real *band);

/* Copy channels that are neighbours in memory, of `count` pixels that are `step` apart, into a panel of `width` pixels for
 * each channel, the channels `pitch` apart; what is beyond the pixels is 0. */
void PC_NAME(conv_pack_panel)(const real *from, int64_t step, int64_t count, int64_t channels, int64_t width, real *panel,
                              int64_t pitch);

#endif
