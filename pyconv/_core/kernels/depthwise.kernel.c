/* Depthwise convolution, and any other whose groups have one input channel: every output plane is one image filtered.
 *
 * The image is read where it lies, or, where channels are neighbours, from a ring of rows that they are sorted into. A
 * block of output rows shares its loads: each input row is loaded once for each kernel column, and enters every output
 * row that it belongs to. Where a block touches the padding on the left or right its loads are masked; rows above and
 * below are rows of zeros.
 */
#include <string.h>

#include "kernels.h"
#include "planes.h"
#include "vector.h"

enum {
    ROWS = 4,                      /* output rows that are computed together */
    LINE = 64 / sizeof(real),      /* elements of a line of the cache */
    FAR = (1 << 24) / sizeof(real) /* of an image that is taken to come from memory at each call */
};

/* What a block of output rows needs. Where it is a constant, everything below is unrolled. */
typedef struct {
    const real *const *row; /* the input rows it reads, from its top */
    const real *weights;
    int64_t left;           /* the image's column under the block's first tap; may be negative */
    int64_t kernel_h, kernel_w, dilation;
    int step;               /* 1 or 2 columns from one output to the next */
    const lane_mask *masks; /* where the block reaches over the image's edge, [kernel column][vector][step], else NULL */
    const real *next;       /* what is fetched meanwhile, `ahead` elements for each vector of outputs */
    int64_t ahead;
} window;

static inline void fetch(const real *next, int64_t count)
{
    for (int64_t i = 0; i < count; i += LINE) __builtin_prefetch(next + i);
}

/* LANES elements, step apart */
static inline __attribute__((always_inline)) vec load_columns(const real *p, const int step, const lane_mask *masks)
{
    if (step == 1) return masks ? load_lanes(p, masks[0]) : load(p);
    if (masks) return even_of(load_lanes(p, masks[0]), load_lanes(p + LANES, masks[1]));
    return even_of(load(p), load_part(p + LANES, 0, LANES - 1)); /* nothing behind the last one is read */
}

/* The masks for one block of `vectors` */
static void find_masks(const pc_depthwise *conv, int64_t left, int vectors, lane_mask *masks)
{
    for (int64_t j = 0; j < conv->kernel_w; j++) {
        for (int v = 0; v < vectors; v++) {
            /* lane l of half h holds column + l + h * LANES; of the last half nothing behind the last element used */
            const int64_t column = left + v * LANES * conv->stride_w + j * conv->dilation_w;
            const int64_t used = LANES * conv->stride_w - (conv->stride_w - 1);
            const int64_t past = conv->in_w - column < used ? conv->in_w - column : used;
            for (int64_t h = 0; h < conv->stride_w; h++) *masks++ = lanes_between(-column - h * LANES, past - h * LANES);
        }
    }
}

/* Input row r to the output rows first .. last of the block; kernel_w columns of it. */
#define INPUT_ROW(NAME, LOOP)                                                                                       \
    static inline __attribute__((always_inline)) void NAME(const window w, int64_t r, const int64_t row_step,        \
                                                           const int first, const int last, const int vectors,      \
                                                           vec (*sum)[2])                                           \
    {                                                                                                               \
        LOOP for (int64_t j = 0; j < w.kernel_w; j++)                                                               \
        {                                                                                                           \
            vec pixels[2];                                                                                          \
            UNROLL for (int v = 0; v < vectors; v++)                                                                \
            {                                                                                                       \
                const int64_t column = w.left + v * LANES * w.step + j * w.dilation;                                \
                pixels[v] = load_columns(w.row[r] + column, w.step,                                                 \
                                         w.masks ? w.masks + (j * vectors + v) * w.step : NULL);                    \
            }                                                                                                       \
            UNROLL for (int o = first; o <= last; o++)                                                              \
            {                                                                                                       \
                const vec weight = splat(w.weights[(r - o * row_step) * w.kernel_w + j]);                           \
                UNROLL for (int v = 0; v < vectors; v++) sum[o][v] += pixels[v] * weight;                           \
            }                                                                                                       \
        }                                                                                                           \
    }

INPUT_ROW(input_row, UNROLL)
INPUT_ROW(long_input_row, )

static inline __attribute__((always_inline)) void begin(vec (*sum)[2], const int rows, const int vectors, real bias)
{
    UNROLL for (int o = 0; o < rows; o++)
    {
        UNROLL for (int v = 0; v < vectors; v++) sum[o][v] = splat(bias);
    }
}

