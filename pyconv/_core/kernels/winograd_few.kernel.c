/* Winograd convolution of few input channels, with vectors along tiles: for the first layers of networks.
 *
 * A kernel with a stride is taken apart into its phases, each a kernel of stride 1 on a phase of the input, as
 * conv_pack.kernel.c packs it: so planes (channels and phases) are what is summed over, of four times as many channels
 * with 4 x 4 taps where 7x7 has stride 2. All places of a tile of 6 x 6 are transformed, as F(5 x 5, 2 x 2),
 * F(4 x 4, 3 x 3), F(3 x 3, 4 x 4) or F(2 x 2, 5 x 5): the points, and so B', are the same. Phases of a tap less down
 * or along the kernel do without a point and its row or column of places: A' of the others is the same, so that their
 * products are summed too.
 *
 * Lanes are tiles that follow one another, over row ends too. With few planes a place's sum is short, and putting down all
 * of them and taking them up again would cost more than the products: here the sums of a column of places stay in
 * registers and are transformed there. A few shuffles make rows of the outputs of a vector of tiles. A relu and a pooling
 * of 2 x 2 that follow are done before these.
 */
#include <stddef.h>

#include "conv.h"
#include "deal.h"
#include "select.h"
#include "winograd.h"

enum {
    PAIRS = 2, SIZE = 2 * PAIRS + 2,
    TOGETHER = WINOGRAD_FEW_CHANNELS, /* output channels */
    LARGEST = 5, /* outputs of a tile along an axis: 2 to 5 */
    LINE = 64 / sizeof(real),
};

/* B' down the rows of pixels of a row of tiles: row i of the result is `line` long. */
static void down(const int without_zero, const real *pixels, int64_t pitch, int64_t line, real *to)
{
    for (int64_t j = 0; j < pitch; j += LANES) {
        vec d[SIZE], t[SIZE];
        UNROLL for (int i = 0; i < SIZE - 1; i++) d[i] = load(pixels + i * pitch + j);
        if (without_zero) {
            transform_in_without_zero(PAIRS, d, t);
        } else {
            d[SIZE - 1] = load(pixels + (SIZE - 1) * pitch + j);
            transform_in(PAIRS, d, t);
            store(to + j, t[0]);
        }
        UNROLL for (int i = 1; i < SIZE; i++) store(to + i * line + j, t[i]);
    }
}

/* Rows of an image, of tiles. The planes come in four parts, by the taps of their phases: those of as many as there are
 * down the kernel before those of fewer, and of each of these those of as many as there are along it first. Fewer taps
 * have no place for the point 0: no row 0, or no column 0. */
typedef struct {
    int64_t rows, cols, count; /* all of them */
    int64_t pitch;             /* from one place to the next, of the same tile */
    int64_t planes;
    int64_t whole_h, whole_w;  /* planes of the first two parts, and those of them in the first one, of ... */
    int64_t whole_w_of_fewer;  /* and of the others */
} grid;

/* B' d B of a plane's tiles, to places[column][row][tile], of which columns are `step` apart. */
INLINE void transform_plane(const int tile, const int fewer_h, const int fewer_w, grid g, const real *pixels,
                            int64_t pitch, real *to, int64_t step, real *work, int64_t line)
{
    for (int64_t ty = 0; ty < g.rows; ty++, pixels += tile * pitch) {
        down(fewer_h, pixels, pitch, line, work);
        for (int64_t i = fewer_h; i < SIZE; i++) {
            transform_along(PAIRS, tile, fewer_w, work + i * line, g.cols, to + i * g.pitch + ty * g.cols, step);
        }
    }
    for (int64_t i = 0; i < SIZE * SIZE; i++) store(to + i % SIZE * g.pitch + i / SIZE * step + g.count, splat(0));
}

/* B' d B of all tiles: places[column][plane][row][tile]; and zeros behind the last tile. */
INLINE void transform_input(const int tile, const pc_direct *conv, grid g, const real *band, real *places, real *work)
{
    const int64_t plane = conv->packed_rows * conv->pitch, step = g.planes * SIZE * g.pitch;
    for (int part = 0; part < 4; part++) {
        const int fewer_h = part / 2, fewer_w = part % 2;
        const int64_t first_w = fewer_w ? conv->whole_w : 0, end_w = fewer_w ? conv->phases_w : conv->whole_w;
        for (int64_t ph = fewer_h ? conv->whole_h : 0; ph < (fewer_h ? conv->phases_h : conv->whole_h); ph++) {
            for (int64_t pw = first_w; pw < end_w; pw++) {
                for (int64_t c = 0; c < conv->in_channels; c++, places += SIZE * g.pitch) {
                    const real *pixels = band + c * conv->channel_pitch + (ph * conv->phases_w + pw) * plane;
                    switch (part) {
#define PART(H, W) \
    case 2 * H + W: transform_plane(tile, H, W, g, pixels, conv->pitch, places, step, work, conv->work_line); break;
                        PART(0, 0) PART(0, 1) PART(1, 0) PART(1, 1)
#undef PART
                    }
                }
            }
        }
    }
}

