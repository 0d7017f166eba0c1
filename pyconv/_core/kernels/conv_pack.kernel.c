/* Packing: a band's input, copied into scratch in the one form that the tile reads.
 *
 * Padding is written out as zeros. Rows and columns are sorted by their remainder by the stride ("phase"): then the
 * inputs of neighbouring output pixels are neighbours for every stride, and with all rows at one pitch a band is one
 * long line over which vectors may run past row ends. Where each column of the kernel is a phase of its own, rows are as
 * long as the output's, and nothing lies between two of them. Packed form: [channel][row phase][column phase][row][pitch].
 * Any input strides will do, so channels-last images, slices and broadcasts are read where they lie.
 */
#include <stddef.h>

#include "conv.h"
#include "deal.h"

enum {
    FEW_CHANNELS = 4, /* fewer that are neighbours in memory are copied one by one */
    MOST_DEALT = 4,   /* strides up to this are packed in vectors; so are as many channels that are neighbours */
};

static int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* One row, read once and dealt out to all its channels and phases: to[p][c * to_pitch + i] is from[(i * step + p) * channels
 * + c], with zeros for what does not lie in from[begin .. end - 1]; no other memory is touched but, where `over`, the rest
 * of the last vectors that are written. Nobody wants the phases whose place is NULL. The row at `next` is fetched meanwhile. */
static inline __attribute__((always_inline)) void deal(real *const *to, int64_t to_pitch, const real *from,
                                                       const real *next, int channels, int step, int64_t begin,
                                                       int64_t end, int64_t pitch, int over)
{
    const int64_t all = channels * step * LANES, room = over ? pitch + LANES : pitch;
    for (int64_t i = 0; i < pitch; i += LANES, from += all, next += all, begin -= all, end -= all) {
        const int whole = begin <= 0 && end >= all;
        vec columns[MOST_DEALT][MOST_DEALT]; /* of each channel */
        UNROLL for (int v = 0; v < step; v++)
        {
            vec part[MOST_DEALT];
            UNROLL for (int c = 0; c < channels; c++)
            {
                const int64_t at = (v * channels + c) * LANES;
                part[c] = whole ? load(from + at) : load_part(from + at, begin - at, end - at);
                __builtin_prefetch(next + at);
            }
            UNROLL for (int c = 0; c < channels; c++) columns[c][v] = channels == 1 ? part[0] : every(part, channels, c);
        }
        UNROLL for (int p = 0; p < step; p++)
        {
            if (!to[p]) continue;
            UNROLL for (int c = 0; c < channels; c++)
            {
                const vec row = step == 1 ? columns[c][0] : every(columns[c], step, p);
                store_part(to[p] + c * to_pitch + i, row, room - i);
            }
        }
    }
}

/* One packed row of a channel, of one phase: to[i] = from[i * step] for i in begin .. end, zeros before and after. Whole vectors are
 * written: what is too much lies where later rows are packed, or in the slack behind the last. */
static void pack_row(real *to, const real *from, int64_t step, int64_t begin, int64_t end, int64_t pitch)
{
    if (step == 1) {
        int64_t i = 0;
        for (; i < least(begin, pitch); i += LANES) store(to + i, load_part(from + i, begin - i, end - i));
        for (; i + LANES <= end; i += LANES) store(to + i, load(from + i));
        for (; i < pitch; i += LANES) store(to + i, load_part(from + i, begin - i, end - i));
    } else {
        for (int64_t i = 0; i < pitch; i++) to[i] = i >= begin && i < end ? from[i * step] : 0;
    }
}

/* LANES pixels of `channels` channels, LANES or half as many, that all lie in the row, to as many whole rows: a square that
 * is turned in registers; the pixels that lie `ahead` of them are fetched meanwhile. Addresses follow one another: 32 of
 * them worked out side by side would take longer than turning. */
INLINE void turn_whole(real *to, int64_t to_pitch, const real *from, int64_t step, const int channels, int64_t ahead)
{
    const lane_mask lanes = lanes_between(0, channels);
    vec square[LANES];
    UNROLL for (int p = 0; p < LANES; p++, from += step)
    {
        square[p] = channels < LANES ? load_lanes(from, lanes) : load(from);
        __builtin_prefetch(from + ahead * step);
    }
    turn_square(square); /* of half the rows the compiler turns no more */
    UNROLL for (int k = 0; k < channels; k++, to += to_pitch) store(to, square[k]);
}