static inline __attribute__((always_inline)) void end(vec (*sum)[2], const int rows, const int vectors, real *out,
                                                      int64_t out_stride, int64_t count)
{
    UNROLL for (int o = 0; o < rows; o++)
    {
        UNROLL for (int v = 0; v < vectors; v++)
        {
            if (count > v * LANES) store_part(out + o * out_stride + v * LANES, sum[o][v], count - v * LANES);
        }
    }
}

/* A block for a kernel whose size is a constant; rows of output row_step input rows apart. */
static inline __attribute__((always_inline)) void fixed(const window w, const int rows, const int64_t row_step, real bias,
                                                        real *out, int64_t out_stride, int64_t count)
{
    vec sum[ROWS][2];
    begin(sum, rows, 1, bias);
    UNROLL for (int64_t r = 0; r < w.kernel_h + (rows - 1) * row_step; r++)
    {
        const int64_t first = r < w.kernel_h ? 0 : (r - w.kernel_h) / row_step + 1, last = r / row_step;
        input_row(w, r, row_step, (int)first, last < rows ? (int)last : rows - 1, 1, sum);
    }
    end(sum, rows, 1, out, out_stride, count);
}

/* A block for any kernel. */
static inline __attribute__((always_inline)) void any(const window w, const int rows, const int vectors, real bias,
                                                      real *out, int64_t out_stride, int64_t count)
{
    vec sum[ROWS][2];
    begin(sum, rows, vectors, bias);
    int64_t r = 0;
    if (rows == ROWS) { /* the rows that are not everybody's, each written out; there are at least as many as outputs */
        long_input_row(w, 0, 1, 0, 0, vectors, sum);
        long_input_row(w, 1, 1, 0, 1, vectors, sum);
        long_input_row(w, 2, 1, 0, 2, vectors, sum);
        for (r = ROWS - 1; r < w.kernel_h; r++) long_input_row(w, r, 1, 0, 3, vectors, sum);
        long_input_row(w, r, 1, 1, 3, vectors, sum);
        long_input_row(w, r + 1, 1, 2, 3, vectors, sum);
        long_input_row(w, r + 2, 1, 3, 3, vectors, sum);
    } else {
        for (; r < w.kernel_h; r++) long_input_row(w, r, 1, 0, 0, vectors, sum);
    }
    end(sum, rows, vectors, out, out_stride, count);
}

typedef void filter(const window *given, real bias, real *out, int64_t out_stride, int64_t count);

/* The same twice: the plain one is told that there are no masks. */
#define MASKED_OR_NOT(CALL)                                                                                         \
    if (given->masks) {                                                                                             \
        CALL;                                                                                                       \
    } else {                                                                                                        \
        w.masks = NULL;                                                                                             \
        CALL;                                                                                                       \
    }
#define FIXED(K, STEP, R)                                                                                           \
    static void fixed_##K##_##STEP##_##R(const window *given, real bias, real *out, int64_t out_stride,              \
                                         int64_t count)                                                             \
    {                                                                                                               \
        window w = *given;                                                                                          \
        w.kernel_h = w.kernel_w = K, w.dilation = 1, w.step = STEP;                                                 \
        MASKED_OR_NOT(fixed(w, R, STEP, bias, out, out_stride, count))                                              \
    }
#define ANY(STEP, R, V)                                                                                             \
    static void any_##STEP##_##R##_##V(const window *given, real bias, real *out, int64_t out_stride, int64_t count) \
    {                                                                                                               \
        window w = *given;                                                                                          \
        w.step = STEP;                                                                                              \
        MASKED_OR_NOT(any(w, R, V, bias, out, out_stride, count))                                                   \
    }

FIXED(3, 1, 1) FIXED(3, 1, 4)
ANY(1, 1, 1) ANY(1, 1, 2) ANY(1, 4, 1) ANY(1, 4, 2) ANY(2, 1, 1)

/* Stride 2 in both directions, for whole rows of outputs. Each pair of vectors of an input row is sorted into even and
 * odd columns once; taps further left are shifted in from the pair before. So the last tap lies in an odd column: base is
 * the column under the tap before it. */
typedef struct {
    vec even, odd;
} pair;

static inline __attribute__((always_inline)) pair load_pair(const real *row, int64_t column, int64_t in_w, const int edge)
{
    vec a, b;
    if (edge) { /* what lies beside the image is zero, and not touched */
        a = load_part(row + column, -column, in_w - column);
        b = load_part(row + column + LANES, -column - LANES, in_w - column - LANES);
    } else {
        a = load(row + column), b = load(row + column + LANES);
    }
    return (pair){even_of(a, b), odd_of(a, b)};
}

