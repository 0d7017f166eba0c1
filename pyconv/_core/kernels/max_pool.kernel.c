/* Max pooling of one plane, as separable maxima: down the columns into a line of scratch, then along the line.
 *
 * Every input row is read once for each output row whose window holds it, straight from the cache, in vectors.
 * NaN wins over everything (max_or_nan).
 */
#include <math.h>

#include "kernels.h"
#include "vector.h"

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static real max_or_nan_1(real best, real x) { return x > best || x != x ? x : best; }

/* The taps of a window that lie inside [0, size): from begin up to end, where tap i is at start + i * dilation. */
static void inside(int64_t start, int64_t kernel, int64_t dilation, int64_t size, int64_t *begin, int64_t *end)
{
    *begin = start < 0 ? least((-start + dilation - 1) / dilation, kernel) : 0;
    *end = start < size ? least((size - 1 - start) / dilation + 1, kernel) : 0;
    *end = larger(*begin, *end);
}

/* line[i] = the largest of x[i], x[i + step], ... over count rows; up to a vector more of line is overwritten */
static void down(const real *x, int64_t step, int64_t count, int64_t column_stride, int64_t width, real *line)
{
    if (column_stride == 1) {
        int64_t i = 0;
        for (; i + LANES <= width; i += LANES) {
            vec best = load(x + i);
            for (int64_t j = 1; j < count; j++) best = max_or_nan(best, load(x + j * step + i));
            store(line + i, best);
        }
        if (i < width) {
            vec best = load_part(x + i, 0, width - i);
            for (int64_t j = 1; j < count; j++) best = max_or_nan(best, load_part(x + j * step + i, 0, width - i));
            store(line + i, best);
        }
        return;
    }
    for (int64_t i = 0; i < width; i++) {
        real best = x[i * column_stride];
        for (int64_t j = 1; j < count; j++) best = max_or_nan_1(best, x[j * step + i * column_stride]);
        line[i] = best;
    }
}

/* The even elements of the 2 * LANES ones at p. */
static inline vec evens(const real *p)
{
    return SHUFFLE(load(p), load(p + LANES), EVENS);
}

/* out[i] = the largest of line[i * stride], line[i * stride + dilation], ... over kernel places; up to two vectors
 * more of line are read. */
static void along(const real *line, int64_t stride, int64_t kernel, int64_t dilation, int64_t width, real *out)
{
    if (stride == 1) {
        for (int64_t i = 0; i < width; i += LANES) {
            vec best = load(line + i);
            for (int64_t k = 1; k < kernel; k++) best = max_or_nan(best, load(line + i + k * dilation));
            store_part(out + i, best, width - i);
        }
    } else if (stride == 2) {
        for (int64_t i = 0; i < width; i += LANES) {
            vec best = evens(line + 2 * i);
            for (int64_t k = 1; k < kernel; k++) best = max_or_nan(best, evens(line + 2 * i + k * dilation));
            store_part(out + i, best, width - i);
        }
    } else {
        for (int64_t i = 0; i < width; i++) {
            const real *window = line + i * stride;
            real best = window[0];
            for (int64_t k = 1; k < kernel; k++) best = max_or_nan_1(best, window[k * dilation]);
            out[i] = best;
        }
    }
}

/* Window by window, taps outside of the plane left out; with the place of each maximum where indices is given.
 * torch's choice: the first of equal elements, the last NaN. A window of -inf points at its first tap inside the plane;
 * one that has no element (padding and dilation can do that) at its first tap, moved into the plane. */