/* Not inlined: in a loop the compiler would keep the places of all rows, on the stack, and take longer than for turning. */
static NOT_INLINED void turn_all(real *to, int64_t to_pitch, const real *from, int64_t step, int64_t ahead)
{
    turn_whole(to, to_pitch, from, step, LANES, ahead);
}

static NOT_INLINED void turn_half(real *to, int64_t to_pitch, const real *from, int64_t step, int64_t ahead)
{
    turn_whole(to, to_pitch, from, step, LANES / 2, ahead);
}

/* The same where some pixels, channels or places of the rows are missing. */
static NOT_INLINED void turn_some(real *to, int64_t to_pitch, const real *from, int64_t step, int64_t begin, int64_t end,
                                  int64_t room, int64_t channels)
{
    const lane_mask lanes = lanes_between(0, channels);
    vec square[LANES];
    UNROLL for (int p = 0; p < LANES; p++)
    {
        square[p] = p >= begin && p < end ? load_lanes(from + p * step, lanes) : splat(0);
    }
    turn_square(square);
    UNROLL for (int k = 0; k < LANES; k++)
    {
        if (k < channels) store_part(to + k * to_pitch, square[k], room);
    }
}

/* The same row of channels whose elements are neighbours in memory, in squares of LANES pixels and channels. */
static void pack_channels(real *to, int64_t to_pitch, const real *from, int64_t step, int64_t begin, int64_t end,
                          int64_t pitch, int64_t channels, int64_t ahead)
{
    for (int64_t i = 0; i < pitch; i += LANES) {
        const int whole = i >= begin && i + LANES <= least(end, pitch);
        for (int64_t c = 0; c < channels; c += LANES) {
            const int64_t some = least(channels - c, LANES);
            const real *corner = from + i * step + c;
            real *row = to + c * to_pitch + i;
            if (whole && some == LANES) {
                turn_all(row, to_pitch, corner, step, ahead);
            } else if (whole && some == LANES / 2) {
                turn_half(row, to_pitch, corner, step, ahead);
            } else {
                turn_some(row, to_pitch, corner, step, begin - i, end - i, pitch - i, some);
            }
        }
    }
}

/* The same of so few channels that most of a square would be empty. */
static void pack_few_channels(real *to, int64_t to_pitch, const real *from, int64_t step, int64_t begin, int64_t end,
                              int64_t pitch, int64_t channels)
{
    for (int64_t c = 0; c < channels; c++) {
        real *row = to + c * to_pitch;
        for (int64_t i = 0; i < begin; i++) row[i] = 0;
        for (int64_t i = begin; i < end; i++) row[i] = from[i * step + c];
        for (int64_t i = end; i < pitch; i++) row[i] = 0;
    }
}

/* Rows top, top + stride_h ... of a channel, or of all where they are neighbours in memory, from the column `left` on, each
 * dealt out to planes of one phase. */
static void deal_rows(const pc_direct *conv, int channels, real *lines, int64_t plane, const real *from, int64_t row_step,
                      int64_t top, int64_t rows, int64_t left)
{
    real *to[MOST_DEALT] = {NULL};
    for (int64_t pw = 0; pw < conv->phases_w; pw++) to[conv->phase_w[pw]] = lines + pw * plane;
    for (int64_t j = 0; j < rows; j++, from += row_step) {
        const int64_t row = top + j * conv->stride_h;
        const int inside = row >= 0 && row < conv->in_h;
        const int64_t begin = inside ? -left * channels : 0, end = inside ? (conv->in_w - left) * channels : 0;
        /* what is too much lies where later rows of the phase are packed; where masks have registers they cost nothing */
        const int over = VECTOR_BYTES < 64 && (rows - j) * conv->pitch >= (conv->pitch + LANES - 1) / LANES * LANES;
#define DEAL(C, S) \
    case 4 * C + S: deal(to, conv->channel_pitch, from, from + row_step, C, S, begin, end, conv->pitch, over); break;
        switch (4 * channels + conv->stride_w) {
            DEAL(1, 2) DEAL(1, 3) DEAL(1, 4)
            DEAL(3, 1) DEAL(3, 2) DEAL(3, 3) DEAL(3, 4)
            DEAL(4, 1) DEAL(4, 2) DEAL(4, 3) DEAL(4, 4)
        }
        for (int p = 0; p < MOST_DEALT; p++) {
            if (to[p]) to[p] += conv->pitch;
        }
    }
}