/* The last `count` elements of a, which are 0, 1 or 2, and the first ones of b. */
static inline __attribute__((always_inline)) vec shifted_in(vec a, vec b, const int count)
{
    return count == 0 ? b : count == 1 ? SHUFFLE(a, b, FROM((int)LANES - 1)) : SHUFFLE(a, b, FROM((int)LANES - 2));
}

/* A vector of outputs of each of `rows` rows. */
static inline __attribute__((always_inline)) void strided_block(const int size, const int rows, const real *const *row,
                                                                const real *weights, int64_t column, int64_t in_w,
                                                                const int edge, vec bias, pair *before, real *out,
                                                                int64_t out_stride, int64_t count)
{
    vec sum[2];
    UNROLL for (int o = 0; o < rows; o++) sum[o] = bias;
    UNROLL for (int r = 0; r < size + 2 * (rows - 1); r++)
    {
        const pair now = load_pair(row[r], column, in_w, edge);
        UNROLL for (int j = 0; j < size; j++)
        {
            const int back = size - 1 - j; /* taps from the last one */
            const vec pixels = back % 2 ? shifted_in(before[r].even, now.even, back / 2)
                                        : shifted_in(before[r].odd, now.odd, back / 2);
            UNROLL for (int o = 0; o < rows; o++)
            {
                const int i = r - 2 * o;
                if (i >= 0 && i < size) sum[o] += pixels * splat(weights[i * size + j]);
            }
        }
        before[r] = now;
    }
    UNROLL for (int o = 0; o < rows; o++) store_part(out + o * out_stride, sum[o], count);
}

static inline __attribute__((always_inline)) void strided(const int size, const int rows, const window *w, int64_t in_w,
                                                          real bias, real *out, int64_t out_stride, int64_t count)
{
    pair before[5 + 2];
    real weights[5 * 5]; /* copied, since out may be anywhere: so the compiler keeps them, if there is room */
    const real *next = w->next;
    int64_t column = w->left + size - 2, x = 0;
    memcpy(weights, w->weights, (size_t)(size * size) * sizeof(real));
    UNROLL for (int r = 0; r < size + 2 * (rows - 1); r++) before[r] = (pair){splat(0), splat(0)};
    if (column > 0) {
        UNROLL for (int r = 0; r < size + 2 * (rows - 1); r++)
        {
            before[r] = load_pair(w->row[r], column - 2 * LANES, in_w, 1);
        }
    }
#define BLOCKS(WHILE, EDGE)                                                                                         \
    for (; x < count && (WHILE); x += LANES, column += 2 * LANES, next += w->ahead) {                               \
        fetch(next, w->ahead);                                                                                      \
        strided_block(size, rows, w->row, weights, column, in_w, EDGE, splat(bias), before, out + x, out_stride,     \
                      count - x);                                                                                   \
    }
    BLOCKS(column < 0, 1)
    BLOCKS(column + 2 * LANES <= in_w, 0)
    BLOCKS(1, 1)
#undef BLOCKS
}

typedef void strided_filter(const window *w, int64_t in_w, real bias, real *out, int64_t out_stride, int64_t count);

#define STRIDED(K, R)                                                                                               \
    static void strided_##K##_##R(const window *w, int64_t in_w, real bias, real *out, int64_t out_stride,           \
                                  int64_t count)                                                                    \
    {                                                                                                               \
        strided(K, R, w, in_w, bias, out, out_stride, count);                                                       \
    }
STRIDED(3, 1) STRIDED(3, 2) STRIDED(5, 1) STRIDED(5, 2)

/* How a plan is computed: blocks of rows x vectors, and the rest in blocks of one row; or rows as wholes. */
typedef struct {
    int rows, vectors;
    filter *full, *one;
    strided_filter *full_rows, *one_row;
} method;

static method choose_method(const pc_depthwise *conv)
{
    const int64_t size = conv->kernel_h;
    const int square = size == conv->kernel_w && conv->dilation_h == 1 && conv->dilation_w == 1 &&
                       conv->stride_h == conv->stride_w;
    if (square && size == 3 && conv->stride_w == 1) return (method){4, 1, fixed_3_1_4, fixed_3_1_1, 0, 0};
    if (square && size == 3) return (method){2, 1, 0, 0, strided_3_2, strided_3_1};
    if (square && size == 5 && conv->stride_w == 2) return (method){2, 1, 0, 0, strided_5_2, strided_5_1};
    if (conv->stride_w == 2) return (method){1, 1, any_2_1_1, any_2_1_1, 0, 0};
    const int two = conv->out_w > LANES;
    if (conv->stride_h == 1 && conv->dilation_h == 1 && conv->kernel_h >= ROWS) {
        return two ? (method){4, 2, any_1_4_2, any_1_1_2, 0, 0} : (method){4, 1, any_1_4_1, any_1_1_1, 0, 0};
    }
    return two ? (method){1, 2, any_1_1_2, any_1_1_2, 0, 0} : (method){1, 1, any_1_1_1, any_1_1_1, 0, 0};
}

