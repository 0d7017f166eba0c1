/* Packing: a band's input, copied into scratch in the one form that the tile reads.
 *
 * Padding is written out as zeros. Rows and columns are sorted by their remainder by the stride ("phase"): then the
 * inputs of neighbouring output pixels are neighbours for every stride, and with all rows at one pitch a band is one
 * long line over which vectors may run past row ends. Packed form: [channel][row phase][column phase][row][pitch].
 * Any input strides will do, so channels-last images, slices and broadcasts are read where they lie.
 */
#include <string.h>

#include "conv.h"

/* Channels copied together where the channel is the densest axis: one cache line of them. */
enum { CHANNEL_BLOCK = 16 };

static int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* to[i * 1] = from[i * step] for count elements of one channel, or of several at to_pitch and from_pitch */
static void copy_line(real *restrict to, int64_t to_pitch, const real *restrict from, int64_t from_pitch,
                      int64_t step, int64_t count, int64_t channels)
{
    if (channels == 1 && step == 1) {
        memcpy(to, from, (size_t)count * sizeof(real));
    } else if (channels == 1 && step == 2) { /* stride 2: a case that the compiler turns into shuffles */
        for (int64_t i = 0; i < count; i++) to[i] = from[2 * i];
    } else if (channels == 1) {
        for (int64_t i = 0; i < count; i++) to[i] = from[step * i];
    } else if (channels == CHANNEL_BLOCK && from_pitch == 1) {
        for (int64_t i = 0; i < count; i++) {
            UNROLL for (int c = 0; c < CHANNEL_BLOCK; c++) to[c * to_pitch + i] = from[i * step + c];
        }
    } else {
        for (int64_t i = 0; i < count; i++) {
            for (int64_t c = 0; c < channels; c++) to[c * to_pitch + i] = from[i * step + c * from_pitch];
        }
    }
}

void PC_NAME(conv_pack)(const pc_conv *conv, const real *x, const int64_t *x_strides, int64_t first_row,
                        int64_t rows, int64_t first_col, real *band)
{
    const int64_t channel_stride = x_strides[1], row_stride = x_strides[2], column_stride = x_strides[3];
    const int64_t pitch = conv->pitch, channel_pitch = conv->channel_pitch;
    const int64_t packed_rows = conv->packed_rows - (conv->rows - rows);
    const int64_t block = column_stride > channel_stride && channel_stride > 0 ? CHANNEL_BLOCK : 1;

    for (int64_t c = 0; c < conv->in_channels; c += block) {
        int64_t channels = conv->in_channels - c < block ? conv->in_channels - c : block;
        real *to = band + c * channel_pitch;
        for (int64_t ph = 0; ph < conv->phases_h; ph++) {
            for (int64_t pw = 0; pw < conv->phases_w; pw++) {
                /* input column of packed column i: start + i * stride_w */
                const int64_t start = first_col * conv->stride_w - conv->pad_left + conv->phase_w[pw];
                const int64_t begin = clamp(ceil_div(-start, conv->stride_w), 0, pitch);
                const int64_t end = clamp(ceil_div(conv->in_w - start, conv->stride_w), begin, pitch);
                int64_t row = first_row * conv->stride_h - conv->pad_top + conv->phase_h[ph];
                real *line = to + (ph * conv->phases_w + pw) * conv->packed_rows * pitch;
                for (int64_t j = 0; j < packed_rows; j++, row += conv->stride_h, line += pitch) {
                    const int inside = row >= 0 && row < conv->in_h && begin < end;
                    const int64_t left = inside ? begin : pitch;
                    const int64_t right = inside ? end : pitch;
                    for (int64_t k = 0; k < channels; k++) {
                        memset(line + k * channel_pitch, 0, (size_t)left * sizeof(real));
                        memset(line + k * channel_pitch + right, 0, (size_t)(pitch - right) * sizeof(real));
                    }
                    if (inside) {
                        copy_line(line + begin, channel_pitch,
                                  x + c * channel_stride + row * row_stride + (start + begin * conv->stride_w) * column_stride,
                                  channel_stride, column_stride * conv->stride_w, end - begin, channels);
                    }
                }
            }
        }
    }
}
