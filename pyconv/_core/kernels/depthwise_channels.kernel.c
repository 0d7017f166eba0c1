/* Depthwise convolution with vectors along channels, a block of LANES output channels at a time.
 *
 * Input rows are turned into [column][channel of the block] in a ring of rows that stays near, each once, with the
 * padding on the left and right written out. Then every product is a whole vector whatever the kernel, its stride and
 * its dilation, and no lane is idle however small the image is. Columns are sorted by their remainder by the stride, so
 * that neighbouring outputs find the same tap in neighbouring places. Rows above and below the image are left out, as
 * are columns that lie beside it for a whole tile. Sums wait in scratch until there are squares of them to turn back.
 */
#include <stddef.h>

#include "depthwise.h"
#include "kernels.h"
#include "squares.h"
#include "vector.h"

/* sums[p] = bias + the sum over count_h rows and count_w columns of rows[i][at + offsets[j] + p] * weights[i][j], all of
 * them vectors; a row of weights is weight_row elements from the next. */
typedef void tile(const real *const *rows, int64_t count_h, const int32_t *offsets, int64_t count_w, int64_t at,
                  const real *weights, int64_t weight_row, vec bias, real *sums);

#define TILE(P)                                                                                                     \
    static void tile_##P(const real *const *rows, int64_t count_h, const int32_t *offsets, int64_t count_w,          \
                         int64_t at, const real *weights, int64_t weight_row, vec bias, real *sums)                  \
    {                                                                                                               \
        vec sum[P];                                                                                                 \
        UNROLL for (int p = 0; p < P; p++) sum[p] = bias;                                                           \
        for (int64_t i = 0; i < count_h; i++, weights += weight_row) {                                              \
            const real *row = rows[i] + at * LANES;                                                                 \
            for (int64_t j = 0; j < count_w; j++) {                                                                 \
                const vec weight = load(weights + j * LANES);                                                       \
                const real *pixels = row + offsets[j] * LANES;                                                      \
                UNROLL for (int p = 0; p < P; p++) sum[p] += load(pixels + p * LANES) * weight;                     \
            }                                                                                                       \
        }                                                                                                           \
        UNROLL for (int p = 0; p < P; p++) store(sums + p * LANES, sum[p]);                                         \
    }

TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12) TILE(13) TILE(14)

static tile *const tiles[DEPTHWISE_PIXELS] = {tile_1, tile_2, tile_3,  tile_4,  tile_5,  tile_6,  tile_7,
                                              tile_8, tile_9, tile_10, tile_11, tile_12, tile_13, tile_14};

/* Where the next pixels go in the rows at hand, row by row. */
typedef struct {
    real *rows, *row;
    int64_t slot, column;
} place;

static inline __attribute__((always_inline)) void put(const pc_depthwise *conv, place *to, vec pixel)
{
    store(to->row + conv->places[to->column] * LANES, pixel);
    if (++to->column < conv->in_w) return;
    to->column = 0;
    to->row += conv->row_size * LANES;
    if (++to->slot < conv->slots) return;
    to->slot = 0;
    to->row = to->rows;
}

/* A line of `count` pixels of the planes whose lanes begin at from[..], turned; the places go on. */
static void turn_line(const pc_depthwise *conv, const real *const *from, int64_t offset, int64_t step,
                      int64_t count, place *to)
{
    int64_t done = 0;
    for (; step == 1 && count - done > FEW_PIXELS; done += LANES) {
        const int64_t pixels = count - done < LANES ? count - done : LANES;
        vec a[LANES];
        if (pixels == LANES) {
            UNROLL for (int l = 0; l < LANES; l++) a[l] = load(from[l] + offset + done);
        } else {
            const lane_mask lanes = lanes_between(0, pixels);
            UNROLL for (int l = 0; l < LANES; l++) a[l] = load_lanes(from[l] + offset + done, lanes);
        }
        turn_square(a);
        if (pixels == LANES && to->column + LANES < conv->in_w) {
            UNROLL for (int i = 0; i < LANES; i++) store(to->row + conv->places[to->column + i] * LANES, a[i]);
            to->column += LANES;
        } else {
            UNROLL for (int i = 0; i < LANES; i++)
            {
                if (i < pixels) put(conv, to, a[i]);
            }
        }
    }
    for (; done < count; done++) {
        vec pixel;
        UNROLL for (int l = 0; l < LANES; l++) pixel[l] = from[l][offset + done * step];
        put(conv, to, pixel);
    }
}

