/* The softmax family: exp(x - largest) / sum of exp(x - largest), or x - largest - log(sum).
 *
 * Three passes: the largest, the sum, the result. Differences and sums are carried with what their rounding loses: exp
 * magnifies an error of its argument, and a long sum collects them. So the result's error does not grow with the length
 * or with the distance to the largest element. Vectors run across lines, of which several are neighbours in memory; or,
 * where the elements of a line are neighbours, along each, and then the lanes of LANES lines are put together for all
 * at once. Short lines are turned first, so that vectors run across them too.
 */
#include <math.h>

#include "exponential.h"
#include "kernels.h"

#if PC_F64
#define LEAST_NORMAL_EXP (-708.5) /* below log of the smallest normal number, by less than n can tell */
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdLL
#define GRID 0x1.8p20 /* adding it rounds to a multiple of 2**-32, the last bit of LOG2_HIGH */
#define FAR_FROM_ZERO 0x1p18
#define BELOW_ONE 0x1.fffffffffffffp-1
#else
#define LEAST_NORMAL_EXP (-87.4f)
#define SQRT_HALF_BITS 0x3f3504f3
#define GRID 0x1.8p14f /* of 2**-9 */
#define FAR_FROM_ZERO 0x1p12f
#define BELOW_ONE 0x1.fffffep-1f
#endif

enum {
    TOGETHER = 16,            /* vectors of neighbouring lines that pass together: whole pieces of memory pages */
    SIDE_BY_SIDE = 4,         /* vectors whose exponentials are computed at once: none waits for another */
    ROWS = 8,                 /* of them, that are in the first level of the cache meanwhile */
    SHORT = 3,                /* up to so many vectors, lines are turned, and vectors run across them */
    ELEMENTS_AT_ONCE = 32768, /* of lines along which vectors run: they stay in the second level of the cache */
};

/* The largest element of a line as origin + grid + rest, so that x - origin - (grid + n * LOG2_HIGH) loses nothing that
 * matters: a largest one far from zero is the origin, and differences to it are exact down to where exp is zero; of
 * another one the multiple of the last bit of LOG2_HIGH is taken together with n * LOG2_HIGH, which is exact. And the
 * number of log(2) in grid + rest, rounded down. */
typedef struct {
    vec largest, least, origin, grid, rest, powers;
} line_top;

static inline line_top top_of(vec largest)
{
    const mask far = beyond(largest, splat(FAR_FROM_ZERO));
    const vec near = pick(far, splat(0), largest), grid = (near + splat(GRID)) - splat(GRID);
    return (line_top){
        .largest = largest,
        .least = largest + splat(LEAST_NORMAL_EXP),
        .origin = pick(far, largest, splat(0)),
        .grid = grid,
        .rest = near - grid,
        .powers = (near * splat(INVERSE_LOG2) + splat(ROUNDER - (real)0.5)) - splat(ROUNDER),
    };
}

static inline line_top top_of_lane(const line_top *tops, int64_t lane)
{
    return (line_top){
        .largest = splat(tops->largest[lane]),
        .least = splat(tops->least[lane]),
        .origin = splat(tops->origin[lane]),
        .grid = splat(tops->grid[lane]),
        .rest = splat(tops->rest[lane]),
        .powers = splat(tops->powers[lane]),
    };
}

/* exp(x - largest), zero where that is below the normal numbers; NaN if x or the largest is NaN */
static inline vec exp_below(vec x, const line_top *top)
{
    const vec n = (x - top->largest) * splat(INVERSE_LOG2) + splat(ROUNDER), whole = n - splat(ROUNDER);
    const vec high = (x - top->origin) - (whole * splat(LOG2_HIGH) + top->grid);
    const vec r = high - (whole * splat(LOG2_LOW) + top->rest);
    const vec value = (polynomial(r, expm1_terms) * r + splat(1)) * r + splat(1);
    return pick(below(x, top->least), splat(0), raised(value, n));
}

