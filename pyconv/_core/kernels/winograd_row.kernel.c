/* Winograd convolution along the rows of few input channels, F(4, 5): for kernels of five columns and stride 1.
 *
 * With few channels the products of an output are few, and tiles of two axes spend on the transform of their outputs, which
 * each output channel has its own of, what they save: F(2 x 2, 5 x 5) takes 36 products and some 60 additions for four
 * outputs of one channel, plain sums 100 products. Along rows alone four outputs take 8 products in place of 20 for each row
 * of the kernel, and some 16 additions; the rows' products are added up before these.
 *
 * Lanes are tiles that follow one another, over row ends too: a row of the kernel further down is a row of tiles further on.
 * The sums of two points at a time stay in registers, for some output channels, beside the outputs that they go into.
 */
#include "conv.h"
#include "deal.h"
#include "winograd.h"
#include "winograd_threes.h"

enum { PAIRS = 3, SIZE = 2 * PAIRS + 2, TILE = 4, ONE = 2 /* the pair +-1 */, TOGETHER = WINOGRAD_FEW_CHANNELS };

/* What the sums of a band are made of. */
typedef struct {
    int64_t planes;         /* input channels */
    int64_t cols, count;    /* tiles of a row, and of all rows of outputs */
    int64_t pitch, point;   /* of the places, [point][plane][row][tile]: from one plane, and from one point, to the next */
} band;

/* B' along every row of the band's input, places[point][plane][row][tile]; and zeros behind the last tile. Rows follow one
 * another in memory with one tile's pixels more than `cols`, so that short ones are taken several at a time: the tiles that
 * cross row ends are left out as they are put down. The last rows, from number `own` on, are copied before, since whole
 * vectors reach beyond what may be read. */
INLINE void transform_input(const pc_direct *conv, band b, int64_t rows, const real *pixels, int64_t plane, int64_t own,
                            real *copy, real *places)
{
    const int64_t group = LANES / (b.cols + 1), step = group > 1 ? group : 1;
    ivec from_lane;
    for (int64_t i = 0; i < LANES; i++) from_lane[i] = (integer)least(i + i / b.cols, LANES - 1);
    for (int64_t p = 0; p < b.planes; p++) {
        real *to = places + p * b.pitch;
        for (int64_t y = 0; y < rows; y += step) {
            const real *from = pixels + p * plane + y * conv->pitch;
            if (y >= own) from = memcpy(copy, from, least(step, rows - y) * conv->pitch * sizeof(real));
            if (step == 1) {
                transform_along(PAIRS, TILE, 0, from, b.cols, to + y * b.cols, b.point);
                continue;
            }
            vec t[SIZE];
            transform_vector(PAIRS, TILE, from, t);
            UNROLL for (int i = 0; i < SIZE; i++) store(to + i * b.point + y * b.cols, rearranged(t[i], from_lane));
        }
        UNROLL for (int i = 0; i < SIZE; i++) store(to + i * b.point + rows * b.cols, splat(0));
    }
}

#if HAS_THREES /* the order of operations of winograd_threes.h */
/* What a plane adds to the sums of two points, of which `weight` passes it; `begins` them, the first ones at `start` if
 * it is not NULL. */
INLINE void add_plane(const int begins, const int64_t height, int64_t cols, const real *x, const real *other,
                      const real *weight, const real *start, vec first[TOGETHER], vec second[TOGETHER])
{
    if (begins) {
        const vec a = load_once(x), b = load_once(other);
        UNROLL for (int c = 0; c < TOGETHER; c++)
            first[c] = start ? multiply_add(a, splat(weight[c]), splat(start[c])) : a * splat(weight[c]);
        UNROLL for (int c = 0; c < TOGETHER; c++) second[c] = b * splat(weight[TOGETHER + c]);
    }
    for (int64_t i = begins; i < height; i++) {
        const vec a = load_once(x + i * cols), b = load_once(other + i * cols);
        const real *w = weight + i * 2 * TOGETHER;
        UNROLL for (int c = 0; c < TOGETHER; c++) first[c] = multiply_add(a, splat(w[c]), first[c]);
        UNROLL for (int c = 0; c < TOGETHER; c++) second[c] = multiply_add(b, splat(w[TOGETHER + c]), second[c]);
    }
}

/* The outputs of a vector of tiles, y[channel][column]. Pair 0 is the points 0 and infinity. The sum of point 1 is a
 * part of every output as it is, and begun at the bias. */
