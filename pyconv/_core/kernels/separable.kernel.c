/* Convolution by kernels that are the product of a column and a row, as those of images often are: down the columns,
 * and then along the rows.
 *
 * The image is cut into strips of columns, so that what is between the two passes stays near. Four lines of a strip are
 * summed down together and share their loads, and each is then summed along its row, with zeros where the padding is on
 * the left and right; rows above and below are rows of zeros. Kernels of one row are summed along the image's own rows.
 */
#include <string.h>

#include "kernels.h"
#include "vector.h"

enum { ROWS = 4, WIDE = 8 }; /* lines that are summed down together; vectors that are summed along together */

/* Input row r, from one place on, to the lines first .. last that it belongs to. */
static inline __attribute__((always_inline)) void input_row(const real *row, const real *weights, int64_t r,
                                                            const int first, const int last, const int vectors,
                                                            int64_t count, vec (*sum)[2])
{
    vec pixels[2];
    UNROLL for (int v = 0; v < vectors; v++)
    {
        pixels[v] = count ? load_part(row + v * LANES, 0, count - v * LANES) : load(row + v * LANES);
    }
    UNROLL for (int o = first; o <= last; o++)
    {
        const vec weight = splat(weights[r - o]);
        UNROLL for (int v = 0; v < vectors; v++) sum[o][v] += pixels[v] * weight;
    }
}

/* A block of lines x vectors; of the pixels of the vectors `count` are there, all if it is 0. */
static inline __attribute__((always_inline)) void down_block(const real *const *rows, const real *weights,
                                                             int64_t height, const int lines, const int vectors,
                                                             int64_t at, int64_t count, real *to, int64_t pitch)
{
    vec sum[ROWS][2];
    UNROLL for (int o = 0; o < lines; o++)
    {
        UNROLL for (int v = 0; v < vectors; v++) sum[o][v] = splat(0);
    }
    int64_t r = 0;
    if (lines == ROWS) { /* the rows that are not everybody's, each written out; there are at least ROWS - 1 others */
        input_row(rows[0] + at, weights, 0, 0, 0, vectors, count, sum);
        input_row(rows[1] + at, weights, 1, 0, 1, vectors, count, sum);
        input_row(rows[2] + at, weights, 2, 0, 2, vectors, count, sum);
        for (r = ROWS - 1; r < height; r++) input_row(rows[r] + at, weights, r, 0, 3, vectors, count, sum);
        input_row(rows[r] + at, weights, r, 1, 3, vectors, count, sum);
        input_row(rows[r + 1] + at, weights, r + 1, 2, 3, vectors, count, sum);
        input_row(rows[r + 2] + at, weights, r + 2, 3, 3, vectors, count, sum);
    } else {
        for (; r < height; r++) input_row(rows[r] + at, weights, r, 0, 0, vectors, count, sum);
    }
    UNROLL for (int o = 0; o < lines; o++)
    {
        UNROLL for (int v = 0; v < vectors; v++) store(to + o * pitch + at + v * LANES, sum[o][v]);
    }
}

/* Lines of `columns` sums down the columns of some rows. */
static inline __attribute__((always_inline)) void down(const real *const *rows, const real *weights, int64_t height,
                                                       const int lines, int64_t columns, real *to, int64_t pitch)
{
    int64_t at = 0;
    for (; columns - at >= 2 * LANES; at += 2 * LANES) down_block(rows, weights, height, lines, 2, at, 0, to, pitch);
    for (; at < columns; at += LANES) down_block(rows, weights, height, lines, 1, at, columns - at, to, pitch);
}

#if defined(__AVX512F__)
/* The elements from n on of two vectors that follow one another. A load that is not aligned takes two cycles, a shift
 * one: of four taps that are neighbours, three are shifted out of what was loaded for the first. */