/* What the outputs of a tile are: `step` x `step` of the image's numbers, which are `height` and `width` from the band's
 * first row on. */
typedef struct {
    int64_t step, height, width;
    real *out;
    const int64_t *strides;
} target;

/* The outputs of the tiles first .. end - 1, which lie in `rows`, [channel][row][of all tiles], to their places in the
 * channels from `out` on; some may be outside of the image. Vectors are read as they were stored, which is when they need
 * not wait until they have come as far as the cache. */
static void scatter(grid g, const target *to, int64_t first, int64_t end, const real *rows, real *out, int64_t channels)
{
    const int64_t line = to->step * LANES;
    for (int64_t t = first, past; t < end; t = past) {
        const int64_t ty = t / g.cols, tx = t % g.cols;
        past = least(end, (ty + 1) * g.cols);
        const int64_t y = ty * to->step, x = tx * to->step, begin = (t - first) * to->step;
        const int64_t height = least(to->step, to->height - y), stop = begin + least((past - t) * to->step, to->width - x);
        for (int64_t c = 0; c < channels; c++) {
            for (int64_t i = 0; i < height; i++) {
                const real *from = rows + (c * to->step + i) * line;
                real *at = out + c * to->strides[1] + (y + i) * to->strides[2] + x - begin; /* where line 0 would lie */
                for (int64_t j = begin / LANES * LANES; j < stop; j += LANES) {
                    store_between(at + j, load(from + j), begin - j, stop - j);
                }
            }
        }
    }
}

/* The largest of 2 x 2 pixels each, of those below `floor` the floor: y[i][j] becomes that of y[2 * i .. ][2 * j ..]. */
INLINE void pool(vec y[LARGEST][LARGEST], vec floor)
{
    UNROLL for (int i = 0; i < LARGEST / 2; i++)
    {
        UNROLL for (int j = 0; j < LARGEST / 2; j++)
        {
            vec best = greater_of(floor, y[2 * i][2 * j]);
            best = greater_of(greater_of(floor, y[2 * i][2 * j + 1]), best);
            best = greater_of(greater_of(floor, y[2 * i + 1][2 * j]), best);
            y[i][j] = greater_of(greater_of(floor, y[2 * i + 1][2 * j + 1]), best);
        }
    }
}

/* The products of a plane, of a column of places from the first on, which begin the sums or are added to them. */
INLINE void products(const int begins, const int first, const real *places, int64_t pitch, const real *weights,
                     vec sum[SIZE][TOGETHER])
{
    UNROLL for (int i = first; i < SIZE; i++)
    {
        const vec x = load_once(places + i * pitch);
        UNROLL for (int c = 0; c < TOGETHER; c++)
        {
            const vec product = x * splat(weights[i * TOGETHER + c]);
            sum[i][c] = begins ? product : sum[i][c] + product;
        }
    }
}

/* A' m A + b of a vector of tiles for some output channels, or their relu or maxima, row i of channel c to rows[c]
 * + i * row_stride; not zero in lanes with a result that is not finite. The first channel is written last: what pads a
 * block goes to where it does. */