/* The same times a number between 1 and 2 that a line's elements have in common: a power of two takes the place of
 * exp(largest), and needs no arithmetic of its own. n may be in the thousands, so that n * LOG2_LOW must not be rounded:
 * where FUSES. */
static inline vec exp_below_scaled(vec x, const line_top *top)
{
    const vec y = x - top->origin, n = y * splat(INVERSE_LOG2) + splat(ROUNDER), whole = n - splat(ROUNDER);
    const vec r = subtract_product(whole, splat(LOG2_LOW), subtract_product(whole, splat(LOG2_HIGH), y));
    const vec value = (polynomial(r, expm1_terms) * r + splat(1)) * r + splat(1);
    return pick(below(x, top->least), splat(0), raised(value, n - top->powers));
}

/* A sum with what its rounding loses. Of a logarithm near zero the ones are counted by themselves: beside them all of a
 * sum of small numbers would be what rounding loses, and would collect errors of its own. Another sum begins with a
 * number that is not less than any that is added, so that Dekker's will do. */
typedef struct {
    vec high, low, ones;
} line_sum;

enum { BEGINNING = 2 };

static inline line_sum empty_sum(int logarithm)
{
    return (line_sum){splat(logarithm ? 0 : BEGINNING), splat(0), splat(0)};
}

static inline line_sum added(int logarithm, line_sum sum, vec x)
{
    const two more = logarithm ? exact_difference(sum.high, -x) : exact_sum(sum.high, x);
    return (line_sum){more.high, sum.low + more.low, sum.ones};
}

/* Take ones out of count vectors, which belong to the sums by turns; there are few. */
INLINE void count_ones(vec *v, int count, line_sum *sums, int vectors)
{
    mask one = below(splat(BELOW_ONE), v[0]);
    UNROLL for (int k = 1; k < count; k++) one |= below(splat(BELOW_ONE), v[k]);
    if (!any(one)) return;
    UNROLL for (int k = 0; k < count; k++)
    {
        one = below(splat(BELOW_ONE), v[k]);
        sums[k / vectors].ones += pick(one, splat(1), splat(0));
        v[k] = pick(one, splat(0), v[k]);
    }
}

/* What was lost becomes part of the sum, before there is so much of it that it is rounded itself. */
static inline line_sum settled(line_sum sum)
{
    const two same = exact_sum(sum.high, sum.low);
    return (line_sum){same.high, same.low, sum.ones};
}

static inline line_sum both(line_sum a, line_sum b)
{
    const two sum = exact_difference(a.high, -b.high);
    return (line_sum){sum.high, sum.low + (a.low + b.low), a.ones + b.ones};
}

/* The whole sum, of so many that were begun; at least 1, since one of the elements is the largest */
static inline two total(int logarithm, line_sum sum, real begun)
{
    const vec rest = logarithm ? -sum.ones : splat(BEGINNING * begun);
    const two all = exact_difference(sum.high, rest);
    return exact_sum(all.high, all.low + sum.low);
}

/* log(sum) for sum >= 1 */
static inline vec log_of(two sum)
{
    const ivec n = ((ivec)sum.high - bits_of((integer)SQRT_HALF_BITS)) >> MANTISSA_BITS;
    const vec scale = (vec)((bits_of(EXPONENT_BIAS) - n) << MANTISSA_BITS), exponent = __builtin_convertvector(n, vec);
    const vec m = sum.high * scale, f = m - splat(1), inverse = splat(1) / m;
    const vec rest = f * log1p_by(f) + (sum.low * scale * inverse + exponent * splat(LOG2_LOW));
    return exponent * splat(LOG2_HIGH) + rest + (sum.high - sum.high); /* NaN stays */
}

/* What the last pass takes from each element, or multiplies it by */
static inline vec last_factor(int logarithm, two sum)
{
    return logarithm ? log_of(sum) : splat(1) / sum.high;
}

