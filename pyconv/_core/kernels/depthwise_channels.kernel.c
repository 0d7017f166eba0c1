/* Depthwise convolution with vectors along channels, a block of LANES output channels at a time; and that of groups of few
 * channels, whose lanes take their inputs from each other.
 *
 * Input rows are turned into [column][channel of the block] in a ring of rows that stays near, each once, with the
 * padding on the left and right written out. Then every product is a whole vector whatever the kernel, its stride and
 * its dilation, and no lane is idle however small the image is. Columns are sorted by their remainder by the stride, so
 * that neighbouring outputs find the same tap in neighbouring places. Rows above and below the image are left out, as
 * are columns that lie beside it for a whole tile. Sums wait in scratch until there are squares of them to turn back;
 * in an output whose channels are neighbours they are stored where they belong.
 */
#include <stddef.h>

#include "depthwise.h"
#include "kernels.h"
#include "squares.h"
#include "vector.h"

/* sums[p] = bias + the sum over count_h rows and count_w columns of rows[i][at + offsets[j] + p] * weights[i][j], all of
 * them vectors; a row of weights is weight_row elements from the next, a vector of sums `step` elements. Groups of several
 * channels have a row of weights for each of these, which all lanes of the group then take from its lane. */
typedef void tile(const real *const *rows, int64_t count_h, const int32_t *offsets, int64_t count_w, int64_t at,
                  int64_t group, const real *weights, int64_t weight_row, vec bias, real *sums, int64_t step);

/* The pixels as they are; and those whose lanes are taken from `lanes`. */
#define ITSELF(pixel, lanes) (pixel)
#define SPREAD(pixel, lanes) rearranged(pixel, lanes)

#define TILE(P, NAME, GROUP, TAKEN)                                                                                 \
    static void NAME##_##P(const real *const *rows, int64_t count_h, const int32_t *offsets, int64_t count_w,        \
                           int64_t at, int64_t group, const real *weights, int64_t weight_row, vec bias, real *sums, \
                           int64_t step)                                                                             \
    {                                                                                                               \
        (void)group;                                                                                                \
        vec sum[P];                                                                                                 \
        UNROLL for (int p = 0; p < P; p++) sum[p] = bias;                                                           \
        for (int64_t i = 0; i < count_h; i++) {                                                                     \
            ivec lanes = first_lanes(GROUP);                                                                        \
            for (int64_t g = 0; g < GROUP; g++, weights += weight_row, lanes += 1) {                                \
                (void)lanes;                                                                                        \
                for (int64_t j = 0; j < count_w; j++) {                                                             \
                    const vec weight = load(weights + j * LANES);                                                   \
                    const real *pixels = rows[i] + (at + offsets[j]) * LANES;                                       \
                    UNROLL for (int p = 0; p < P; p++) sum[p] += TAKEN(load(pixels + p * LANES), lanes) * weight;   \
                }                                                                                                   \
            }                                                                                                       \
        }                                                                                                           \
        UNROLL for (int p = 0; p < P; p++) store(sums + p * step, sum[p]);                                          \
    }

