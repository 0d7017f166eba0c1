/* From pixels whose channels are neighbours to rows of planes: to[c * plane + j] = from[j * step + c]. */
#ifndef PYCONV_PLANES_H
#define PYCONV_PLANES_H

#include "deal.h"
#include "vector.h"

enum { MOST_DEALT = 4 }; /* channels of pixels without gaps that are dealt out */

/* Of whole vectors of pixels without gaps; how many pixels that were. */
INLINE int64_t deal_pixels(const real *from, const int channels, int64_t count, real *to, int64_t plane)
{
    int64_t j = 0;
    for (; j + LANES <= count; j += LANES) {
        vec part[MOST_DEALT];
        UNROLL for (int i = 0; i < channels; i++) part[i] = load(from + j * channels + i * LANES);
        UNROLL for (int c = 0; c < channels; c++) store(to + c * plane + j, every(part, channels, c));
    }
    return j;
}

/* LANES pixels or fewer of LANES channels or fewer; whole vectors are written. */
INLINE void turn_pixels(const real *from, int64_t step, const int channels, int64_t pixels, real *to, int64_t plane)
{
    const lane_mask lanes = lanes_between(0, channels);
    vec a[LANES];
    UNROLL for (int i = 0; i < LANES; i++)
    {
        const real *pixel = from + (i < pixels ? i : 0) * step;
        a[i] = channels < LANES ? load_lanes(pixel, lanes) : load(pixel);
    }
    turn_square(a);
    UNROLL for (int c = 0; c < LANES; c++)
    {
        if (c < channels) store(to + c * plane, a[c]);
    }
}

/* A row of `count` pixels. Its last vector in each plane is written as a whole. */
static void planes_of_row(const real *from, int64_t step, int64_t channels, int64_t count, real *to, int64_t plane)
{
    int64_t done = 0;
    if (step == channels && channels == 2) done = deal_pixels(from, 2, count, to, plane);
    if (step == channels && channels == 3) done = deal_pixels(from, 3, count, to, plane);
    if (step == channels && channels == 4) done = deal_pixels(from, 4, count, to, plane);
    for (; done < count; done += LANES) {
        const int64_t pixels = least(count - done, LANES);
        int64_t c = 0;
        for (; c + LANES <= channels; c += LANES) {
            turn_pixels(from + done * step + c, step, (int)LANES, pixels, to + c * plane + done, plane);
        }
        if (c < channels) {
            turn_pixels(from + done * step + c, step, (int)(channels - c), pixels, to + c * plane + done, plane);
        }
    }
}

#endif
