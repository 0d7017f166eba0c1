/* Max pooling with the place of each maximum.
 *
 * torch's choice: the first of equal elements, the last NaN. A window of -inf points at its first tap inside the plane; one
 * that has no element (padding and dilation can do that) at its first tap, moved into the plane.
 *
 * Vectors hold neighbouring windows of a row, or a window of neighbouring channels. An element takes the place of what was
 * found before if it is larger; what lies outside of the plane is -inf, and never does. Rows are taken as if there were no
 * NaN, which is looked for on the way; where there is one, they are taken again.
 */
#include "pool_channels.h"
#include "pool_places.h"

static real one_place(const pc_pool *pool, const piece *p, window rows, window columns, int64_t *index)
{
    real best = -INFINITY;
    if (rows.taps && columns.taps) *index = rows.first * pool->w.in + columns.first;
    else *index = rows.nearest * pool->w.in + columns.nearest;
    for (int64_t i = 0; i < rows.taps; i++) {
        const int64_t y = rows.first + i * pool->h.dilation;
        for (int64_t k = 0; k < columns.taps; k++) {
            const int64_t column = columns.first + k * pool->w.dilation;
            const real value = p->x[y * p->row_stride + column * p->column_stride];
            if (value > best || value != value) {
                best = value;
                *index = y * pool->w.in + column;
            }
        }
    }
    return best;
}

/* A row of windows side by side in any steps, with NaN: each element where it comes in its window. first[i] is the column of
 * window i's first tap in the plane, relative to where it begins. */
static void nan_places_row(const pc_pool *pool, const piece *p, window rows, const integer *first, real *out,
                           int64_t *indices)
{
    const int64_t in = pool->w.in, stride = pool->w.stride;
    vec seen = splat(0);
    for (int64_t ox = 0; ox < pool->w.out; ox += LANES) {
        const int64_t start = ox * stride - pool->w.before;
        vec best = splat(-INFINITY);
        ivec place = (ivec)load((const real *)(first + ox));
        for (int64_t i = 0; i < rows.taps; i++) {
            const real *row = p->x + (rows.first + i * pool->h.dilation) * p->row_stride;
            for (int64_t k = 0; k < pool->w.kernel; k++) {
                const int64_t at = start + k * pool->w.dilation;
                vec value = load_lanes_or(row + at, lanes_between(-at, in - at), splat(-INFINITY));
                if (stride == 2) {
                    const int64_t more = at + LANES;
                    value = even_of(value, load_lanes_or(row + more, lanes_between(-more, in - more), splat(-INFINITY)));
                }
                improve(MAXIMUM, &best, &place, value, same_place(i * pool->h.dilation * in + k * pool->w.dilation), &seen);
            }
        }
        store_part(out + ox, best, pool->w.out - ox);
        put_places(indices + ox, place + lanes_apart(stride) + same_place(rows.first * in + start), pool->w.out - ox);
    }
}

/* The maximum of each column of a row of windows, and its place, to two lines; what is around the plane is nothing. */
static void places_down(const pc_pool *pool, const piece *p, window rows, real *line, integer *places, vec *seen)
{
    const int64_t in = pool->w.in, before = pool->w.before, line_length = pool->line / 2;
    const real *x = p->x + rows.first * p->row_stride;
    const ivec nowhere = same_place(NOWHERE);
    for (int64_t i = 0; i < before; i += LANES) {
        store(line + i, splat(-INFINITY));
        store((real *)(places + i), (vec)nowhere);
    }
    for (int64_t i = 0; i < in; i += LANES) {
        const lane_mask lanes = lanes_between(0, in - i);
        vec best = load_lanes_or(x + i, lanes, splat(-INFINITY));
        ivec place = lanes_apart(1) + same_place(rows.first * in + i), at = place;
        look(NUMBERS, best, seen);
        for (int64_t j = 1; j < rows.taps; j++) {
            const real *row = x + j * pool->h.dilation * p->row_stride;
            at += same_place(pool->h.dilation * in);
            improve(NUMBERS, &best, &place, load_lanes_or(row + i, lanes, splat(-INFINITY)), at, seen);
        }
        store(line + before + i, best);
        store((real *)(places + before + i), (vec)place);
    }
    int64_t i = before + in;
    for (; i + LANES <= line_length; i += LANES) {
        store(line + i, splat(-INFINITY));
        store((real *)(places + i), (vec)nowhere);
    }
    for (; i < line_length; i++) line[i] = -INFINITY, places[i] = NOWHERE;
}