/* The channels that are dealt out of a row: 1, or those of colours that are neighbours in memory; 0: none, as where
 * columns of the kernel overlap. */
static int channels_dealt(const pc_direct *conv, int64_t channel_stride, int64_t column_stride)
{
    if (conv->stride_w > MOST_DEALT || conv->phases_w > conv->stride_w) return 0;
    if (column_stride == 1) return conv->stride_w > 1;
    const int pixels = channel_stride == 1 && column_stride == conv->in_channels;
    return pixels && (column_stride == 3 || column_stride == 4) ? (int)column_stride : 0;
}

void PC_NAME(conv_pack)(const pc_direct *conv, const real *x, const int64_t *x_strides, int64_t first_row,
                        int64_t rows, int64_t first_col, real *band)
{
    const int64_t channel_stride = x_strides[1], row_stride = x_strides[2], column_stride = x_strides[3];
    const int64_t pitch = conv->pitch, channel_pitch = conv->channel_pitch, plane = conv->packed_rows * pitch;
    const int64_t packed_rows = conv->packed_rows - (conv->rows - rows);
    const int64_t left = first_col * conv->stride_w - conv->pad_left; /* the input's column where phase 0 begins */
    /* where channels are neighbours in memory, all of a pixel are copied before the next one is read */
    const int64_t block = channel_stride == 1 && column_stride != 1 ? conv->in_channels : 1;
    const int dealt = channels_dealt(conv, channel_stride, column_stride);

    for (int64_t c = 0; c < conv->in_channels; c += block) {
        for (int64_t ph = 0; ph < conv->phases_h; ph++) {
            const int64_t top = first_row * conv->stride_h - conv->pad_top + conv->phase_h[ph];
            real *lines = band + c * channel_pitch + ph * conv->phases_w * plane;
            const real *from = x + c * channel_stride + top * row_stride + left * column_stride;
            if (dealt) {
                deal_rows(conv, dealt, lines, plane, from, conv->stride_h * row_stride, top, packed_rows, left);
                continue;
            }
            for (int64_t pw = 0; pw < conv->phases_w; pw++) {
                /* input column of packed column i: start + i * stride_w */
                const int64_t start = left + conv->phase_w[pw];
                const int64_t begin = clamp(ceil_div(-start, conv->stride_w), 0, pitch);
                const int64_t end = clamp(ceil_div(conv->in_w - start, conv->stride_w), begin, pitch);
                real *line = lines + pw * plane;
                for (int64_t j = 0; j < packed_rows; j++, line += pitch) {
                    const int64_t row = top + j * conv->stride_h;
                    const int inside = row >= 0 && row < conv->in_h;
                    const int64_t first = inside ? begin : pitch, past = inside ? end : pitch;
                    const real *at = from + j * conv->stride_h * row_stride + conv->phase_w[pw] * column_stride;
                    if (block == 1) {
                        pack_row(line, at, column_stride * conv->stride_w, first, past, pitch);
                    } else if (block < FEW_CHANNELS) {
                        pack_few_channels(line, channel_pitch, at, column_stride * conv->stride_w, first, past, pitch, block);
                    } else {
                        pack_channels(line, channel_pitch, at, column_stride * conv->stride_w, first, past, pitch, block,
                                      LANES);
                    }
                }
            }
        }
    }
}

void PC_NAME(conv_pack_panel)(const real *from, int64_t step, int64_t count, int64_t channels, int64_t width, real *panel,
                              int64_t pitch)
{
    pack_channels(panel, pitch, from, step, 0, count, width, channels, width);
}