INLINE vec outputs(const int tile, const int pooled, const int relu, const grid *g, const real *places,
                   const real *weights, const real *bias, vec floor, real *const *rows, int64_t row_stride)
{
    const int step = pooled ? tile / 2 : tile;
    const int64_t all = SIZE * g->pitch, each = SIZE * TOGETHER; /* of a plane */
    vec half[TOGETHER][LARGEST][SIZE];
    UNROLL for (int j = 0; j < SIZE; j++)
    {
        vec sum[SIZE][TOGETHER];
        const int64_t of_many = j == 0 ? g->whole_w : g->whole_h;
        const int64_t of_fewer = j == 0 ? g->whole_w_of_fewer : g->planes - g->whole_h;
        products(1, 0, places, g->pitch, weights, sum);
        for (int64_t p = 1; p < of_many; p++) products(0, 0, places + p * all, g->pitch, weights + p * each, sum);
        places += g->whole_h * all;
        weights += g->whole_h * each;
        for (int64_t p = 0; p < of_fewer; p++) products(0, 1, places + p * all, g->pitch, weights + p * each, sum);
        places += (g->planes - g->whole_h) * all;
        weights += (g->planes - g->whole_h) * each;
        UNROLL for (int c = 0; c < TOGETHER; c++)
        {
            vec m[SIZE], y[LARGEST];
            UNROLL for (int i = 0; i < SIZE; i++) m[i] = sum[i][c];
            transform_out(PAIRS, tile, m, NULL, y);
            UNROLL for (int i = 0; i < tile; i++) half[c][i][j] = y[i];
        }
    }
    vec odd = splat(0);
    UNROLL for (int c = TOGETHER - 1; c >= 0; c--)
    {
        const vec b = splat(bias[c]);
        vec y[LARGEST][LARGEST];
        UNROLL for (int i = 0; i < tile; i++)
        {
            transform_out(PAIRS, tile, half[c][i], &b, y[i]);
            vec all = y[i][0];
            UNROLL for (int j = 1; j < tile; j++) all += y[i][j];
            odd += splat(0) * all; /* zero, but for inf and NaN */
        }
        if (pooled) {
            pool(y, floor);
        } else if (relu) {
            UNROLL for (int i = 0; i < tile; i++)
            {
                UNROLL for (int j = 0; j < tile; j++) y[i][j] = greater_of(floor, y[i][j]);
            }
        }
        UNROLL for (int i = 0; i < step; i++)
        {
            vec joined[LARGEST];
            by_turns(y[i], step, joined);
            UNROLL for (int j = 0; j < step; j++) store(rows[c] + i * row_stride + j * LANES, joined[j]);
        }
    }
    return odd;
}

/* The same for a size of tile. On AArch64 in functions of their own: within the loops over tiles and blocks registers do
 * not suffice there for what these and the sums need. On x86-64, where they do, 7x7 kernels of stride 2 lose 3 % by it. */
#if defined(__aarch64__)
#define INSTANCE static NOT_INLINED
#else
#define INSTANCE INLINE
#endif
typedef vec tile_outputs(const grid *g, const real *places, const real *weights, const real *bias, vec floor,
                         real *const *rows, int64_t row_stride);
#define OUTPUTS(T, RELU, POOLED)                                                                                       \
    INSTANCE vec outputs_##T##RELU##POOLED(const grid *g, const real *places, const real *weights, const real *bias,   \
                                           vec floor, real *const *rows, int64_t row_stride)                           \
    {                                                                                                                  \
        return outputs(T, POOLED, RELU, g, places, weights, bias, floor, rows, row_stride);                            \
    }
OUTPUTS(2, 0, 0) OUTPUTS(3, 0, 0) OUTPUTS(4, 0, 0) OUTPUTS(5, 0, 0)
OUTPUTS(2, 1, 0) OUTPUTS(3, 1, 0) OUTPUTS(4, 1, 0) OUTPUTS(5, 1, 0)
OUTPUTS(4, 0, 1)
#undef OUTPUTS
#undef INSTANCE

/* The lines that will be written are asked for early: there are too many of them for stores to wait for each. */
INLINE void fetch(real *const *rows, const int step, int64_t row_stride)
{
    UNROLL for (int c = 0; c < TOGETHER; c++)
    {
        UNROLL for (int i = 0; i < step; i++)
        {
            UNROLL for (int64_t j = 0; j < step * LANES; j += LINE) __builtin_prefetch(rows[c] + i * row_stride + j, 1);
        }
    }
}

/* Of all tiles of a band, for the blocks of output channels begin .. end - 1: 1 if a result is not finite. Either all
 * weights pass by a vector of tiles, whose places stay in the first level of the cache, or all tiles by the weights of
 * a block. */