/* x - largest - log_sum. The rounding of the difference is no more than half a unit of the result, which is farther
 * from zero. */
static inline vec logarithm_of(vec x, vec largest, vec log_sum) { return (x - largest) - log_sum; }

/* The lanes of LANES lines put together two by two, until a lane is left of each: a[0], its lanes in the order of the
 * lines. Vectors are zipped, so that every operation works on full ones. */
#define MERGE(name, type, operation, ZIPPED)                                                                        \
    static inline type name(type a[LANES])                                                                          \
    {                                                                                                               \
        UNROLL for (int step = LANES / 2; step > 0; step /= 2)                                                      \
        {                                                                                                           \
            UNROLL for (int i = 0; i < step; i++)                                                                   \
            {                                                                                                       \
                a[i] = operation(ZIPPED(a, i, step, ZIP_LOW), ZIPPED(a, i, step, ZIP_HIGH));                        \
            }                                                                                                       \
        }                                                                                                           \
        return a[0];                                                                                                \
    }
#define ZIPPED_VEC(a, i, step, ORDER) SHUFFLE(a[i], a[i + step], ORDER)
#define ZIPPED_SUM(a, i, step, ORDER)                                                                                 \
    (line_sum){SHUFFLE(a[i].high, a[i + step].high, ORDER), SHUFFLE(a[i].low, a[i + step].low, ORDER),               \
               SHUFFLE(a[i].ones, a[i + step].ones, ORDER)}
MERGE(largest_of_each, vec, greater_of, ZIPPED_VEC)
MERGE(sum_of_each, line_sum, both, ZIPPED_SUM)

/* How elements are read */
typedef struct {
    ivec sign;       /* the sign bit, where elements are taken negative */
    int64_t part;    /* lanes of a vector that is not full */
    lane_mask lanes; /* these */
    vec none;        /* what becomes -infinity by the sign: no largest one and no sum sees it */
} reading;

static inline reading reading_of(const pc_axis *axis, int64_t part)
{
    return (reading){
        .sign = axis->negative ? (ivec)splat((real)-0.0) : (ivec){0},
        .part = part,
        .lanes = lanes_between(0, part),
        .none = splat(axis->negative ? INFINITY : -INFINITY),
    };
}

static inline vec elements(const reading *how, int partly, const real *x)
{
    return (vec)((ivec)(partly ? load_lanes_or(x, how->lanes, how->none) : load(x)) ^ how->sign);
}

static inline void put(const reading *how, int partly, real *out, vec v)
{
    if (partly) {
        store_part(out, v, how->part);
    } else {
        store(out, v);
    }
}

/* exp of lines * vectors vectors, added to the sums: in each line in the order of its elements, so that it does not
 * matter how many lines are taken at once. step: from a vector to the line's next */
INLINE void exps_at_once(const reading *how, int partly, int logarithm, int lines, int vectors, int64_t step,
                         const real *x, real *out, const line_top *tops, line_sum *sums)
{
    vec v[SIDE_BY_SIDE];
    UNROLL for (int k = 0; k < lines * vectors; k++)
    {
        v[k] = elements(how, partly, x + k / vectors * LANES + k % vectors * step);
    }
    UNROLL for (int k = 0; k < lines * vectors; k++)
    {
        v[k] = logarithm || !FUSES ? exp_below(v[k], tops + k / vectors) : exp_below_scaled(v[k], tops + k / vectors);
    }
    if (logarithm) count_ones(v, lines * vectors, sums, vectors);
    UNROLL for (int k = 0; k < lines * vectors; k++) sums[k / vectors] = added(logarithm, sums[k / vectors], v[k]);
    if (logarithm) return;
    UNROLL for (int k = 0; k < lines * vectors; k++)
    {
        put(how, partly, out + k / vectors * LANES + k % vectors * step, v[k]);
    }
}

