/* The register tile whose vectors run along output channels, for the direct convolution and for Winograd's products. */
#ifndef PYCONV_CHANNELS_H
#define PYCONV_CHANNELS_H

#include "kernels.h"
#include "vector.h"

/* Vectors of output channels of a tile, and its pixels: with the weights and one broadcast pixel beside the sums, 32
 * registers hold 6 x 4 or 8 x 3, and 16 hold 6 x 2. Fewer sums than 8 would wait for each other. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define BLOCK_VECTORS 4
#else
#define BLOCK_VECTORS 2
#endif
#define BLOCK_PIXELS 6
#define MOST_PIXELS 8 /* of a tile of fewer vectors */

enum { CACHE_LINE = 64, FETCHED = 2 * CACHE_LINE /* bytes that a tile may fetch ahead for each input channel */ };

/* For each pixel p and each channel of the vectors:
 * sums[p][k] = start + sum over t < taps, c < count of inputs[p][places[t] + c * step] * weights[t][c][k],
 * where start is bias[k], or sums[p][k] if bias is NULL. Meanwhile FETCHED bytes are
 * fetched from `next` for each c of each tap, which goes on by next_step: FETCHED, less, or 0 to fetch nothing new. */
typedef void channel_tile(const real *const *inputs, const int64_t *places, int64_t taps, int64_t step, int64_t count,
                          const real *weights, const real *bias, real *const *sums, const char *next,
                          int64_t next_step);

extern channel_tile *const PC_NAME(channel_tiles)[BLOCK_VECTORS][MOST_PIXELS]; /* by vectors - 1, pixels - 1 */

/* For p < LANES and k < channels: to[k * channel_stride + p] =
 * bias[k] + sum over c < count of x[p * step + c] * weights[c * width + k], in this order. */
void PC_NAME(channel_square)(const real *x, int64_t step, int64_t count, const real *weights, int64_t width,
                             const real *bias, int64_t channels, real *to, int64_t channel_stride);

#if defined(__AVX512F__)
/* The same of up to half a vector of output channels, or of one and a half, of any number of pixels and an even `count`: the
 * even channels first, then the sum of the odd ones is added. A vector of an output channel's two weights, `vectors` of
 * them for each pair of channels, 1 or 3, leaves no lane idle. */
void PC_NAME(channel_pairs)(int64_t pixels, int64_t vectors, const real *x, int64_t step, int64_t count,
                            const real *zipped, int64_t channels, real *to, int64_t channel_stride);

/* Biases and weights, [channel][width], as channel_pairs wants them: (count / 2 + 1) * vectors vectors. */
void PC_NAME(zip_pairs)(const real *weights, int64_t width, int64_t count, const real *bias, int64_t vectors, real *to);
#endif

#endif
