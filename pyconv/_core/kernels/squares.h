/* From vectors of channels, [pixel][channel], to planes: squares of LANES pixels and channels are turned in registers. */
#ifndef PYCONV_SQUARES_H
#define PYCONV_SQUARES_H

#include "vector.h"

enum { FEW_PIXELS = 2 }; /* so few are quicker put down one by one than turned */

/* A square of sums, [pixel][channel], turned into rows of pixels: to[k * channel_stride + p] */
static inline void write_square(const real *sums, int64_t pitch, int64_t pixels, int64_t channels, real *to,
                                int64_t channel_stride)
{
    if (pixels <= FEW_PIXELS) {
        for (int64_t p = 0; p < pixels; p++) {
            for (int64_t k = 0; k < channels; k++) to[k * channel_stride + p] = sums[p * pitch + k];
        }
        return;
    }
    vec a[LANES];
    UNROLL for (int i = 0; i < LANES; i++) a[i] = load(sums + (i < pixels ? i : 0) * pitch);
    turn_square(a);
    if (pixels == LANES && channels == LANES) {
        UNROLL for (int i = 0; i < LANES; i++) store(to + i * channel_stride, a[i]);
    } else {
        UNROLL for (int i = 0; i < LANES; i++)
        {
            if (i < channels) store_part(to + i * channel_stride, a[i], pixels);
        }
    }
}

/* The sums of the pixels first .. first + count - 1, in the order of rows, to where they belong. */
static inline void write_rows(const real *sums, int64_t pitch, int64_t first, int64_t count, int64_t channels,
                              int64_t out_w, real *out, const int64_t *out_strides)
{
    /* rows without gaps are one row */
    const int64_t row_pixels = out_strides[2] == out_w ? first + count : out_w;
    for (int64_t done = 0; done < count;) {
        const int64_t row = (first + done) / row_pixels, column = (first + done) % row_pixels;
        int64_t run = row_pixels - column < count - done ? row_pixels - column : count - done;
        if (run > LANES) run = LANES;
        for (int64_t k = 0; k < channels; k += LANES) {
            write_square(sums + done * pitch + k, pitch, run, channels - k < LANES ? channels - k : LANES,
                         out + k * out_strides[1] + row * out_strides[2] + column, out_strides[1]);
        }
        done += run;
    }
}

#endif
