/* Direct convolution with vectors along output channels: nothing is packed, unless the pixels of a small image are turned
 * first, and taps that lie in the padding are left out. For images so small that vectors along their rows would be half
 * empty, and for channels-last images.
 *
 * Pixels whose valid taps are the same form tiles. Part after part of the weights, so small that it stays in the first
 * level of the cache, passes all tiles of a band of pixels; their sums wait in scratch, [pixel][channel], and are turned
 * into rows of the output at the end.
 */
#include <stddef.h>

#include "channels.h"
#include "conv.h"
#include "squares.h"

enum { LINE = CACHE_LINE / sizeof(int64_t), PAGE = 4096 / sizeof(real) };

/* In elements: where the first tap of the first output pixel lies, and how far the next row's and column's are from there. */
typedef struct {
    int64_t first, row, column;
} steps;

/* Where the first tap of every pixel of a band's tiles lies, in elements from the first of the image; it may lie before
 * the image, where nothing is read. */
static void find_offsets(const pc_channels *conv, const steps *to, int64_t band, int64_t *offsets)
{
    int64_t pixel = -1, y = 0, column = -1; /* most pixels follow the one before: divisions take longer than the rest */
    for (int64_t t = conv->band_tiles[band]; t < conv->band_tiles[band + 1]; t++, offsets += MOST_PIXELS) {
        const pc_channels_tile *tile = conv->tiles + t;
        for (int64_t p = 0; p < tile->count; p++) {
            const int64_t last = pixel;
            pixel = band * conv->pixels + tile->pixels[p];
            if (pixel == last + 1 && column + 1 < conv->out_w) {
                column++;
            } else {
                y = pixel / conv->out_w, column = pixel % conv->out_w;
            }
            offsets[p] = to->first + y * to->row + column * to->column;
        }
    }
}

/* Go on to the kernel's first place, from (row i, column j) on, that the tile's pixels see; 0: there is none. */
static int seek(const pc_channels_tile *tile, int64_t *i, int64_t *j)
{
    if (*i < tile->row) *i = tile->row, *j = 0;
    if (*j >= tile->end_column) ++*i, *j = 0;
    if (*j < tile->column) *j = tile->column;
    return *i < tile->end_row;
}

/* One band of pixels for one block of output channels: its sums, [pixel][channel]. offsets has the place in the input
 * of the first tap of every pixel of every tile, in or out of the image; places, from there, that of every tap. */
