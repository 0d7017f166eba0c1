/* Max pooling with the place of each maximum.
 *
 * torch's choice: the first of equal elements, the last NaN. A window of -inf points at its first tap inside the plane; one
 * that has no element (padding and dilation can do that) at its first tap, moved into the plane.
 *
 * Vectors hold neighbouring windows of a row, or a window of neighbouring channels. An element takes the place of what was
 * found before if it is larger, or NaN; what lies outside of the plane is -inf, and never does.
 */
#include "pool_rows.h"

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

/* What was found, and where. */
INLINE void improve(vec *best, ivec *place, vec value, ivec at)
{
    const mask better = below(*best, value) | unordered(value, value);
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

/* The elements at, at + 1, ... of a row */
INLINE vec in_row(const real *row, int64_t at, int64_t width)
{
    if (at >= 0 && at + LANES <= width) return load(row + at);
    return load_lanes_or(row + at, lanes_between(-at, width - at), splat(-INFINITY));
}

/* A row of windows side by side, in steps of 1 or 2; first[i] is the column of window i's first tap in the plane. */
INLINE void places_row(int step, const pc_pool *pool, const piece *p, window rows, const integer *first, real *out,
                       int64_t *indices)
{
    const int64_t width = pool->w.in;
    ivec lanes;
    for (int64_t i = 0; i < LANES; i++) lanes[i] = (integer)(i * step);
    for (int64_t ox = 0; ox < pool->w.out; ox += LANES) {
        const int64_t start = ox * step - pool->w.before;
        vec best = splat(-INFINITY);
        ivec place = (ivec)load((const real *)(first + ox)) + same_place(rows.first * width);
        for (int64_t i = 0; i < rows.taps; i++) {
            const int64_t y = rows.first + i * pool->h.dilation;
            const real *row = p->x + y * p->row_stride;
            int64_t k = 0;
            if (step == 2 && pool->w.dilation == 1 && pool->w.kernel > 1) { /* the first two in one */
                const vec left = in_row(row, start, width), right = in_row(row, start + LANES, width);
                const ivec at = lanes + same_place(y * width + start);
                improve(&best, &place, SHUFFLE(left, right, EVENS), at);
                improve(&best, &place, SHUFFLE(left, right, ODDS), at + same_place(1));
                k = 2;
            }
            for (; k < pool->w.kernel; k++) {
                const int64_t at = start + k * pool->w.dilation;
                vec value = in_row(row, at, width);
                if (step == 2) value = SHUFFLE(value, in_row(row, at + LANES, width), EVENS);
                improve(&best, &place, value, lanes + same_place(y * width + at));
            }
        }
        store_part(out + ox, best, pool->w.out - ox);
        put_places(indices + ox, place, pool->w.out - ox);
    }
}

/* The same for a vector of channels, which are neighbours in memory, window by window: by way of two rows of scratch. */
static void channels_places_row(const pc_pool *pool, const pc_pool_arrays *arrays, const piece *p, window rows,
                                real *line, real *out, int64_t *indices)
{
    const int64_t width = pool->w.out, plane = pool->h.out * width;
    const lane_mask lanes = lanes_between(0, p->channels);
    real *places = line + pool->line / 2;
    for (int64_t ox = 0; ox < width; ox++) {
        const window columns = window_at(&pool->w, ox);
        const int64_t start = rows.taps && columns.taps ? rows.first * pool->w.in + columns.first
                                                        : rows.nearest * pool->w.in + columns.nearest;
        vec best = splat(-INFINITY);
        ivec place = same_place(start);
        for (int64_t i = 0; i < rows.taps; i++) {
            const int64_t y = rows.first + i * pool->h.dilation;
            for (int64_t k = 0; k < columns.taps; k++) {
                const int64_t column = columns.first + k * pool->w.dilation;
                const vec value = load_lanes(p->x + y * p->row_stride + column * p->column_stride, lanes);
                improve(&best, &place, value, same_place(y * pool->w.in + column));
            }
        }
        store(line + ox * LANES, best);
        store(places + ox * LANES, (vec)place);
    }
    put_channels(arrays, p, line, width, out);
    for (int64_t ox = 0; ox < width; ox += LANES) {
        vec square[LANES];
        UNROLL for (int64_t k = 0; k < LANES; k++) square[k] = load(places + (ox + k) * LANES);
        turn_square(square);
        UNROLL for (int64_t k = 0; k < LANES; k++)
        {
            if (k < p->channels) put_places(indices + k * plane + ox, (ivec)square[k], width - ox);
        }
    }
}

/* The first column in the plane of each of a row's windows; 0 if one has none. */
static int first_columns(const pc_pool *pool, integer *first)
{
    for (int64_t ox = 0; ox < pool->w.out; ox++) {
        const window columns = window_at(&pool->w, ox);
        if (!columns.taps) return 0;
        first[ox] = (integer)columns.first;
    }
    return 1;
}

void PC_NAME(max_places_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch)
{
    const int64_t step = pool->w.stride;
    const int vectors = pool->block == 1 && pool->line && first_columns(pool, scratch);
    for (piece p = first_piece(pool, arrays, task); p.left; next_piece(pool, arrays, &p)) {
        for (int64_t oy = p.first_row; oy < p.end_row; oy++) {
            const window rows = window_at(&pool->h, oy);
            real *out = p.out + oy * arrays->out_strides[2];
            int64_t *indices = p.indices + oy * pool->w.out;
            if (pool->block > 1) {
                channels_places_row(pool, arrays, &p, rows, scratch, out, indices);
            } else if (vectors && rows.taps && p.column_stride == 1) {
                if (step == 1) places_row(1, pool, &p, rows, scratch, out, indices);
                else places_row(2, pool, &p, rows, scratch, out, indices);
            } else {
                for (int64_t ox = 0; ox < pool->w.out; ox++)
                    out[ox] = one_place(pool, &p, rows, window_at(&pool->w, ox), indices + ox);
            }
        }
    }
}