INLINE void outputs(band b, const int64_t planes, const int64_t height, const real *places, const real *weights,
                    const real *bias, vec y[TOGETHER][TILE])
{
    const int order[] = {ONE, 1, 3, 0};
    UNROLL for (int turn = 0; turn <= PAIRS; turn++)
    {
        const int pair = order[turn];
        const real *x = places + (pair ? 2 * pair - 1 : 0) * b.point;
        const real *other = places + (pair ? 2 * pair : SIZE - 1) * b.point;
        const int64_t each = height * 2 * TOGETHER;
        const real *weight = weights + pair * planes * each;
        vec first[TOGETHER], second[TOGETHER];
        add_plane(1, height, b.cols, x, other, weight, pair == ONE ? bias : NULL, first, second);
        for (int64_t p = 1; p < planes; p++)
            add_plane(0, height, b.cols, x + p * b.pitch, other + p * b.pitch, weight + p * each, NULL, first, second);
        UNROLL for (int c = 0; c < TOGETHER; c++)
        {
            if (pair == ONE)
                begin_points(TILE, first[c], second[c], y[c]);
            else
                add_points(PAIRS, TILE, pair, first[c], second[c], y[c]);
        }
    }
}
#else
/* The outputs of a vector of tiles, y[channel][column], begun at the bias. Pair 0 is the points 0 and infinity. In
 * float64 the order above takes a twentieth longer. */
INLINE void outputs(band b, const int64_t planes, const int64_t height, const real *places, const real *weights,
                    const real *bias, vec y[TOGETHER][TILE])
{
    UNROLL for (int c = 0; c < TOGETHER; c++)
    {
        UNROLL for (int k = 0; k < TILE; k++) y[c][k] = splat(bias[c]);
    }
    UNROLL for (int pair = 0; pair <= PAIRS; pair++)
    {
        const real *first = places + (pair ? 2 * pair - 1 : 0) * b.point;
        const real *second = places + (pair ? 2 * pair : SIZE - 1) * b.point;
        vec sum[2][TOGETHER];
        UNROLL for (int c = 0; c < TOGETHER; c++) sum[0][c] = sum[1][c] = splat(0);
        for (int64_t p = 0; p < planes; p++, first += b.pitch, second += b.pitch) {
            for (int64_t i = 0; i < height; i++, weights += 2 * TOGETHER) {
                const vec x = load_once(first + i * b.cols), other = load_once(second + i * b.cols);
                UNROLL for (int c = 0; c < TOGETHER; c++) sum[0][c] += x * splat(weights[c]);
                UNROLL for (int c = 0; c < TOGETHER; c++) sum[1][c] += other * splat(weights[TOGETHER + c]);
            }
        }
        UNROLL for (int c = 0; c < TOGETHER; c++) add_points(PAIRS, TILE, pair, sum[0][c], sum[1][c], y[c]);
    }
}
#endif

/* The outputs of the tiles first .. end - 1, which lie in `line`, of each channel TILE vectors, to their rows in the
 * channels from `out` on; some may be outside of the image. Vectors are read as they were stored, as in
 * winograd_few.kernel.c. */
static void scatter(band b, int64_t width, int64_t first, int64_t end, const real *line, real *out, const int64_t *strides,
                    int64_t channels)
{
    for (int64_t t = first, past; t < end; t = past) {
        const int64_t y = t / b.cols, x = t % b.cols * TILE, begin = (t - first) * TILE;
        past = least(end, (y + 1) * b.cols);
        const int64_t stop = begin + least((past - t) * TILE, width - x);
        for (int64_t c = 0; c < channels; c++) {
            real *at = out + c * strides[1] + y * strides[2] + x - begin; /* where element 0 of the line would lie */
            for (int64_t j = begin / LANES * LANES; j < stop; j += LANES)
                store_between(at + j, load(line + c * TILE * LANES + j), begin - j, stop - j);
        }
    }
}

/* Of all tiles of a band, for the blocks of output channels begin .. end - 1: 1 if a result is not finite. `planes` and
 * `height` are the band's. */