static void run_band(const pc_channels *conv, const real *x, int64_t channel_stride, int64_t band, const int64_t *offsets,
                     const int64_t *places, int64_t vectors, const real *weights, const real *bias, real *sums)
{
    const int64_t width = vectors * LANES, taps = conv->kernel_h * conv->kernel_w;
    const pc_channels_tile *tiles = conv->tiles + conv->band_tiles[band];
    const int64_t count = conv->band_tiles[band + 1] - conv->band_tiles[band];
    /* pixels of one tap, each of a page of its own: no stream that the processor would find */
    const int far = taps == 1 && (channel_stride <= -PAGE || channel_stride >= PAGE);
    /* bytes of the next weights that a tile fetches for each channel of a tap; of a few at a time none waits for others */
    const int64_t fetches = conv->spreads && !far ? least(width * (int64_t)sizeof(real) / count + 1, FETCHED) : FETCHED;
    channel_tile *const *runs = PC_NAME(channel_tiles)[vectors - 1];
    for (int64_t c = 0; c < conv->in_channels; c += conv->chunk) {
        const int64_t channels = least(conv->in_channels - c, conv->chunk);
        for (int64_t first = 0; first < taps; first += conv->places) {
            const int64_t end = least(taps, first + conv->places);
            const int64_t first_row = first / conv->kernel_w, first_column = first % conv->kernel_w;
            const int64_t part = (end - first) * channels * width;
            /* the tiles that pass, or the first of them, fetch the part of the weights that comes next */
            const char *next = (const char *)(weights + part);
            const char *next_end = next + part * (int64_t)sizeof(real);
            for (int64_t t = 0; t < count; t++) {
                const pc_channels_tile *tile = tiles + t;
                const real *inputs[MOST_PIXELS];
                real *to[MOST_PIXELS];
                for (int64_t p = 0; p < tile->count; p++) {
                    inputs[p] = x + (offsets[t * MOST_PIXELS + p] + c * channel_stride);
                    to[p] = sums + tile->pixels[p] * width;
                }
                const int whole = tile->end_column - tile->column == conv->kernel_w; /* rows, which are one run of places */
                for (int64_t i = first_row, j = first_column; seek(tile, &i, &j); i++, j = 0) {
                    const int64_t place = i * conv->kernel_w + j;
                    int64_t past = whole ? tile->end_row * conv->kernel_w : place - j + tile->end_column;
                    if (past > end) past = end;
                    if (place >= past) break;
                    const int is_first = c == 0 && i == tile->row && j == tile->column;
                    const char *fetched = next;
                    int64_t step = next < next_end ? fetches : 0;
                    if (!step && far && t + 1 < count) { /* then the pixels of the next tile */
                        fetched = (const char *)(x + (offsets[(t + 1) * MOST_PIXELS] + c * channel_stride));
                        step = channel_stride * (int64_t)sizeof(real);
                    }
                    runs[tile->count - 1](inputs, places + place, past - place, channel_stride, channels,
                                          weights + (place - first) * channels * width, is_first ? bias : NULL, to, fetched,
                                          step);
                    if (next < next_end) next += (past - place) * channels * fetches;
                    if (whole) break;
                }
            }
            weights += part;
        }
    }
}

/* Whether an image of which the convolution sees no more than a line is one line in memory, too. */
static int is_line(const pc_channels *conv, const int64_t *strides)
{
    return strides[2] == conv->out_w * strides[3];
}

/* Pixels first .. end - 1 of an image that is one line, for one block, in squares; 0: there are too few, or the arrays do
 * not lie so. The last square begins earlier, and does again what the one before has done. */
static int run_squares(const pc_channels *conv, const real *x, const int64_t *x_strides, int64_t first, int64_t end,
                       int64_t vectors, const real *weights, const real *bias, int64_t channels, real *out,
                       const int64_t *out_strides)
{
    const int64_t step = x_strides[3];
    const int lines = is_line(conv, x_strides) && is_line(conv, out_strides) && out_strides[3] == 1;
    if (end - first < LANES || x_strides[1] != 1 || !lines) return 0;
    for (int64_t q = first; q < end; q += LANES) {
        const int64_t at = least(q, end - LANES);
        PC_NAME(channel_square)(x + at * step, step, conv->in_channels, weights, vectors * LANES, bias, channels, out + at,
                                out_strides[1]);
    }
    return 1;
}

/* Of the channels of the only block, which fill half of its last vector or less, how many are computed in pairs: one and a
 * half vectors of them, if there are more than half a vector. */
static int64_t channels_in_pairs(int64_t channels)
{
    return channels > LANES ? (channels - 1) % LANES + 1 + LANES : channels;
}

#if defined(__AVX512F__)
/* Pixels first .. end - 1 for so many channels, in pairs, wherever the pixels lie: the sums have an order of their own,
 * in which no other kernel takes them. */