/* A row of windows by way of the lines, where each begins in the plane or before it. */
static void places_along(const pc_pool *pool, const real *line, const integer *places, real *out, int64_t *indices)
{
    const pc_pool_axis *w = &pool->w;
    if (w->adaptive || w->stride > 2) {
        for (int64_t ox = 0; ox < w->out; ox++) {
            const window columns = window_at(w, ox);
            int64_t best = w->before + columns.first;
            for (int64_t k = 1; k < columns.taps; k++) {
                const int64_t at = w->before + columns.first + k * w->dilation;
                if (line[at] > line[best] || (line[at] == line[best] && places[at] < places[best])) best = at;
            }
            out[ox] = line[best], indices[ox] = places[best];
        }
        return;
    }
    for (int64_t ox = 0; ox < w->out; ox += LANES) {
        vec best = splat(-INFINITY);
        ivec place = same_place(NOWHERE);
        for (int64_t k = 0; k < w->kernel; k++) {
            const int64_t at = ox * w->stride + k * w->dilation;
            vec value = load(line + at), where = load((const real *)(places + at));
            if (w->stride == 2) {
                value = SHUFFLE(value, load(line + at + LANES), EVENS);
                where = SHUFFLE(where, load((const real *)(places + at + LANES)), EVENS);
            }
            improve_with(&best, &place, value, (ivec)where);
        }
        store_part(out + ox, best, w->out - ox);
        put_places(indices + ox, place, w->out - ox);
    }
}

/* One window of some vectors of channels from channel on; places are relative to the first tap in the plane. */
INLINE void merge_places(int kind, int vectors, int whole, window_of_pixels w, int64_t channel, lane_mask lanes,
                         int64_t down, int64_t across, vec *best, ivec *place, vec *seen)
{
    UNROLL for (int v = 0; v < vectors; v++) best[v] = splat(-INFINITY), place[v] = same_place(0);
    for (int64_t i = 0; i < w.rows; i++) {
        const real *from = w.first + i * w.row_step + channel;
        for (int64_t k = 0; k < w.columns; k++, from += w.column_step) {
            const ivec at = same_place(i * down + k * across);
            UNROLL for (int v = 0; v < vectors; v++)
            {
                const vec value = whole ? load_once(from + v * LANES) : load_lanes_or(from, lanes, splat(-INFINITY));
                improve(kind, best + v, place + v, value, at, seen);
            }
        }
    }
}

/* One window of some channels: values to where they lie side by side, and so the places. */
INLINE void channels_places(int kind, const pc_pool *pool, const piece *p, window rows, window columns, int64_t channel,
                            int64_t channels, real *out, int64_t *indices, vec *seen)
{
    const window_of_pixels w = pixels_of(pool, p, rows, columns);
    const int64_t down = pool->h.dilation * pool->w.in, across = pool->w.dilation;
    const int inside = rows.taps && columns.taps;
    const ivec start = same_place(inside ? rows.first * pool->w.in + columns.first
                                         : rows.nearest * pool->w.in + columns.nearest);
    const lane_mask lanes = lanes_between(0, channels % LANES);
    vec best[2];
    ivec place[2];
    int64_t c = 0;
    for (; c + 2 * LANES <= channels; c += 2 * LANES) {
        merge_places(kind, 2, 1, w, channel + c, lanes, down, across, best, place, seen);
        UNROLL for (int v = 0; v < 2; v++)
        {
            store(out + c + v * LANES, best[v]);
            put_places(indices + c + v * LANES, place[v] + start, LANES);
        }
    }
    for (; c < channels; c += LANES) {
        if (c + LANES <= channels) merge_places(kind, 1, 1, w, channel + c, lanes, down, across, best, place, seen);
        else merge_places(kind, 1, 0, w, channel + c, lanes, down, across, best, place, seen);
        store_part(out + c, best[0], channels - c);
        put_places(indices + c, place[0] + start, channels - c);
    }
}

