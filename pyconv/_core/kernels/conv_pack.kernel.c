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

/* Every third of three vectors' lanes: those of the first two, and then the third's behind them. */
#if VECTOR_BYTES == 64 && !PC_F64
#define THIRDS 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 0, 0, 0, 0, 0
#define LAST_THIRDS 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29
#elif VECTOR_BYTES == 64 || (VECTOR_BYTES == 32 && !PC_F64)
#define THIRDS 0, 3, 6, 9, 12, 15, 0, 0
#define LAST_THIRDS 0, 1, 2, 3, 4, 5, 10, 13
#elif VECTOR_BYTES == 32 || !PC_F64
#define THIRDS 0, 3, 6, 0
#define LAST_THIRDS 0, 1, 2, 5
#else
#define THIRDS 0, 3
#define LAST_THIRDS 0, 1
#endif

/* from[0], from[step], ...: a vector of them for a step of 3 or 4, with zeros for those before begin or from end on. No
 * memory is touched before the first one that is not zero, nor behind the last. */
static inline __attribute__((always_inline)) vec load_steps(const real *from, int step, int64_t begin, int64_t end)
{
    const int64_t first = step * begin, past = step * (end - 1) + 1;
    vec part[4];
    if (begin <= 0 && end > LANES) {
        UNROLL for (int i = 0; i < step; i++) part[i] = load(from + i * LANES);
    } else {
        UNROLL for (int i = 0; i < step; i++) part[i] = load_part(from + i * LANES, first - i * LANES, past - i * LANES);
    }
    if (step == 3) return SHUFFLE(SHUFFLE(part[0], part[1], THIRDS), part[2], LAST_THIRDS);
    return SHUFFLE(SHUFFLE(part[0], part[1], EVENS), SHUFFLE(part[2], part[3], EVENS), EVENS);
}

/* One packed row of a channel: to[i] = from[i * step] for i in begin .. end, zeros before and after. Whole vectors are
 * written: what is too much lies where later rows are packed, or in the slack behind the last. */
static void pack_row(real *to, const real *from, int64_t step, int64_t begin, int64_t end, int64_t pitch)
{
    if (step == 1) {
        for (int64_t i = 0; i < pitch; i += LANES) {
            const int whole = i >= begin && i + LANES <= end;
            store(to + i, whole ? load(from + i) : load_part(from + i, begin - i, end - i));
        }
    } else if (step == 2) {
        for (int64_t i = 0; i < pitch; i += LANES) {
            const int64_t first = 2 * (begin - i), past = 2 * (end - i) - 1; /* nothing behind the last element */
            const vec low = load_part(from + 2 * i, first, past);
            const vec high = load_part(from + 2 * i + LANES, first - LANES, past - LANES);
            store(to + i, SHUFFLE(low, high, EVENS));
        }
    } else if (step == 3) {
        for (int64_t i = 0; i < pitch; i += LANES) store(to + i, load_steps(from + 3 * i, 3, begin - i, end - i));
    } else if (step == 4) {
        for (int64_t i = 0; i < pitch; i += LANES) store(to + i, load_steps(from + 4 * i, 4, begin - i, end - i));
    } else {
        for (int64_t i = 0; i < pitch; i++) to[i] = i >= begin && i < end ? from[i * step] : 0;
    }
}

/* The same row of CHANNEL_BLOCK channels at most, whose elements are neighbours in memory. */
static void pack_channels(real *to, int64_t to_pitch, const real *from, int64_t step, int64_t begin, int64_t end,
                          int64_t pitch, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++) {
        memset(to + c * to_pitch, 0, (size_t)begin * sizeof(real));
        memset(to + c * to_pitch + end, 0, (size_t)(pitch - end) * sizeof(real));
    }
    if (channels == CHANNEL_BLOCK) {
        for (int64_t i = begin; i < end; i++) {
            UNROLL for (int c = 0; c < CHANNEL_BLOCK; c++) to[c * to_pitch + i] = from[i * step + c];
        }
    } else {
        for (int64_t i = begin; i < end; i++) {
            for (int64_t c = 0; c < channels; c++) to[c * to_pitch + i] = from[i * step + c];
        }
    }
}

void PC_NAME(conv_pack)(const pc_direct *conv, const real *x, const int64_t *x_strides, int64_t first_row,
                        int64_t rows, int64_t first_col, real *band)
{
    const int64_t channel_stride = x_strides[1], row_stride = x_strides[2], column_stride = x_strides[3];
    const int64_t pitch = conv->pitch, channel_pitch = conv->channel_pitch;
    const int64_t packed_rows = conv->packed_rows - (conv->rows - rows);
    const int64_t block = channel_stride == 1 && column_stride != 1 ? CHANNEL_BLOCK : 1;

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
                    const int inside = row >= 0 && row < conv->in_h;
                    const int64_t first = inside ? begin : pitch, past = inside ? end : pitch;
                    const real *from = x + c * channel_stride + row * row_stride + start * column_stride;
                    if (block == 1) {
                        pack_row(line, from, column_stride * conv->stride_w, first, past, pitch);
                    } else {
                        pack_channels(line, channel_pitch, from, column_stride * conv->stride_w, first, past, pitch,
                                      channels);
                    }
                }
            }
        }
    }
}
