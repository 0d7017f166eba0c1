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

INLINE ivec same_place(int64_t place) { return (ivec){0} + (integer)place; }

/* An element that comes later in the window than what was found: kind NUMBERS if it is no NaN. */
INLINE void improve(int kind, vec *best, ivec *place, vec value, ivec at, vec *seen)
{
    const mask better = kind == NUMBERS ? below(*best, value) : below(*best, value) | unordered(value, value);
    look(kind, value, seen);
    /* the same but for NaN, and the next maximum need not wait for the comparison */
    *best = kind == NUMBERS ? greater_of(value, *best) : pick(better, value, *best);
    *place = (ivec)pick(better, (vec)at, (vec)*place);
}

/* A maximum of a part of the window, no NaN: of equal ones that with the lower place stays. */
INLINE void improve_with(vec *best, ivec *place, vec value, ivec at)
{
    const mask better = below(*best, value) | (equal(*best, value) & below_bits(at, *place));
    *best = pick(better, value, *best);
    *place = (ivec)pick(better, (vec)at, (vec)*place);
}

static inline void put_places(int64_t *indices, ivec places, int64_t count)
{
    if (count >= LANES) {
        for (int64_t i = 0; i < LANES; i++) indices[i] = places[i];
    } else {
        for (int64_t i = 0; i < count; i++) indices[i] = places[i];
    }
}

/* Places of the lanes, step apart. */
INLINE ivec lanes_apart(int64_t step)
{
    ivec lanes;
    for (int64_t i = 0; i < LANES; i++) lanes[i] = (integer)(i * step);
    return lanes;
}

/* The elements at, at + 1, ... of a row; all of them lie in it if whole. */
INLINE vec in_row(int whole, const real *row, int64_t at, int64_t width)
{
    if (whole || (at >= 0 && at + LANES <= width)) return load_once(row + at);
    return load_lanes_or(row + at, lanes_between(-at, width - at), splat(-INFINITY));
}

/* A vector of windows in steps of 1 or 2 whose first columns are start, start + step, ...; places are relative to each
 * window's first tap of the first row. width: of the windows, or 0 for any. */
INLINE void windows_places(int kind, int step, int width, int whole, const pc_pool *pool, const piece *p, window rows,
                           int64_t start, vec *best, ivec *place, vec *seen)
{
    const int64_t in = pool->w.in, gap = width ? 1 : pool->w.dilation, taps = width ? width : pool->w.kernel;
    for (int64_t i = 0; i < rows.taps; i++) {
        const real *row = p->x + (rows.first + i * pool->h.dilation) * p->row_stride;
        const int64_t down = i * pool->h.dilation * in;
        int64_t k = 0;
        if (step == 2 && width) { /* the first two in one */
            const vec left = in_row(whole, row, start, in), right = in_row(whole, row, start + LANES, in);
            improve(kind, best, place, SHUFFLE(left, right, EVENS), same_place(down), seen);
            improve(kind, best, place, SHUFFLE(left, right, ODDS), same_place(down + 1), seen);
            k = 2;
        }
        for (; k < taps; k++) {
            const int64_t at = start + k * gap;
            vec value = in_row(whole, row, at, in);
            if (step == 2) value = SHUFFLE(value, in_row(whole, row, at + LANES, in), EVENS);
            improve(kind, best, place, value, same_place(down + k * gap), seen);
        }
    }
}

/* A row of windows side by side, in steps of 1 or 2; first[i] is the column of window i's first tap in the plane, relative
 * to where it begins. */
INLINE void places_row(int kind, int step, int width, const pc_pool *pool, const piece *p, window rows,
                       const integer *first, real *out, int64_t *indices, vec *seen)
{
    const int64_t in = pool->w.in, reach = step * LANES + (pool->w.kernel - 1) * pool->w.dilation + step;
    const ivec lanes = lanes_apart(step);
    for (int64_t ox = 0; ox < pool->w.out; ox += LANES) {
        const int64_t start = ox * step - pool->w.before;
        vec best = splat(-INFINITY);
        ivec place = (ivec)load((const real *)(first + ox));
        const int whole = start >= 0 && start + reach <= in;
        if (whole) windows_places(kind, step, width, 1, pool, p, rows, start, &best, &place, seen);
        else windows_places(kind, step, width, 0, pool, p, rows, start, &best, &place, seen);
        store_part(out + ox, best, pool->w.out - ox);
        put_places(indices + ox, place + lanes + same_place(rows.first * in + start), pool->w.out - ox);
    }
}

INLINE void small_places_row(int kind, const pc_pool *pool, const piece *p, window rows, const integer *first, real *out,
                             int64_t *indices, vec *seen)
{
#define OF(step, width) places_row(kind, step, width, pool, p, rows, first, out, indices, seen)
    const int64_t width = kind == NUMBERS && pool->w.dilation == 1 ? pool->w.kernel : 0;
    if (pool->w.stride == 1) {
        if (width == 2) OF(1, 2);
        else if (width == 3) OF(1, 3);
        else OF(1, 0);
    } else {
        if (width == 2) OF(2, 2);
        else if (width == 3) OF(2, 3);
        else OF(2, 0);
    }
#undef OF
}

/* The maximum of each column of a row of windows, and its place, to two lines; what is around the plane is nothing. */
static void places_down(const pc_pool *pool, const piece *p, window rows, real *line, integer *places, vec *seen)
{
    const int64_t in = pool->w.in, before = pool->w.before, line_length = pool->line / 2;
    const real *x = p->x + rows.first * p->row_stride;
    const ivec nowhere = same_place(INT32_MAX);
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
    for (; i < line_length; i++) line[i] = -INFINITY, places[i] = INT32_MAX;
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
        ivec place = same_place(INT32_MAX);
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
    vec seen = splat(0), again = seen;
    if (pool->small) {
        small_places_row(NUMBERS, pool, p, rows, scratch, out, indices, &seen);
        if (saw_nan(seen)) small_places_row(MAXIMUM, pool, p, rows, scratch, out, indices, &again);
        return;
    }
    places_down(pool, p, rows, scratch, (integer *)scratch + half, &seen);
    if (!saw_nan(seen)) {
        places_along(pool, scratch, (integer *)scratch + half, out, indices);
        return;
    }
    if (!pool->w.adaptive && pool->w.stride <= 2 && first_columns(pool, scratch)) {
        small_places_row(MAXIMUM, pool, p, rows, scratch, out, indices, &again);
        return;
    }
    for (int64_t ox = 0; ox < pool->w.out; ox++)
        out[ox] = one_place(pool, p, rows, window_at(&pool->w, ox), indices + ox);
}

void PC_NAME(max_places_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch)
{
    int vectors = pool->block == 1 && pool->line;
    if (vectors) vectors = pool->small ? first_columns(pool, scratch) : every_window_has_columns(pool);
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