/* One output row of all channels of a piece: values as channels_row has them, places with channels side by side. */
INLINE void channels_places_row(int kind, const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, int64_t oy,
                                real *line, vec *seen)
{
    const window rows = window_at(&pool->h, oy);
    const int64_t width = pool->w.out, plane = arrays->out_strides[1], step = arrays->index_strides[3];
    real *out = p->out + oy * arrays->out_strides[2];
    int64_t *indices = p->indices + oy * arrays->index_strides[2];
    if (plane == 1) {
        for (int64_t ox = 0; ox < width; ox++)
            channels_places(kind, pool, p, rows, window_at(&pool->w, ox), 0, p->channels, out + ox * arrays->out_strides[3],
                            indices + ox * step, seen);
        return;
    }
    for (int64_t c = 0; c < p->channels; c += LANES) {
        const int64_t channels = least(LANES, p->channels - c);
        for (int64_t ox = 0; ox < width; ox++)
            channels_places(kind, pool, p, rows, window_at(&pool->w, ox), c, channels, line + ox * LANES,
                            indices + ox * step + c, seen);
        turn_channels(line, channels, width, out + c * plane, plane);
    }
}

/* For each of a row's windows the first column in the plane, relative to where it begins; 0 if one has none. */
static int first_columns(const pc_pool *pool, integer *first)
{
    for (int64_t ox = 0; ox < pool->w.out; ox++) {
        const window columns = window_at(&pool->w, ox);
        if (!columns.taps) return 0;
        first[ox] = (integer)(columns.first - ox * pool->w.stride + pool->w.before);
    }
    return 1;
}

static int every_window_has_columns(const pc_pool *pool)
{
    for (int64_t ox = 0; ox < pool->w.out; ox++)
        if (!window_at(&pool->w, ox).taps) return 0;
    return 1;
}

/* One output row of a plane. */
static void plane_row(const pc_pool *pool, const piece *p, window rows, void *scratch, real *out, int64_t *indices)
{
    const int64_t half = pool->line / 2;
    vec seen = splat(0);
    if (pool->small) {
        small_places_row(pool, p, rows, out, indices, &seen);
        if (!saw_nan(seen)) return;
    } else {
        places_down(pool, p, rows, scratch, (integer *)scratch + half, &seen);
        if (!saw_nan(seen)) {
            places_along(pool, scratch, (integer *)scratch + half, out, indices);
            return;
        }
    }
    if (!pool->w.adaptive && pool->w.stride <= 2 && first_columns(pool, scratch)) {
        nan_places_row(pool, p, rows, scratch, out, indices);
        return;
    }
    for (int64_t ox = 0; ox < pool->w.out; ox++)
        out[ox] = one_place(pool, p, rows, window_at(&pool->w, ox), indices + ox);
}

void PC_NAME(max_places_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch)
{
    int vectors = pool->block == 1 && pool->line;
    if (vectors) vectors = every_window_has_columns(pool);
    for (piece p = first_piece(pool, arrays, task); p.left; next_piece(pool, arrays, &p)) {
        for (int64_t oy = p.first_row; oy < p.end_row; oy++) {
            if (pool->block > 1) {
                vec seen = splat(0), again = seen;
                channels_places_row(NUMBERS, pool, arrays, &p, oy, scratch, &seen);
                if (saw_nan(seen)) channels_places_row(MAXIMUM, pool, arrays, &p, oy, scratch, &again);
                continue;
            }
            const window rows = window_at(&pool->h, oy);
            real *out = p.out + oy * arrays->out_strides[2];
            int64_t *indices = p.indices + oy * arrays->index_strides[2];
            if (vectors && rows.taps && p.column_stride == 1) {
                plane_row(pool, &p, rows, scratch, out, indices);
            } else {
                for (int64_t ox = 0; ox < pool->w.out; ox++)
                    out[ox * arrays->out_strides[3]] = one_place(pool, &p, rows, window_at(&pool->w, ox),
                                                                 indices + ox * arrays->index_strides[3]);
            }
        }
    }
}
