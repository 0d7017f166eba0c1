/* Pooled pixels of vectors of channels, which are neighbours in memory: windows of channels-last images.
 *
 * kind says what is merged and is a constant to the compiler. */
#ifndef PYCONV_POOL_CHANNELS_H
#define PYCONV_POOL_CHANNELS_H

#include "pool_rows.h"

enum { CHANNEL_VECTORS = 4 }; /* that are merged side by side: as many sums that do not wait for each other */

/* Where a window begins, and how its elements lie. */
typedef struct {
    const real *first;
    int64_t row_step, column_step;
    int64_t rows, columns;
} window_of_pixels;

INLINE window_of_pixels pixels_of(const pc_pool *pool, const piece *p, window rows, window columns)
{
    return (window_of_pixels){p->x + rows.first * p->row_stride + columns.first * p->column_stride,
                              pool->h.dilation * p->row_stride, pool->w.dilation * p->column_stride, rows.taps,
                              columns.taps};
}

/* A part of a row of a window: FOLDED terms of each sum. */
INLINE void add_channels(int kind, int vectors, int whole, const real *from, int64_t step, int64_t count, lane_mask lanes,
                         vec *all)
{
    vec part[CHANNEL_VECTORS];
    UNROLL for (int v = 0; v < vectors; v++) part[v] = splat(0);
    for (int64_t k = 0; k < count; k++, from += step) {
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const vec found = whole ? load_once(from + v * LANES) : load_lanes_or(from, lanes, splat(0));
            part[v] = merge(kind, part[v], found);
        }
    }
    UNROLL for (int v = 0; v < vectors; v++) all[v] += part[v];
}

/* The window of some vectors of channels, as below, of sums with many terms: parts of a row, then rows, then FOLDED rows. */
INLINE void merge_many_channels(int kind, int vectors, int whole, window_of_pixels w, int64_t channel, lane_mask lanes,
                                vec *all)
{
    UNROLL for (int v = 0; v < vectors; v++) all[v] = splat(0);
    for (int64_t i = 0; i < w.rows;) {
        vec rows[CHANNEL_VECTORS];
        UNROLL for (int v = 0; v < vectors; v++) rows[v] = splat(0);
        for (const int64_t end = least(i + FOLDED, w.rows); i < end; i++) {
            const real *from = w.first + i * w.row_step + channel;
            vec row[CHANNEL_VECTORS];
            UNROLL for (int v = 0; v < vectors; v++) row[v] = splat(0);
            for (int64_t k = 0; k < w.columns; k += FOLDED) {
                add_channels(kind, vectors, whole, from + k * w.column_step, w.column_step, least(FOLDED, w.columns - k),
                             lanes, row);
            }
            UNROLL for (int v = 0; v < vectors; v++) rows[v] += row[v];
        }
        UNROLL for (int v = 0; v < vectors; v++) all[v] += rows[v];
    }
}

/* The window of some vectors of channels from channel on, merged row by row; lanes are for a part of a vector. */
INLINE void merge_channels(int kind, int vectors, int whole, window_of_pixels w, int64_t channel, lane_mask lanes, vec *all,
                           vec *seen)
{
    if (is_sum(kind) && w.rows * w.columns > FOLDED) {
        merge_many_channels(kind, vectors, whole, w, channel, lanes, all);
        return;
    }
    UNROLL for (int v = 0; v < vectors; v++) all[v] = splat(start_of(kind));
    for (int64_t i = 0; i < w.rows; i++) {
        const real *from = w.first + i * w.row_step + channel;
        for (int64_t k = 0; k < w.columns; k++, from += w.column_step) {
            UNROLL for (int v = 0; v < vectors; v++)
            {
                const vec found = whole ? load_once(from + v * LANES) : load_lanes_or(from, lanes, splat(start_of(kind)));
                look(kind, found, seen + v);
                all[v] = merge(kind, all[v], found);
            }
        }
    }
}

/* One window of some channels, to where they lie side by side. seen: as many as CHANNEL_VECTORS. */
INLINE void channels_pixel(int kind, window_of_pixels w, int64_t channel, int64_t channels, share by, real *out, vec *seen)
{
    const int last = then(kind);
    const lane_mask lanes = lanes_between(0, channels % LANES);
    vec all[CHANNEL_VECTORS];
    int64_t c = 0;
    for (; c + CHANNEL_VECTORS * LANES <= channels; c += CHANNEL_VECTORS * LANES) {
        merge_channels(kind, CHANNEL_VECTORS, 1, w, channel + c, lanes, all, seen);
        UNROLL for (int v = 0; v < CHANNEL_VECTORS; v++) store(out + c + v * LANES, finished(last, all[v], by));
    }
    for (; c + LANES <= channels; c += LANES) {
        merge_channels(kind, 1, 1, w, channel + c, lanes, all, seen);
        store(out + c, finished(last, all[0], by));
    }
    if (c == channels) return;
    merge_channels(kind, 1, 0, w, channel + c, lanes, all, seen);
    store_part(out + c, finished(last, all[0], by), channels - c);
}

/* A row of pixels of up to a vector of channels, row[pixel * LANES + channel], to each channel's row of pixels. The row is
 * filled up to a multiple of LANES pixels. */
static inline void turn_channels(real *row, int64_t channels, int64_t width, real *out, int64_t plane)
{
    for (int64_t i = 0; i < width; i += LANES) {
        vec square[LANES];
        UNROLL for (int64_t k = 0; k < LANES; k++) square[k] = load(row + (i + k) * LANES);
        turn_square(square);
        if (channels == LANES && i + LANES <= width) {
            UNROLL for (int64_t k = 0; k < LANES; k++) store(out + k * plane + i, square[k]);
        } else {
            UNROLL for (int64_t k = 0; k < LANES; k++)
            {
                if (k < channels) store_part(out + k * plane + i, square[k], width - i);
            }
        }
    }
}

/* What the sums of a window are divided by. */
typedef share (*share_at)(const pc_pool *pool, window rows, window columns);

static inline share undivided(const pc_pool *pool, window rows, window columns)
{
    (void)pool, (void)rows, (void)columns;
    return share_of(1);
}

/* One output row of all channels of a piece: to pixels of channels side by side or, by way of the line, to each channel's
 * row of pixels. */
INLINE void channels_row(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, int64_t oy,
                         share_at share, real *line, vec *seen)
{
    const window rows = window_at(&pool->h, oy);
    const int64_t width = pool->w.out, plane = arrays->out_strides[1];
    real *out = p->out + oy * arrays->out_strides[2];
    if (plane == 1) {
        for (int64_t ox = 0; ox < width; ox++, out += arrays->out_strides[3]) {
            const window columns = window_at(&pool->w, ox);
            channels_pixel(kind, pixels_of(pool, p, rows, columns), 0, p->channels, share(pool, rows, columns), out, seen);
            if (kind == SQUARES) root_row(p->channels, out);
        }
        return;
    }
    for (int64_t c = 0; c < p->channels; c += LANES) {
        const int64_t channels = least(LANES, p->channels - c);
        for (int64_t ox = 0; ox < width; ox++) {
            const window columns = window_at(&pool->w, ox);
            real *pixel = line + ox * LANES;
            channels_pixel(kind, pixels_of(pool, p, rows, columns), c, channels, share(pool, rows, columns), pixel, seen);
            if (kind == SQUARES) root_row(channels, pixel);
        }
        turn_channels(line, channels, width, out + c * plane, plane);
    }
}

#endif