#if PC_F64
#define FOLLOWING(a, b, n) (vec) _mm512_alignr_epi64((__m512i)(b), (__m512i)(a), n)
#else
#define FOLLOWING(a, b, n) (vec) _mm512_alignr_epi32((__m512i)(b), (__m512i)(a), n)
#endif
#define SHIFTED(n)                                                                                                  \
    UNROLL for (int v = 0; v < vectors; v++)                                                                        \
    {                                                                                                               \
        sum[v] += FOLLOWING(pixels[v], pixels[v + 1], n) * splat(weights[j + n]);                                    \
    }
#endif

/* Vectors of a row of outputs from a line, `count` real ones; lanes that are not zero where one is not finite. Where there
 * are `edges`, the line has the elements begin .. end - 1, and zeros elsewhere. */
#define PIXELS(at) (edges ? load_part(line + (at), begin - (at), end - (at)) : load(line + (at)))
static inline __attribute__((always_inline)) ivec along(const real *line, const int edges, int64_t begin, int64_t end,
                                                        const real *weights, int64_t width, const int vectors, real bias,
                                                        real *out, int64_t count)
{
    vec sum[WIDE];
    UNROLL for (int v = 0; v < vectors; v++) sum[v] = splat(bias);
    int64_t j = 0;
#if defined(__AVX512F__)
    for (; j + 4 <= width; j += 4) {
        vec pixels[WIDE + 1];
        UNROLL for (int v = 0; v <= vectors; v++) pixels[v] = PIXELS(j + v * LANES);
        UNROLL for (int v = 0; v < vectors; v++) sum[v] += pixels[v] * splat(weights[j]);
        SHIFTED(1) SHIFTED(2) SHIFTED(3)
    }
#endif
    for (; j < width; j++) {
        const vec weight = splat(weights[j]);
        UNROLL for (int v = 0; v < vectors; v++) sum[v] += PIXELS(j + v * LANES) * weight;
    }
    vec all = sum[0];
    UNROLL for (int v = 1; v < vectors; v++) all += sum[v];
    UNROLL for (int v = 0; v < vectors; v++)
    {
        if (count > v * LANES) store_part(out + v * LANES, sum[v], count - v * LANES);
    }
    return (all - all) != splat(0); /* inf and NaN are not zero even then */
}

/* A row of `count` outputs from a line. */
static ivec along_line(const real *line, const real *weights, int64_t width, real bias, real *out, int64_t count)
{
    ivec broken = {0};
    int64_t at = 0;
    for (; count - at >= WIDE * LANES; at += WIDE * LANES) {
        broken |= along(line + at, 0, 0, 0, weights, width, WIDE, bias, out + at, WIDE * LANES);
    }
    for (; count > at; at += 4 * LANES) broken |= along(line + at, 0, 0, 0, weights, width, 4, bias, out + at, count - at);
    return broken;
}

/* The same from a row of the image, of which the line's elements begin .. end - 1 are there: nothing is copied. */
static ivec along_row(const real *line, int64_t begin, int64_t end, const real *weights, int64_t width, real bias, real *out,
                      int64_t count)
{
    ivec broken = {0};
    for (int64_t at = 0; at < count; at += WIDE * LANES, line += WIDE * LANES, begin -= WIDE * LANES, end -= WIDE * LANES) {
        const int64_t left = count - at, most = WIDE * LANES;
        if (begin <= 0 && (WIDE + 1) * LANES + width <= end && left >= most) {
            broken |= along(line, 0, 0, 0, weights, width, WIDE, bias, out + at, most);
        } else if (left > 4 * LANES) {
            broken |= along(line, 1, begin, end, weights, width, WIDE, bias, out + at, left < most ? left : most);
        } else {
            broken |= along(line, 1, begin, end, weights, width, 4, bias, out + at, left);
        }
    }
    return broken;
}