/* Blocks of columns of a plane that are masked: where each begins, and its masks. */
typedef struct {
    int64_t width, reach; /* of a block: output columns, and input columns that are loaded for it */
    int64_t masks;        /* of a block */
    lane_mask *all;       /* of all blocks, filled in for those that need them */
} columns;

static int needs_masks(const pc_depthwise *conv, const columns *of, int64_t column)
{
    const int64_t left = column * conv->stride_w - conv->pad_left;
    return left < 0 || left + of->reach > conv->in_w;
}

/* A plane's rows. Of a ring, row r lies where r - slots lay. */
typedef struct {
    const real *at;
    int64_t stride, slots; /* no slots: every row has its own place */
} plane_rows;

/* Output rows first .. end of a plane */
static void filter_rows(const pc_depthwise *conv, const method *how, const columns *of, window w, plane_rows x,
                        const real *zeros, const real **rows, real bias, real *out, int64_t out_stride, int64_t first,
                        int64_t end)
{
    for (int64_t y = first; y < end;) {
        int64_t count = how->rows;
        if (end - y < count && end - first >= count) y = end - count; /* the last rows once more: the same result */
        if (end - y < count) count = 1;
        filter *run = count == how->rows ? how->full : how->one;
        const int64_t top = y * conv->stride_h - conv->pad_top;
        const int64_t in_rows = (count - 1) * conv->stride_h / conv->dilation_h + conv->kernel_h;
        for (int64_t r = 0; r < in_rows; r++) {
            const int64_t at = top + r * conv->dilation_h;
            rows[r] = at < 0 || at >= conv->in_h ? zeros : x.at + (x.slots ? at % x.slots : at) * x.stride;
        }
        if (!x.slots) w.next = x.at + (top + (in_rows - 1) * conv->dilation_h + 1) * x.stride; /* rows not yet read */
        if (how->full_rows) {
            w.left = -conv->pad_left;
            strided_filter *whole = count == how->rows ? how->full_rows : how->one_row;
            whole(&w, conv->in_w, bias, out + y * out_stride, out_stride, conv->out_w);
            w.next += (conv->out_w + LANES - 1) / LANES * w.ahead;
            y += count;
            continue;
        }
        const lane_mask *masks = of->all;
        for (int64_t column = 0; column < conv->out_w; column += of->width) {
            w.left = column * conv->stride_w - conv->pad_left;
            w.masks = needs_masks(conv, of, column) ? masks : NULL;
            fetch(w.next, how->vectors * w.ahead);
            w.next += how->vectors * w.ahead;
            run(&w, bias, out + y * out_stride + column, out_stride, conv->out_w - column);
            if (w.masks) masks += of->masks;
        }
        y += count;
    }
}

/* What all planes of a task share. */
typedef struct {
    const pc_depthwise *conv;
    const pc_conv_arrays *arrays;
    method how;
    columns of;
    const real *zeros, **rows; /* a row of padding, room for the rows that a block reads */
    real *ring;
} shared;

/* Output rows first .. end of a plane of output; of what lies at next, so much is fetched for each vector of outputs. */
static void filter_plane(const shared *all, int64_t image, int64_t channel, plane_rows x, int64_t first, int64_t end,
                         const real *next, int64_t ahead)
{
    const pc_depthwise *conv = all->conv;
    const int64_t *strides = all->arrays->out_strides;
    const window w = {.row = all->rows,
                      .weights = (const real *)all->arrays->weights + channel * conv->kernel_h * conv->kernel_w,
                      .kernel_h = conv->kernel_h,
                      .kernel_w = conv->kernel_w,
                      .dilation = conv->dilation_w,
                      .next = next,
                      .ahead = ahead};
    filter_rows(conv, &all->how, &all->of, w, x, all->zeros, all->rows, ((const real *)all->arrays->bias)[channel],
                (real *)all->arrays->out + image * strides[0] + channel * strides[1], strides[2], first, end);
}