static void run_pairs(const pc_channels *conv, const real *x, const int64_t *x_strides, int64_t first, int64_t end,
                      int64_t vectors, const real *weights, const real *bias, int64_t channels, real *out,
                      const int64_t *out_strides, real *zipped)
{
    const int lines = is_line(conv, x_strides) && is_line(conv, out_strides);
    const int64_t zips = channels > LANES / 2 ? 3 : 1; /* vectors of a pair's weights */
    PC_NAME(zip_pairs)(weights, vectors * LANES, conv->in_channels, bias, zips, zipped);
    for (int64_t pixel = first, run; pixel < end; pixel += run) {
        const int64_t row = pixel / conv->out_w, column = pixel % conv->out_w;
        run = lines ? end - pixel : least(conv->out_w - column, end - pixel);
        const real *from = x + row * x_strides[2] + column * x_strides[3];
        PC_NAME(channel_pairs)(run, zips, from, x_strides[3], conv->in_channels, zipped, channels,
                               out + row * out_strides[2] + column, out_strides[1]);
    }
}
#endif

/* Elements 0, 2, 4 ... of a row, `some` of them and zeros behind; what is behind the last is not touched. */
INLINE vec load_evens(const real *from, int64_t some)
{
    const int64_t end = 2 * some - 1;
    return even_of(load_part(from, 0, end), load_part(from + LANES, 0, end - LANES));
}

/* The pixels first .. past - 1 that a 1x1 kernel sees in every second column, turned so that the channels of each are
 * neighbours: turned[i * pitch + c]. */
static void turn_every_second_pixel(const pc_channels *conv, const real *x, const int64_t *x_strides, int64_t first,
                                    int64_t past, real *turned, int64_t pitch)
{
    for (int64_t pixel = first, some; pixel < past; pixel += some, turned += some * pitch) {
        const int64_t row = pixel / conv->out_w, column = pixel % conv->out_w;
        some = least(least(conv->out_w - column, past - pixel), LANES);
        const real *from = x + row * conv->stride_h * x_strides[2] + column * 2;
        for (int64_t c = 0; c < conv->in_channels; c += LANES) {
            const int64_t channels = least(conv->in_channels - c, LANES);
            vec square[LANES];
            UNROLL for (int k = 0; k < LANES; k++)
            {
                square[k] = k < channels ? load_evens(from + (c + k) * x_strides[1], some) : splat(0);
            }
            turn_square(square);
            UNROLL for (int p = 0; p < LANES; p++)
            {
                if (p < some) store(turned + p * pitch + c, square[p]); /* a pixel has room for whole vectors */
            }
        }
    }
}

/* A block of output channels: its vectors, BLOCK_VECTORS at most, its first channel and how many it has. */
typedef struct {
    int64_t vectors, first, channels;
} channel_block;

static channel_block find_block(const pc_channels *conv, int64_t block)
{
    const int64_t all_vectors = (conv->out_channels + LANES - 1) / LANES, vector = all_vectors * block / conv->blocks;
    const int64_t vectors = all_vectors * (block + 1) / conv->blocks - vector, first = vector * LANES;
    return (channel_block){vectors, first, least(conv->out_channels - first, vectors * LANES)};
}