/* Input rows first .. end - 1 to the rows at hand. */
static void fill(const pc_depthwise *conv, real *pixels, const real *x, const int64_t *x_strides, int64_t channel,
                 int64_t channels, int64_t first, int64_t end)
{
    const real *from[LANES];
    for (int64_t l = 0; l < LANES; l++) {
        /* what is in lanes without a channel does not matter */
        from[l] = x + (channel + (l < channels ? l : 0)) / conv->multiplier * x_strides[1];
    }
    const int64_t slot = first % conv->slots;
    place to = {.rows = pixels, .row = pixels + slot * conv->row_size * LANES, .slot = slot};
    if (x_strides[1] == 1 && conv->multiplier == 1) {
        const lane_mask lanes = lanes_between(0, channels);
        for (int64_t r = first; r < end; r++) {
            for (int64_t j = 0; j < conv->in_w; j++) {
                put(conv, &to, load_lanes(from[0] + r * x_strides[2] + j * x_strides[3], lanes));
            }
        }
    } else if (x_strides[3] == 1 && x_strides[2] == conv->in_w) { /* rows without gaps are one row */
        turn_line(conv, from, first * conv->in_w, 1, (end - first) * conv->in_w, &to);
    } else {
        for (int64_t r = first; r < end; r++) {
            turn_line(conv, from, r * x_strides[2], x_strides[3], conv->in_w, &to);
        }
    }
}

/* Output row y of a block, to sums. */
static void filter_row(const pc_depthwise *conv, const real *pixels, const real **rows, int64_t y, const real *weights,
                       vec bias, real *sums)
{
    const pc_depthwise_taps taps = conv->row_taps[y];
    int64_t slot = taps.slot;
    for (int64_t i = 0; i < taps.end - taps.first; i++) {
        rows[i] = pixels + slot * conv->row_size * LANES;
        slot += conv->dilation_h; /* less than all: so far apart there are no two rows */
        if (slot >= conv->slots) slot -= conv->slots;
    }
    const int64_t weight_row = conv->kernel_w * LANES;
    weights += taps.first * weight_row;
    const pc_depthwise_taps *columns = conv->column_taps;
    for (int64_t x = 0; x < conv->out_w; x += conv->tile, columns++) {
        const int64_t count = conv->out_w - x < conv->tile ? conv->out_w - x : conv->tile;
        tiles[count - 1](rows, taps.end - taps.first, conv->offsets + columns->first, columns->end - columns->first, x,
                         weights + columns->first * LANES, weight_row, bias, sums + x * LANES);
    }
}

/* Output rows first .. end - 1 of a block. */
static void filter_block(const pc_depthwise *conv, real *pixels, const real **rows, real *sums, const real *x,
                         const int64_t *x_strides, int64_t channel, int64_t channels, const real *weights, vec bias,
                         real *out, const int64_t *out_strides, int64_t first, int64_t end)
{
    const int64_t span = (conv->kernel_h - 1) * conv->dilation_h + 1;
    int64_t filled = 0; /* the row after the last that is at hand */
    for (int64_t y = first; y < end; y += conv->rows) {
        const int64_t count = end - y < conv->rows ? end - y : conv->rows;
        int64_t from = y * conv->stride_h - conv->pad_top;
        int64_t to = from + (count - 1) * conv->stride_h + span;
        if (from < filled) from = filled;
        if (to > conv->in_h) to = conv->in_h;
        if (from < to) {
            fill(conv, pixels, x, x_strides, channel, channels, from, to);
            filled = to;
        }
        for (int64_t k = 0; k < count; k++) {
            filter_row(conv, pixels, rows, y + k, weights, bias, sums + k * conv->out_w * LANES);
        }
        write_rows(sums, LANES, y * conv->out_w, count * conv->out_w, channels, conv->out_w, out, out_strides);
    }
}

void PC_NAME(depthwise_channels_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    /* task = part of the blocks of all images * bands + band */
    const pc_depthwise *conv = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    const int64_t band = task % conv->bands, part = task / conv->bands;
    const int64_t first_unit = conv->units * part / conv->parts, end_unit = conv->units * (part + 1) / conv->parts;
    const int64_t first = conv->out_h * band / conv->bands, end = conv->out_h * (band + 1) / conv->bands;
    const int64_t blocks = (conv->out_channels + LANES - 1) / LANES, taps = conv->kernel_h * conv->kernel_w;

    /* scratch: sums, the rows at hand with zeros where the padding is, pointers to some of them */
    real *sums = scratch, *pixels = sums + conv->rows * conv->out_w * LANES;
    const int64_t at_hand = conv->slots * conv->row_size * LANES;
    const real **rows = (const real **)(pixels + at_hand);
    memset(pixels, 0, (size_t)at_hand * sizeof(real));
    const __auto_type mode = flush_denormals();
    for (int64_t unit = first_unit; unit < end_unit; unit++) {
        const int64_t image = unit / blocks, channel = unit % blocks * LANES;
        const int64_t channels = conv->out_channels - channel < LANES ? conv->out_channels - channel : LANES;
        filter_block(conv, pixels, rows, sums, (const real *)arrays->x + image * x_strides[0], x_strides, channel,
                     channels, (const real *)arrays->weights + channel * taps,
                     load((const real *)arrays->bias + channel),
                     (real *)arrays->out + image * out_strides[0] + channel * out_strides[1], out_strides, first, end);
    }
    restore_denormals(mode);
}