#define ALL(MACRO, ...)                                                                                             \
    MACRO(1, ##__VA_ARGS__) MACRO(2, ##__VA_ARGS__) MACRO(3, ##__VA_ARGS__) MACRO(4, ##__VA_ARGS__)                 \
    MACRO(5, ##__VA_ARGS__) MACRO(6, ##__VA_ARGS__) MACRO(7, ##__VA_ARGS__) MACRO(8, ##__VA_ARGS__)                 \
    MACRO(9, ##__VA_ARGS__) MACRO(10, ##__VA_ARGS__) MACRO(11, ##__VA_ARGS__) MACRO(12, ##__VA_ARGS__)              \
    MACRO(13, ##__VA_ARGS__) MACRO(14, ##__VA_ARGS__)
#define NAME_OF(P, NAME) NAME##_##P,
#define TILES(NAME, GROUP, TAKEN)                                                                                   \
    ALL(TILE, NAME, GROUP, TAKEN)                                                                                   \
    static tile *const NAME[DEPTHWISE_PIXELS] = {ALL(NAME_OF, NAME)};
TILES(tiles, 1, ITSELF)
TILES(group_tiles, group, SPREAD)

#if defined(__AVX512F__)
/* The same for all of K columns without gaps: pixels and weights are loaded once. It takes more than 16 registers. */
#define FIXED(P, NAME, K, GROUP, TAKEN)                                                                             \
    static void NAME##_##P(const real *const *rows, int64_t count_h, const int32_t *offsets, int64_t count_w,        \
                           int64_t at, int64_t group, const real *weights, int64_t weight_row, vec bias, real *sums, \
                           int64_t step)                                                                             \
    {                                                                                                               \
        (void)offsets, (void)count_w, (void)group;                                                                  \
        vec sum[P];                                                                                                 \
        UNROLL for (int p = 0; p < P; p++) sum[p] = bias;                                                           \
        for (int64_t i = 0; i < count_h; i++) {                                                                     \
            ivec lanes = first_lanes(GROUP);                                                                        \
            for (int64_t g = 0; g < GROUP; g++, weights += weight_row, lanes += 1) {                                \
                (void)lanes;                                                                                        \
                const real *row = rows[i] + at * LANES;                                                             \
                vec weight[K];                                                                                      \
                UNROLL for (int j = 0; j < K; j++) weight[j] = load(weights + j * LANES);                           \
                UNROLL for (int c = 0; c < P + K - 1; c++)                                                          \
                {                                                                                                   \
                    const vec pixel = TAKEN(load(row + c * LANES), lanes);                                          \
                    UNROLL for (int j = 0; j < K; j++)                                                              \
                    {                                                                                               \
                        if (j <= c && c < j + P) sum[c - j] += pixel * weight[j];                                   \
                    }                                                                                               \
                }                                                                                                   \
            }                                                                                                       \
        }                                                                                                           \
        UNROLL for (int p = 0; p < P; p++) store(sums + p * step, sum[p]);                                          \
    }
#define FIXED_TILES(NAME, K, GROUP, TAKEN)                                                                          \
    ALL(FIXED, NAME, K, GROUP, TAKEN)                                                                               \
    static tile *const NAME[DEPTHWISE_PIXELS] = {ALL(NAME_OF, NAME)};
FIXED_TILES(tiles_of_3, 3, 1, ITSELF)
FIXED_TILES(tiles_of_5, 5, 1, ITSELF)
FIXED_TILES(tiles_of_7, 7, 1, ITSELF)
FIXED_TILES(group_tiles_of_3, 3, group, SPREAD)
#endif

/* The tiles that pass over some columns of the kernel, and over all of them. */
static tile *const *choose_tiles(const pc_depthwise *conv, int are_whole)
{
#if defined(__AVX512F__)
    if (are_whole && conv->dilation_w == 1 && conv->stride_w == 1) {
        if (conv->kernel_w == 3) return conv->group > 1 ? group_tiles_of_3 : tiles_of_3;
        if (conv->kernel_w == 5 && conv->group == 1) return tiles_of_5;
        if (conv->kernel_w == 7 && conv->group == 1) return tiles_of_7;
    }
#else
    (void)are_whole;
#endif
    return conv->group > 1 ? group_tiles : tiles;
}

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

/* Input rows first .. end - 1 of a block to the rows at hand. */
static void turn_rows(const pc_depthwise *conv, real *pixels, const real *x, const int64_t *x_strides, int64_t channel,
                      int64_t channels, int64_t first, int64_t end)
{
    const real *from[LANES];
    for (int64_t l = 0; l < LANES; l++) {
        /* what is in lanes without a channel does not matter */
        from[l] = x + (channel + (l < channels ? l : 0)) / conv->multiplier * x_strides[1];
    }
    const int64_t slot = first % conv->slots;
    place to = {.rows = pixels, .row = pixels + slot * conv->row_size * LANES, .slot = slot};
    if (x_strides[3] == 1 && x_strides[2] == conv->in_w) { /* rows without gaps are one row */
        turn_line(conv, from, first * conv->in_w, 1, (end - first) * conv->in_w, &to);
    } else {
        for (int64_t r = first; r < end; r++) {
            turn_line(conv, from, r * x_strides[2], x_strides[3], conv->in_w, &to);
        }
    }
}

/* The same for all blocks of a unit, where channels are neighbours: at_hand elements lie from one block's rows to the
 * next one's. */
static void copy_rows(const pc_depthwise *conv, real *pixels, int64_t at_hand, const real *x, const int64_t *x_strides,
                      int64_t channels, int64_t first, int64_t end)
{
    const int64_t whole = channels / LANES, rest = channels % LANES;
    const lane_mask lanes = lanes_between(0, rest);
    int64_t slot = first % conv->slots;
    for (int64_t r = first; r < end; r++) {
        real *row = pixels + slot * conv->row_size * LANES;
        for (int64_t j = 0; j < conv->in_w; j++) {
            const real *from = x + r * x_strides[2] + j * x_strides[3];
            real *to = row + conv->places[j] * LANES;
            for (int64_t b = 0; b < whole; b++, from += LANES, to += at_hand) store(to, load(from));
            if (rest) store(to, load_lanes(from, lanes));
        }
        if (++slot == conv->slots) slot = 0;
    }
}

/* Output row y of a block, to sums, a pixel every `step` elements. */
static void filter_row(const pc_depthwise *conv, const real *pixels, const real **rows, int64_t y, const real *weights,
                       vec bias, real *sums, int64_t step)
{
    const pc_depthwise_taps taps = conv->row_taps[y];
    int64_t slot = taps.slot;
    for (int64_t i = 0; i < taps.end - taps.first; i++) {
        rows[i] = pixels + slot * conv->row_size * LANES;
        slot += conv->dilation_h; /* less than all: so far apart there are no two rows */
        if (slot >= conv->slots) slot -= conv->slots;
    }
    const int64_t weight_row = conv->kernel_w * LANES;
    weights += taps.first * conv->group * weight_row;
    const pc_depthwise_taps *columns = conv->column_taps;
    tile *const *whole = choose_tiles(conv, 1), *const *partial = choose_tiles(conv, 0);
    for (int64_t x = 0; x < conv->out_w; x += conv->tile, columns++) {
        const int64_t count = conv->out_w - x < conv->tile ? conv->out_w - x : conv->tile;
        tile *const *run = columns->end - columns->first == conv->kernel_w ? whole : partial;
        run[count - 1](rows, taps.end - taps.first, conv->offsets + columns->first, columns->end - columns->first, x,
                       conv->group, weights + columns->first * LANES, weight_row, bias, sums + x * step, step);
    }
}

/* Fetch `count` elements of each of some planes: stores that wait for their cache lines hold up those behind them. */
static void fetch(const real *from, int64_t plane_stride, int64_t planes, int64_t count)
{
    enum { LINE = 64 / sizeof(real) };
    for (int64_t k = 0; k < planes; k++) {
        for (int64_t at = 0; at < count; at += LINE) __builtin_prefetch(from + k * plane_stride + at);
    }
}

/* The sums of `count` pixels along channels, fewer of these than a vector has. */
static void write_pixels(const real *sums, int64_t count, int64_t channels, real *to, int64_t step)
{
    for (int64_t p = 0; p < count; p++, sums += LANES, to += step) store_part(to, load(sums), channels);
}

/* Zeros where the padding is on the left and right, in so many rows. */
static void blank(const pc_depthwise *conv, real *pixels, int64_t rows)
{
    const int64_t stride = conv->stride_w, phase = (conv->row_size - 1) / stride;
    for (int64_t column = 0; column < stride * phase; column++) {
        if (column == conv->pad_left) column += conv->in_w;
        if (column >= stride * phase) return;
        real *to = pixels + (column % stride * phase + column / stride) * LANES;
        for (int64_t r = 0; r < rows; r++, to += conv->row_size * LANES) store(to, splat(0));
    }
}

/* Output rows first .. end - 1 of the blocks of a unit, whose rows at hand are followed by pointers to some of them. */
static void filter_unit(const pc_depthwise *conv, const pc_conv_arrays *arrays, int64_t image, int64_t channel,
                        int64_t channels, int64_t first, int64_t end, real *sums, real *pixels)
{
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    const int64_t at_hand = conv->slots * conv->row_size * LANES, taps = conv->kernel_h * conv->group * conv->kernel_w;
    const int64_t span = (conv->kernel_h - 1) * conv->dilation_h + 1;
    const real **rows = (const real **)(pixels + conv->together * at_hand);
    const real *x = (const real *)arrays->x + image * x_strides[0];
    const real *weights = (const real *)arrays->weights + channel * taps, *bias = (const real *)arrays->bias + channel;
    real *out = (real *)arrays->out + image * out_strides[0] + channel * out_strides[1];
    const int is_copied = x_strides[1] == 1 && conv->multiplier == 1;
    const int is_turned = out_strides[1] != 1 || out_strides[3] == 1;
    int64_t filled = 0; /* the row after the last that is at hand */
    for (int64_t y = first; y < end; y += conv->rows) {
        const int64_t count = end - y < conv->rows ? end - y : conv->rows;
        int64_t first_row = y * conv->stride_h - conv->pad_top;
        int64_t end_row = first_row + (count - 1) * conv->stride_h + span;
        if (first_row < filled) first_row = filled;
        if (end_row > conv->in_h) end_row = conv->in_h;
        if (first_row < end_row) {
            filled = end_row;
            if (is_copied) copy_rows(conv, pixels, at_hand, x + channel, x_strides, channels, first_row, end_row);
        }
        for (int64_t k = 0; k < channels; k += LANES) {
            const int64_t block = k / LANES, lanes = channels - k < LANES ? channels - k : LANES;
            real *own = pixels + block * at_hand, *to = out + k * out_strides[1];
            if (is_copied) {
                if (is_turned) fetch(to + y * out_strides[2], out_strides[1], lanes, count * conv->out_w);
            } else if (first_row < end_row) {
                turn_rows(conv, own, x, x_strides, channel + k, lanes, first_row, end_row);
            }
            for (int64_t r = 0; r < count; r++) {
                const int waits = is_turned || lanes < LANES;
                real *row = to + (y + r) * out_strides[2], *waiting = sums + r * conv->out_w * LANES;
                filter_row(conv, own, rows, y + r, weights + k * taps, load(bias + k), waits ? waiting : row,
                           waits ? LANES : out_strides[3]);
                if (waits && !is_turned) write_pixels(waiting, conv->out_w, lanes, row, out_strides[3]);
            }
            if (is_turned) {
                write_rows(sums, LANES, y * conv->out_w, count * conv->out_w, lanes, conv->out_w, to, out_strides);
            }
        }
    }
}

void PC_NAME(depthwise_channels_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    /* task = part of the units of all images * bands + band */
    const pc_depthwise *conv = parameters;
    const int64_t band = task % conv->bands, part = task / conv->bands;
    const int64_t first_unit = conv->units * part / conv->parts, end_unit = conv->units * (part + 1) / conv->parts;
    const int64_t first = conv->out_h * band / conv->bands, end = conv->out_h * (band + 1) / conv->bands;
    const int64_t width = conv->together * LANES, units = (conv->out_channels + width - 1) / width;

    /* scratch: sums, the rows at hand of each block with zeros where the padding is, pointers to some of them */
    real *sums = scratch, *pixels = sums + conv->rows * conv->out_w * LANES;
    blank(conv, pixels, conv->together * conv->slots);
    const __auto_type mode = flush_denormals();
    for (int64_t unit = first_unit; unit < end_unit; unit++) {
        const int64_t channel = unit % units * width, rest = conv->out_channels - channel;
        filter_unit(conv, arrays, unit / units, channel, rest < width ? rest : width, first, end, sums, pixels);
    }
    restore_denormals(mode);
}