/* The same of up to ROWS vectors of a line, or of lines that are neighbours: 1 or SIDE_BY_SIDE vectors of these. */
INLINE void exps(const reading *how, int partly, int logarithm, int lines, int64_t count, int64_t step, const real *x,
                 real *out, const line_top *tops, line_sum *sums)
{
    const int vectors = SIDE_BY_SIDE / lines;
    line_sum sum[SIDE_BY_SIDE];
    UNROLL for (int k = 0; k < lines; k++) sum[k] = sums[k];
    int64_t i = 0;
    for (; i + vectors <= count; i += vectors) {
        exps_at_once(how, partly, logarithm, lines, vectors, step, x + i * step, out + i * step, tops, sum);
    }
    for (; i < count; i++) {
        exps_at_once(how, partly, logarithm, lines, 1, step, x + i * step, out + i * step, tops, sum);
    }
    UNROLL for (int k = 0; k < lines; k++) sums[k] = settled(sum[k]);
}

/* The last pass: a vector becomes what is asked for. */
INLINE void result(const reading *how, int partly, int logarithm, const real *x, real *out, vec largest, vec factor)
{
    if (logarithm) {
        put(how, partly, out, logarithm_of(elements(how, partly, x), largest, factor));
    } else {
        put(how, partly, out, (partly ? load_lanes(out, how->lanes) : load(out)) * factor);
    }
}

/* Up to LANES lines whose elements are neighbours. */
INLINE void along_lines(const pc_axis *axis, int logarithm, int64_t count, const real *x, real *out)
{
    const int64_t length = axis->length, whole = length / LANES, last = whole * LANES;
    const reading how = reading_of(axis, length - last);
    vec lanes[LANES];
    line_sum sums[LANES];
    for (int64_t k = 0; k < LANES; k++) lanes[k] = splat(-INFINITY), sums[k] = empty_sum(logarithm);
    for (int64_t k = 0; k < count; k++) {
        const real *line = x + k * length;
        for (int64_t i = 0; i < last; i += LANES) lanes[k] = greater_of(elements(&how, 0, line + i), lanes[k]);
        if (how.part) lanes[k] = greater_of(elements(&how, 1, line + last), lanes[k]);
    }
    const line_top tops = top_of(largest_of_each(lanes));

    for (int64_t k = 0; k < count; k++) {
        const line_top top = top_of_lane(&tops, k);
        const real *line = x + k * length;
        real *to = out + k * length;
        for (int64_t i = 0; i < whole; i += ROWS) {
            const int64_t place = i * LANES, rows = least(ROWS, whole - i);
            exps(&how, 0, logarithm, 1, rows, LANES, line + place, to + place, &top, sums + k);
        }
        if (how.part) exps(&how, 1, logarithm, 1, 1, 0, line + last, to + last, &top, sums + k);
    }
    real factors[LANES];
    store(factors, last_factor(logarithm, total(logarithm, sum_of_each(sums), LANES)));

    for (int64_t k = 0; k < count; k++, x += length, out += length) {
        const vec largest = splat(tops.largest[k]), factor = splat(factors[k]);
        for (int64_t i = 0; i < last; i += LANES) result(&how, 0, logarithm, x + i, out + i, largest, factor);
        if (how.part) result(&how, 1, logarithm, x + last, out + last, largest, factor);
    }
}