/* Output rows first .. end of so many channels of input, which are neighbours in memory: their rows pass in a ring. */
static void filter_ring(const shared *all, int64_t image, int64_t channel, int64_t channels, int64_t first, int64_t end)
{
    const pc_depthwise *conv = all->conv;
    const int64_t *strides = all->arrays->x_strides, pitch = conv->row_size, plane = conv->slots * pitch;
    const int64_t span = (conv->kernel_h - 1) * conv->dilation_h + 1;
    const real *x = (const real *)all->arrays->x + image * strides[0] + channel * strides[1];
    const int64_t planes = channels * conv->multiplier;
    const int is_far = channels == strides[3] && conv->in_h * conv->in_w * channels > FAR;
    int64_t filled = 0; /* the row after the last that is at hand */
    for (int64_t y = first; y < end; y += conv->rows) {
        if (end - y < conv->rows) y = end - first < conv->rows ? first : end - conv->rows; /* some once more */
        const int64_t past = least(y + conv->rows, end);
        int64_t row = y * conv->stride_h - conv->pad_top;
        const int64_t end_row = least((past - 1) * conv->stride_h - conv->pad_top + span, conv->in_h);
        for (row = row < filled ? filled : row; row < end_row; row++) {
            planes_of_row(x + row * strides[2], strides[3], channels, conv->in_w,
                          all->ring + row % conv->slots * pitch, plane);
        }
        if (end_row > filled) filled = end_row;
        /* the next rows are fetched while these are filtered, each plane a part of them */
        const int64_t left = is_far ? least(past + conv->rows, end) - past : 0;
        const int64_t vectors = (past - y + all->how.rows - 1) / all->how.rows * ((conv->out_w + LANES - 1) / LANES);
        const int64_t each = left * conv->stride_h * strides[2] / planes;
        const int64_t ahead = each / vectors;
        for (int64_t k = 0; k < planes; k++) {
            const plane_rows from = {all->ring + k / conv->multiplier * plane, pitch, conv->slots};
            filter_plane(all, image, channel * conv->multiplier + k, from, y, past, x + end_row * strides[2] + k * each,
                         ahead);
        }
    }
}

void PC_NAME(depthwise_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    /* task = part of the units of all images * bands + band; a unit is a plane, or the channels of a ring */
    const pc_depthwise *conv = parameters;
    const int64_t *x_strides = arrays->x_strides;
    const int64_t band = task % conv->bands, part = task / conv->bands;
    const int64_t first_unit = conv->units * part / conv->parts, end_unit = conv->units * (part + 1) / conv->parts;
    const int64_t first = conv->out_h * band / conv->bands, end = conv->out_h * (band + 1) / conv->bands;
    const method how = choose_method(conv);
    const int64_t width = how.vectors * LANES;
    columns of = {.width = width,
                  .reach = (conv->kernel_w - 1) * conv->dilation_w + (width - 1) * conv->stride_w + 1,
                  .masks = conv->kernel_w * how.vectors * conv->stride_w,
                  .all = scratch};
    lane_mask *masks = of.all;
    for (int64_t column = 0; column < conv->out_w && !how.full_rows; column += width) {
        if (!needs_masks(conv, &of, column)) continue;
        find_masks(conv, column * conv->stride_w - conv->pad_left, how.vectors, masks);
        masks += of.masks;
    }
    /* aligned again: an odd number of masks may end anywhere (there are bytes for it, see depthwise.py) */
    const int64_t used = ((char *)masks - (char *)scratch + VECTOR_BYTES - 1) / VECTOR_BYTES * VECTOR_BYTES;
    real *ring = (real *)((char *)scratch + used);
    real *zeros = ring + conv->together * conv->slots * conv->row_size;
    memset(zeros, 0, (size_t)conv->in_w * sizeof(real));
    const real **rows = (const real **)(zeros + (conv->in_w + LANES - 1) / LANES * LANES);
    const int64_t vectors = (conv->out_w + LANES - 1) / LANES;
    const int is_far = conv->in_h * conv->in_w * (conv->out_channels / conv->multiplier) > FAR;
    const int64_t ahead = is_far ? how.rows * conv->stride_h * x_strides[2] / vectors : 0;
    const shared all = {conv, arrays, how, of, zeros, rows, ring};
    const __auto_type mode = flush_denormals();
    for (int64_t unit = first_unit; unit < end_unit; unit++) {
        if (conv->together) {
            const int64_t in_channels = conv->out_channels / conv->multiplier;
            const int64_t units = (in_channels + conv->together - 1) / conv->together;
            const int64_t channel = unit % units * conv->together;
            filter_ring(&all, unit / units, channel, least(in_channels - channel, conv->together), first, end);
        } else {
            const int64_t image = unit / conv->out_channels, channel = unit % conv->out_channels;
            const real *x = (const real *)arrays->x + image * x_strides[0] + channel / conv->multiplier * x_strides[1];
            filter_plane(&all, image, channel, (plane_rows){x, x_strides[2], 0}, first, end, NULL, ahead);
        }
    }
    restore_denormals(mode);
}