static void windows(const pc_pool *pool, const real *x, int64_t row_stride, int64_t column_stride, real *out,
                    int64_t *indices, int64_t first_row, int64_t end_row)
{
    for (int64_t oy = first_row; oy < end_row; oy++) {
        int64_t top, bottom;
        const int64_t y0 = oy * pool->stride_h - pool->pad_top;
        inside(y0, pool->kernel_h, pool->dilation_h, pool->in_h, &top, &bottom);
        for (int64_t ox = 0; ox < pool->out_w; ox++) {
            int64_t left, right;
            const int64_t x0 = ox * pool->stride_w - pool->pad_left;
            inside(x0, pool->kernel_w, pool->dilation_w, pool->in_w, &left, &right);
            const int empty = top == bottom || left == right;
            const int64_t first_y = least(larger(y0 + (empty ? 0 : top) * pool->dilation_h, 0), pool->in_h - 1);
            const int64_t first_x = least(larger(x0 + (empty ? 0 : left) * pool->dilation_w, 0), pool->in_w - 1);
            real best = -INFINITY;
            int64_t index = first_y * pool->in_w + first_x;
            for (int64_t i = top; i < bottom; i++) {
                const int64_t y = y0 + i * pool->dilation_h;
                for (int64_t k = left; k < right; k++) {
                    const int64_t column = x0 + k * pool->dilation_w;
                    const real value = x[y * row_stride + column * column_stride];
                    if (value > best || value != value) {
                        best = value;
                        index = y * pool->in_w + column;
                    }
                }
            }
            out[oy * pool->out_w + ox] = best;
            if (indices) indices[oy * pool->out_w + ox] = index;
        }
    }
}

void PC_NAME(max_pool_task)(const pc_pool *pool, const void *x_, int64_t row_stride, int64_t column_stride, void *out_,
                            int64_t first_row, int64_t end_row, void *scratch)
{
    const real *x = x_;
    real *out = out_, *line = scratch;
    if (!pool->line) {
        windows(pool, x, row_stride, column_stride, out, 0, first_row, end_row);
        return;
    }
    real *middle = line + pool->pad_left, *right = middle + pool->in_w;
    for (int64_t i = 0; i < pool->pad_left; i++) line[i] = -INFINITY;
    for (int64_t oy = first_row; oy < end_row; oy++) {
        int64_t top, bottom;
        const int64_t y0 = oy * pool->stride_h - pool->pad_top;
        inside(y0, pool->kernel_h, pool->dilation_h, pool->in_h, &top, &bottom);
        if (top == bottom) {
            for (int64_t i = 0; i < pool->in_w; i++) middle[i] = -INFINITY;
        } else {
            down(x + (y0 + top * pool->dilation_h) * row_stride, pool->dilation_h * row_stride, bottom - top,
                 column_stride, pool->in_w, middle);
        }
        /* after the middle, which is written in whole vectors */
        for (real *p = right; p < line + pool->line; p++) *p = -INFINITY;
        along(line, pool->stride_w, pool->kernel_w, pool->dilation_w, pool->out_w, out + oy * pool->out_w);
    }
}

/* Channels last: vectors run along channels, window by window. A row of results is gathered in scratch as
 * [pixel][channel] and written out channel by channel. */
void PC_NAME(max_pool_channels_task)(const pc_pool *pool, const void *x_, int64_t row_stride, int64_t column_stride,
                                     int64_t channels, void *out_, int64_t first_row, int64_t end_row, void *scratch)
{
    const real *x = x_;
    real *row = scratch;
    const int64_t plane = pool->out_h * pool->out_w;
    for (int64_t oy = first_row; oy < end_row; oy++) {
        int64_t top, bottom;
        const int64_t y0 = oy * pool->stride_h - pool->pad_top;
        inside(y0, pool->kernel_h, pool->dilation_h, pool->in_h, &top, &bottom);
        for (int64_t ox = 0; ox < pool->out_w; ox++) {
            int64_t left, right;
            const int64_t x0 = ox * pool->stride_w - pool->pad_left;
            inside(x0, pool->kernel_w, pool->dilation_w, pool->in_w, &left, &right);
            vec best = splat(-INFINITY);
            for (int64_t i = top; i < bottom; i++) {
                const real *line = x + (y0 + i * pool->dilation_h) * row_stride;
                for (int64_t k = left; k < right; k++) {
                    const real *from = line + (x0 + k * pool->dilation_w) * column_stride;
                    best = max_or_nan(best, channels == LANES ? load(from) : load_part(from, 0, channels));
                }
            }
            store(row + ox * LANES, best);
        }
        real *out = (real *)out_ + oy * pool->out_w;
        for (int64_t c = 0; c < channels; c++, out += plane) {
            for (int64_t ox = 0; ox < pool->out_w; ox++) out[ox] = row[ox * LANES + c];
        }
    }
}

void PC_NAME(max_pool_indices_task)(const pc_pool *pool, const void *x, int64_t row_stride, int64_t column_stride,
                                    void *out, int64_t *indices, int64_t first_row, int64_t end_row)
{
    windows(pool, x, row_stride, column_stride, out, indices, first_row, end_row);
}