INLINE int all_outputs(const pc_direct *conv, band b, const int64_t planes, const int64_t height, const real *places,
                       const pc_conv_arrays *arrays, real *out, int64_t begin, int64_t end, real *spare)
{
    const int64_t width = conv->out_w, *strides = arrays->out_strides, each = SIZE * planes * height * TOGETHER;
    const int gapless = b.cols * TILE == width && strides[2] == width; /* tiles follow one another in memory too */
    vec odd = splat(0);
    for (int64_t block = begin; block < end; block++) {
        const int64_t channel = block * TOGETHER, channels = least(TOGETHER, conv->out_channels - channel);
        const real *weights = (const real *)arrays->weights + block * each, *bias = (const real *)arrays->bias + channel;
        real *first = out + channel * strides[1];
        for (int64_t t = 0; t < b.count; t += LANES) {
            const int64_t y = t / b.cols, x = t % b.cols;
            const int whole = gapless ? t + LANES <= b.count : x + LANES <= b.cols && (x + LANES) * TILE <= width;
            real *at = whole ? first + y * strides[2] + x * TILE : spare;
            const int64_t apart = whole ? strides[1] : TILE * LANES;
            vec found[TOGETHER][TILE];
            outputs(b, planes, height, places + t, weights, bias, found);
            UNROLL for (int c = TOGETHER - 1; c >= 0; c--) /* what pads a block goes to where its first channel does */
            {
                vec joined[TILE], all = found[c][0];
                UNROLL for (int k = 1; k < TILE; k++) all += found[c][k];
                odd += splat(0) * all; /* zero, but for inf and NaN */
                by_turns(found[c], TILE, joined);
                real *to = at + (c < channels ? c : 0) * apart;
                UNROLL for (int k = 0; k < TILE; k++) store(to + k * LANES, joined[k]);
            }
            if (!whole) scatter(b, width, t, least(t + LANES, b.count), spare, first, strides, channels);
        }
    }
    const ivec broken = odd != splat(0);
    int any = 0;
    for (int64_t i = 0; i < LANES; i++) any |= broken[i] != 0;
    return any;
}

void PC_NAME(winograd_row_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    const pc_direct *conv = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    /* task = (image * bands_h + band) * shares + share */
    const int64_t share = task % conv->shares, image = task / conv->shares / conv->bands_h;
    const int64_t first_row = task / conv->shares % conv->bands_h * conv->rows;
    const int64_t rows = least(conv->rows, conv->out_h - first_row), blocks = (conv->out_channels + TOGETHER - 1) / TOGETHER;
    const int64_t height = conv->packed_rows - conv->rows + 1, cols = conv->cols / TILE, pitch = conv->places_pitch;
    const band b = {
        .planes = conv->in_channels, .cols = cols, .count = rows * cols,
        .pitch = pitch, .point = conv->in_channels * pitch,
    };
    real *packed = scratch, *places = packed + conv->band_size, *spare = places + SIZE * b.point;
    real *out = (real *)arrays->out + image * out_strides[0] + first_row * out_strides[2];

    const __auto_type mode = flush_denormals();
    const real *x = (const real *)arrays->x + image * x_strides[0];
    const int64_t read = rows + height - 1, top = first_row - conv->pad_top;
    /* rows are read where they lie, if a packed band would be just the same */
    const int in_place = conv->pad_left == 0 && conv->in_w == conv->pitch && x_strides[2] == conv->pitch &&
                         x_strides[3] == 1 && top >= 0 && top + read <= conv->in_h;
    const real *pixels = in_place ? x + top * x_strides[2] : packed;
    if (!in_place) PC_NAME(conv_pack)(conv, x, x_strides, first_row, rows, 0, packed);
    const int64_t begin = blocks * share / conv->shares, end = blocks * (share + 1) / conv->shares, planes = b.planes;
    int broken;
#if HAS_THREES
    if (goes_by_threes(planes, height, rows, cols)) {
        const int64_t first = begin * TOGETHER, last = least(end * TOGETHER, conv->out_channels);
        broken = outputs_by_threes(pixels, conv->pitch, rows, cols, conv->out_w, arrays, out, first, last, places);
    } else
#endif
    {
        const int64_t reach = (cols + LANES - 1) / LANES * LANES * TILE + SIZE - TILE, beyond = reach - conv->pitch;
        const int64_t own = in_place ? conv->in_h - top - (beyond + conv->pitch - 1) / conv->pitch : read;
        transform_input(conv, b, read, pixels, in_place ? x_strides[1] : conv->channel_pitch, own, packed, places);
        /* loops of so few steps, if they are not unrolled, cost a seventh of the time */
        broken = height != 5   ? all_outputs(conv, b, planes, height, places, arrays, out, begin, end, spare)
                 : planes != 1 ? all_outputs(conv, b, planes, 5, places, arrays, out, begin, end, spare)
                               : all_outputs(conv, b, 1, 5, places, arrays, out, begin, end, spare);
    }
    restore_denormals(mode);
    if (broken) arrays->broken[image] = 1; /* every thread that writes here writes the same */
}