/* Output rows first .. end of a strip of a plane, x being its first row. */
static ivec filter_strip(const pc_depthwise *conv, const real *x, int64_t row_stride, const real *weights, real bias,
                         real *out, int64_t out_stride, int64_t first, int64_t end, int64_t column, real *lines,
                         const real *zeros, const real **rows)
{
    const int64_t count = conv->out_w - column < conv->tile ? conv->out_w - column : conv->tile, pitch = conv->row_size;
    /* the line's places begin .. stop lie in the image */
    const int64_t before = conv->pad_left - column, begin = before > 0 ? before : 0;
    const int64_t reach = count + conv->kernel_w - 1, edge = conv->in_w + before, stop = edge < reach ? edge : reach;
    ivec broken = {0};
    if (conv->kernel_h == 1) { /* whose column is 1 */
        for (int64_t y = first; y < end; y++) {
            const int64_t at = y - conv->pad_top;
            const int inside = at >= 0 && at < conv->in_h;
            const real *line = inside ? x + at * row_stride - before : zeros;
            broken |= along_row(line, inside ? begin : 0, inside ? edge : 0, weights + 1, conv->kernel_w, bias,
                                out + y * out_stride + column, count);
        }
        return broken;
    }
    const int many = end - first >= ROWS && conv->kernel_h >= ROWS - 1;
    memset(lines, 0, (size_t)((many ? ROWS : 1) * pitch) * sizeof(real));
    for (int64_t y = first; y < end;) {
        if (many && end - y < ROWS) y = end - ROWS; /* the last rows once more: the same result */
        const int64_t height = many ? ROWS : 1;
        for (int64_t r = 0; r < conv->kernel_h + height - 1; r++) {
            const int64_t at = y - conv->pad_top + r;
            rows[r] = at >= 0 && at < conv->in_h ? x + at * row_stride + (begin - before) : zeros;
        }
        if (many) {
            down(rows, weights, conv->kernel_h, ROWS, stop - begin, lines + begin, pitch);
        } else {
            down(rows, weights, conv->kernel_h, 1, stop - begin, lines + begin, pitch);
        }
        for (int64_t o = 0; o < height; o++) {
            broken |= along_line(lines + o * pitch, weights + conv->kernel_h, conv->kernel_w, bias,
                                 out + (y + o) * out_stride + column, count);
        }
        y += height;
    }
    return broken;
}

void PC_NAME(separable_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    /* task = part of the planes of all images * bands + band */
    const pc_depthwise *conv = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    const int64_t band = task % conv->bands, part = task / conv->bands;
    const int64_t first_plane = conv->units * part / conv->parts, end_plane = conv->units * (part + 1) / conv->parts;
    const int64_t first = conv->out_h * band / conv->bands, end = conv->out_h * (band + 1) / conv->bands;
    /* scratch: the lines, a row of zeros, pointers to input rows */
    real *lines = scratch, *zeros = lines + ROWS * conv->row_size;
    const real **rows = (const real **)(zeros + conv->row_size);
    memset(zeros, 0, (size_t)conv->row_size * sizeof(real));
    const __auto_type mode = flush_denormals();
    for (int64_t plane = first_plane; plane < end_plane; plane++) {
        const int64_t image = plane / conv->out_channels, channel = plane % conv->out_channels;
        const real *x = (const real *)arrays->x + image * x_strides[0] + channel / conv->multiplier * x_strides[1];
        const real *weights = (const real *)arrays->weights + channel * (conv->kernel_h + conv->kernel_w);
        real *out = (real *)arrays->out + image * out_strides[0] + channel * out_strides[1];
        ivec broken = {0};
        for (int64_t column = 0; column < conv->out_w; column += conv->tile) {
            broken |= filter_strip(conv, x, x_strides[2], weights, ((const real *)arrays->bias)[channel], out,
                                   out_strides[2], first, end, column, lines, zeros, rows);
        }
        for (int64_t i = 0; i < LANES; i++) {
            if (broken[i]) arrays->broken[image] = 1; /* every thread that writes here writes the same */
        }
    }
    restore_denormals(mode);
}