void PC_NAME(channels_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    /* task = ((image * groups + group) * parts + part of the bands) * shares + share of the blocks */
    const pc_channels *conv = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    const int64_t share = task % conv->shares, part = task / conv->shares % conv->parts;
    const int64_t group = task / (conv->shares * conv->parts) % conv->groups;
    const int64_t image = task / (conv->shares * conv->parts * conv->groups);
    const int64_t first_block = conv->blocks * share / conv->shares;
    const int64_t blocks = conv->blocks * (share + 1) / conv->shares - first_block;
    const int64_t first_band = conv->bands * part / conv->parts;
    const int64_t bands = conv->bands * (part + 1) / conv->parts - first_band;
    const int64_t all_vectors = (conv->out_channels + LANES - 1) / LANES;
    const int64_t most_vectors = (all_vectors + conv->blocks - 1) / conv->blocks; /* of a block */
    const int64_t taps = conv->in_channels * conv->kernel_h * conv->kernel_w;
    const int64_t pixels = conv->out_h * conv->out_w, past = least((first_band + bands) * conv->pixels, pixels);
    const real *x = (const real *)arrays->x + image * x_strides[0] + group * conv->in_channels * x_strides[1];
    const real *weights = (const real *)arrays->weights + group * all_vectors * LANES * taps;
    const real *bias = (const real *)arrays->bias + group * all_vectors * LANES;
    real *out = (real *)arrays->out + image * out_strides[0] + group * conv->out_channels * out_strides[1];
    int64_t *offsets = scratch, *places = offsets + conv->most_tiles * MOST_PIXELS;
    real *sums = (real *)(places + (conv->kernel_h * conv->kernel_w + LINE - 1) / LINE * LINE);
    const __auto_type mode = flush_denormals();
    for (int64_t i = 0; i < conv->kernel_h; i++) {
        for (int64_t j = 0; j < conv->kernel_w; j++) {
            places[i * conv->kernel_w + j] = i * conv->dilation_h * x_strides[2] + j * conv->dilation_w * x_strides[3];
        }
    }
    /* an odd number of cache lines, so that the pixels of a tile spread over the sets */
    const int64_t line = CACHE_LINE / sizeof(real), pitch = ((conv->in_channels + line - 1) / line | 1) * line;
    int64_t channel_stride = x_strides[1];
    steps to = {-conv->pad_top * x_strides[2] - conv->pad_left * x_strides[3], conv->stride_h * x_strides[2],
                conv->stride_w * x_strides[3]};
    if (conv->squares == 2 && x_strides[3] == 1 && (conv->stride_w == 2 || is_line(conv, x_strides))) {
        real *turned = sums + conv->pixels * most_vectors * LANES;
        const int64_t start = first_band * conv->pixels;
        if (conv->stride_w == 2) {
            turn_every_second_pixel(conv, x, x_strides, start, past, turned, pitch);
        } else {
            PC_NAME(conv_pack_panel)(x + start, x_strides[1], conv->in_channels, past - start, conv->in_channels, turned, pitch);
        }
        x = turned - start * pitch, channel_stride = 1, to = (steps){0, conv->out_w * pitch, pitch};
    }
    int64_t in_squares = 0; /* blocks that are done so: all or none */
    for (; conv->squares % 2 == 1 && in_squares < blocks; in_squares++) {
        const channel_block block = find_block(conv, first_block + in_squares);
        const int64_t channels = block.channels - (conv->squares == 3 ? channels_in_pairs(block.channels) : 0);
        if (channels && !run_squares(conv, x, x_strides, first_band * conv->pixels, past, block.vectors,
                                     weights + block.first * taps, bias + block.first, channels,
                                     out + block.first * out_strides[1], out_strides)) {
            break;
        }
    }
    /* the weights of one block pass all bands before the next, or all weights one band */
    for (int64_t i = 0; i < blocks * bands && !in_squares; i++) {
        const channel_block block = find_block(conv, first_block + (conv->band_stays ? i % blocks : i / bands));
        const int64_t band = first_band + (conv->band_stays ? i / blocks : i % bands);
        const int64_t first = band * conv->pixels, count = least(pixels - first, conv->pixels);
        find_offsets(conv, &to, band, offsets);
        run_band(conv, x, channel_stride, band, offsets, places, block.vectors, weights + block.first * taps,
                 bias + block.first, sums);
        write_rows(sums, block.vectors * LANES, first, count, block.channels, conv->out_w,
                   out + block.first * out_strides[1], out_strides);
    }
#if defined(__AVX512F__)
    for (int64_t i = 0; i < blocks && conv->squares == 3; i++) {
        const channel_block block = find_block(conv, first_block + i);
        const int64_t last = channels_in_pairs(block.channels), before = block.channels - last;
        run_pairs(conv, x, x_strides, first_band * conv->pixels, past, block.vectors,
                  weights + block.first * taps + before, bias + block.first + before, last,
                  out + (block.first + before) * out_strides[1], out_strides, sums + conv->pixels * most_vectors * LANES);
    }
#endif
    restore_denormals(mode);
}
