/* What the files of the Winograd convolution share.
 *
 * F(4x4, 3x3) after Lavin and Gray (2016), with the interpolation points 0, +-sqrt(1/2), +-sqrt(2) and infinity: their
 * products keep the transforms' numbers small, so the error is less than half of that with 0, +-1, +-2.
 * Y = A' [(G g G') * (B' d B)] A, where * is a product for each of 36 places, summed over the input channels.
 */
#ifndef PYCONV_WINOGRAD_H
#define PYCONV_WINOGRAD_H

#include "channels.h"

enum { IN_TILE = 6, OUT_TILE = 4, PLACES = 36 };

#define ROOT_HALF ((real)0.70710678118654752440)
#define ROOT_TWO ((real)1.41421356237309504880)

/* d: B' d B of every 6 x 6 input tile of the task, for all input channels: places[place][tile][channel]. The work
 * space holds the pixels of a vector of channels, and six rows of them more. */
void PC_NAME(winograd_input)(const pc_winograd *winograd, const real *x, const int64_t *x_strides, int64_t first_row,
                             int64_t rows, int64_t first_col, int64_t cols, real *places, real *work);

/* sums[place][tile][channel of the block] = sum over c of places[place][tile][c] * weights[place][c][channel] */
void PC_NAME(winograd_products)(const pc_winograd *winograd, int64_t tiles, int64_t vectors, const real *places,
                                const real *weights, real *sums);

/* A' sums A + bias, written to the real pixels and channels; 1 if a result is not finite. */
int PC_NAME(winograd_output)(const pc_winograd *winograd, const real *sums, const real *bias, int64_t vectors,
                             int64_t channels, int64_t first_row, int64_t rows, int64_t first_col, int64_t cols,
                             real *out, const int64_t *out_strides);

#endif