INLINE int all_outputs(const int tile, const int pooled, tile_outputs *const outputs_of, const pc_direct *conv, grid g,
                       const real *places, const real *weights, const real *bias, const target *to, int64_t begin,
                       int64_t end, real *spare)
{
    const int step = pooled ? tile / 2 : tile;
    const int64_t each = TOGETHER * SIZE * SIZE * g.planes, channel_stride = to->strides[1];
    const vec floor = splat(conv->pooled >= 2 ? 0 : -(real)__builtin_inf());
    const int64_t vectors = (g.count + LANES - 1) / LANES, blocks = end - begin;
    ivec broken = {0};
    for (int64_t n = 0; n < vectors * blocks; n++) {
        const int64_t t = (conv->band_stays ? n / blocks : n % vectors) * LANES;
        const int64_t block = begin + (conv->band_stays ? n % blocks : n / vectors);
        const int64_t channel = block * TOGETHER, channels = least(TOGETHER, conv->out_channels - channel);
        real *first = to->out + channel * channel_stride;
        const int64_t ty = t / g.cols, tx = t % g.cols;
        const int whole = tx + LANES <= g.cols && (tx + LANES) * step <= to->width && (ty + 1) * step <= to->height;
        const int64_t row_stride = whole ? to->strides[2] : step * LANES;
        real *rows[TOGETHER];
        for (int64_t c = 0; c < TOGETHER; c++) {
            rows[c] = !whole ? spare + c * step * step * LANES
                             : first + (c < channels ? c : 0) * channel_stride + ty * step * to->strides[2] + tx * step;
        }
        if (whole) fetch(rows, step, row_stride);
        const vec odd = outputs_of(&g, places + t, weights + block * each, bias + channel, floor, rows, row_stride);
        broken |= odd != splat(0);
        if (!whole) scatter(g, to, t, least(t + LANES, g.count), spare, first, channels);
    }
    int found = 0;
    for (int64_t i = 0; i < LANES; i++) found |= broken[i] != 0;
    return found;
}

void PC_NAME(winograd_few_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    const pc_direct *conv = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides, tile = conv->tile;
    /* task = (image * bands_h + band) * shares + share */
    const int64_t share = task % conv->shares, band = task / conv->shares % conv->bands_h;
    const int64_t image = task / conv->shares / conv->bands_h, first_row = band * conv->rows;
    const int64_t rows = least(conv->rows, (conv->out_h - first_row + tile - 1) / tile * tile);
    const int64_t blocks = (conv->out_channels + TOGETHER - 1) / TOGETHER;
    const int64_t begin = blocks * share / conv->shares, end = blocks * (share + 1) / conv->shares;
    const grid g = {
        .rows = rows / tile, .cols = conv->cols / tile, .count = rows / tile * (conv->cols / tile),
        .pitch = conv->places_pitch, .planes = conv->in_channels * conv->phases_h * conv->phases_w,
        .whole_h = conv->in_channels * conv->whole_h * conv->phases_w,
        .whole_w = conv->in_channels * conv->whole_h * conv->whole_w,
        .whole_w_of_fewer = conv->in_channels * (conv->phases_h - conv->whole_h) * conv->whole_w,
    };
    const int halved = conv->pooled == 1 || conv->pooled == 2; /* both axes */
    const target to = {
        .step = tile >> halved, .height = (conv->out_h - first_row) >> halved, .width = conv->out_w >> halved,
        .out = (real *)arrays->out + image * out_strides[0] + (first_row >> halved) * out_strides[2],
        .strides = out_strides,
    };
    real *packed = scratch, *places = packed + conv->band_size, *spare = places + SIZE * SIZE * g.planes * g.pitch;
    int broken = 0;

    const __auto_type mode = flush_denormals();
    PC_NAME(conv_pack)(conv, (const real *)arrays->x + image * x_strides[0], x_strides, first_row, rows, 0, packed);
    switch (tile) {
#define TILE(T) case T: transform_input(T, conv, g, packed, places, spare); break;
        TILE(2) TILE(3) TILE(4) TILE(5)
#undef TILE
    }
    switch (4 * tile + 2 * (conv->pooled == 3) + halved) {
#define TILE(T, RELU, POOLED)                                                                                          \
    case 4 * T + 2 * RELU + POOLED:                                                                                    \
        broken = all_outputs(T, POOLED, outputs_##T##RELU##POOLED, conv, g, places, arrays->weights, arrays->bias,     \
                             &to, begin, end, spare);                                                                  \
        break;
        TILE(2, 0, 0) TILE(3, 0, 0) TILE(4, 0, 0) TILE(5, 0, 0)
        TILE(2, 1, 0) TILE(3, 1, 0) TILE(4, 1, 0) TILE(5, 1, 0)
        TILE(4, 0, 1)
#undef TILE
    }
    restore_denormals(mode);
    if (broken) arrays->broken[image] = 1; /* every thread that writes here writes the same */
}