/* Neighbouring lines: so many vectors, or one of which not all lanes. step: from an element to the next of its line */
INLINE void across_lines(const pc_axis *axis, int logarithm, int64_t step, int partly, int64_t vectors, int64_t lanes,
                         const real *x, real *out)
{
    const int64_t length = axis->length;
    const reading how = reading_of(axis, lanes);
    vec largest[TOGETHER];
    line_top tops[TOGETHER];
    line_sum sums[TOGETHER];
    for (int64_t v = 0; v < vectors; v++) largest[v] = splat(-INFINITY), sums[v] = empty_sum(logarithm);
    for (int64_t i = 0; i < length; i++) {
        for (int64_t v = 0; v < vectors; v++) {
            largest[v] = greater_of(elements(&how, partly, x + i * step + v * LANES), largest[v]);
        }
    }
    for (int64_t v = 0; v < vectors; v++) tops[v] = top_of(largest[v]);
    for (int64_t i = 0; i < length; i += ROWS) {
        const int64_t rows = least(ROWS, length - i);
        const real *from = x + i * step;
        real *to = out + i * step;
        int64_t v = 0;
        for (; v + SIDE_BY_SIDE <= vectors; v += SIDE_BY_SIDE) {
            const int64_t place = v * LANES;
            exps(&how, partly, logarithm, SIDE_BY_SIDE, rows, step, from + place, to + place, tops + v, sums + v);
        }
        for (; v < vectors; v++) {
            exps(&how, partly, logarithm, 1, rows, step, from + v * LANES, to + v * LANES, tops + v, sums + v);
        }
    }
    vec factors[TOGETHER];
    for (int64_t v = 0; v < vectors; v++) factors[v] = last_factor(logarithm, total(logarithm, sums[v], 1));
    for (int64_t i = 0; i < length; i++) {
        for (int64_t v = 0; v < vectors; v++) {
            const int64_t place = i * step + v * LANES;
            result(&how, partly, logarithm, x + place, out + place, largest[v], factors[v]);
        }
    }
}

/* Up to LANES lines whose elements are neighbours, of at most SHORT vectors: turned, then across, then turned back. */
INLINE void along_short_lines(const pc_axis *axis, int logarithm, int64_t count, const real *x, real *out)
{
    const int64_t length = axis->length;
    vec turned[SHORT * LANES];
    for (int64_t i = 0; i < length; i += LANES) {
        vec *square = turned + i;
        const lane_mask lanes = lanes_between(0, length - i);
        for (int64_t k = 0; k < count; k++) square[k] = load_lanes(x + k * length + i, lanes);
        for (int64_t k = count; k < LANES; k++) square[k] = splat(0);
        turn_square(square);
    }
    across_lines(axis, logarithm, LANES, 0, 1, LANES, (const real *)turned, (real *)turned);
    for (int64_t i = 0; i < length; i += LANES) {
        vec *square = turned + i;
        turn_square(square);
        for (int64_t k = 0; k < count; k++) store_part(out + k * length + i, square[k], length - i);
    }
}

INLINE void lines(const pc_axis *axis, int logarithm, int64_t begin, int64_t end, const real *x, real *out)
{
    const int64_t length = axis->length, inner = axis->inner;
    const int64_t several = inner > 1 || length * LANES <= ELEMENTS_AT_ONCE ? LANES : 1;
    for (int64_t i = begin; i < end;) {
        const int64_t outer = i / inner, first = i % inner, left = least(inner - first, end - i);
        const int64_t base = outer * length * inner + first, vectors = least(left / LANES, TOGETHER);
        int64_t count = vectors ? vectors * LANES : left;
        if (inner > 1 && vectors) {
            across_lines(axis, logarithm, inner, 0, vectors, LANES, x + base, out + base);
        } else if (inner > 1) {
            across_lines(axis, logarithm, inner, 1, 1, left, x + base, out + base);
        } else {
            count = least(several, end - i);
            if (length <= SHORT * LANES) {
                along_short_lines(axis, logarithm, count, x + base, out + base);
            } else {
                along_lines(axis, logarithm, count, x + base, out + base);
            }
        }
        i += count;
    }
}

void PC_NAME(softmax)(const pc_axis *axis, int64_t begin, int64_t end, const void *x, void *out)
{
    if (axis->logarithm) {
        lines(axis, 1, begin, end, x, out);
    } else {
        lines(axis, 0, begin, end, x, out);
    }
}
