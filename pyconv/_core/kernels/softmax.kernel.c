/* The softmax family: exp(x - largest) / sum of exp(x - largest), or x - largest - log(sum).
 *
 * Three passes: the largest, the sum, the result. Differences and sums are carried with what their rounding loses: exp
 * magnifies an error of its argument, and a long sum collects them. So the result's error does not grow with the length
 * or with the distance to the largest element. Vectors run across lines, of which several are neighbours in memory; or,
 * where the elements of a line are neighbours, along each, and what LANES lines have found is then turned, so that the
 * lanes of a line are put together for all of them at once.
 */
#include <math.h>

#include "exponential.h"
#include "kernels.h"

#if PC_F64
#define LEAST_NORMAL_EXP (-708.)
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdLL
#define GRID 0x1.8p20 /* adding it rounds to a multiple of 2**-32, the last bit of LOG2_HIGH */
#define FAR_FROM_ZERO 0x1p18
#else
#define LEAST_NORMAL_EXP (-87.25f)
#define SQRT_HALF_BITS 0x3f3504f3
#define GRID 0x1.8p14f /* of 2**-9 */
#define FAR_FROM_ZERO 0x1p12f
#endif

enum {
    TOGETHER = 16,           /* vectors of neighbouring lines that pass together: whole pieces of memory pages */
    ELEMENTS_AT_ONCE = 32768, /* of lines along which vectors run: they stay in the second level of the cache */
};

/* The largest element of a line as origin + grid + rest, so that x - origin - (grid + n * LOG2_HIGH) loses nothing that
 * matters: a largest one far from zero is the origin, and differences to it are exact down to where exp is zero; of
 * another one the multiple of the last bit of LOG2_HIGH is taken together with n * LOG2_HIGH, which is exact. */
typedef struct {
    vec largest, least, origin, grid, rest;
} line_top;

static inline line_top top_of(vec largest)
{
    const mask far = beyond(largest, splat(FAR_FROM_ZERO));
    const vec on_grid = (largest + splat(GRID)) - splat(GRID);
    return (line_top){
        .largest = largest,
        .least = largest + splat(LEAST_NORMAL_EXP),
        .origin = pick(far, largest, splat(0)),
        .grid = pick(far, splat(0), on_grid),
        .rest = pick(far, splat(0), largest - on_grid),
    };
}

/* exp(x - largest), zero where that is below the normal numbers; NaN if x or the largest is NaN */
static inline vec exp_below(vec x, const line_top *top)
{
    const vec bounded = greater_of(top->least, x);
    const vec n = (bounded - top->largest) * splat(INVERSE_LOG2) + splat(ROUNDER), whole = n - splat(ROUNDER);
    const vec high = (bounded - top->origin) - (whole * splat(LOG2_HIGH) + top->grid);
    const vec r = (high - top->rest) - whole * splat(LOG2_LOW);
    const vec value = (polynomial(r, expm1_terms) * r + splat(1)) * r + splat(1);
    return pick(below(x, top->least), splat(0), raised(value, n));
}

/* A sum of numbers between 0 and 1, with what its rounding loses. It begins with 1, so that Dekker's sum will do. */
static inline two empty_sum(void) { return (two){splat(1), splat(0)}; }

static inline two added(two sum, vec x)
{
    const two more = exact_sum(sum.high, x);
    return (two){more.high, sum.low + more.low};
}

static inline two both(two a, two b)
{
    const two sum = exact_difference(a.high, -b.high);
    return (two){sum.high, sum.low + (a.low + b.low)};
}

/* The sum without the ones that so many began with; at least 1, since one of the elements is the largest */
static inline two without(two sum, real ones)
{
    const two less = exact_difference(sum.high, splat(ones));
    return exact_sum(less.high, less.low + sum.low);
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
static inline vec last_factor(const pc_axis *axis, two sum)
{
    return axis->logarithm ? log_of(sum) : splat(1) / sum.high;
}

/* x - largest - log_sum. The rounding of the difference is no more than half a unit of the result, which is farther from
 * zero. */
static inline vec logarithm_of(vec x, vec largest, vec log_sum) { return (x - largest) - log_sum; }

/* Lanes at count and beyond are no part of a line: -infinity, which no sum sees. */
static inline vec only(vec x, int64_t count)
{
    real lanes[LANES];
    for (int64_t i = 0; i < LANES; i++) lanes[i] = i < count ? 0 : -INFINITY;
    return x + load(lanes);
}

/* Up to LANES lines whose elements are neighbours. */
static void along_lines(const pc_axis *axis, int64_t count, const real *x, real *out)
{
    const int64_t length = axis->length, whole = length / LANES * LANES, rest = length - whole;
    const vec sign = splat(axis->negative ? -1 : 1), outside = only(splat(0), rest);
    vec largest[LANES], low[LANES];
    for (int64_t k = count; k < LANES; k++) largest[k] = splat(-INFINITY);
    for (int64_t k = 0; k < count; k++) {
        const real *line = x + k * length;
        vec found = splat(-INFINITY);
        for (int64_t i = 0; i < whole; i += LANES) found = greater_of(sign * load(line + i), found);
        if (rest) found = greater_of(sign * load_part(line + whole, 0, rest) + outside, found);
        largest[k] = found;
    }
    turn_square(largest);
    UNROLL for (int k = 1; k < LANES; k++) largest[0] = greater_of(largest[k], largest[0]);
    real largest_of[LANES], factor_of[LANES];
    store(largest_of, largest[0]);

    vec *high = largest;
    for (int64_t k = 0; k < count; k++) {
        const real *line = x + k * length;
        real *to = out + k * length;
        const line_top top = top_of(splat(largest_of[k]));
        two sum = empty_sum();
        for (int64_t i = 0; i < whole; i += LANES) {
            const vec e = exp_below(sign * load(line + i), &top);
            sum = added(sum, e);
            if (!axis->logarithm) store(to + i, e);
        }
        if (rest) {
            const vec e = exp_below(sign * load_part(line + whole, 0, rest) + outside, &top);
            sum = added(sum, e);
            if (!axis->logarithm) store_part(to + whole, e, rest);
        }
        high[k] = sum.high, low[k] = sum.low;
    }
    for (int64_t k = count; k < LANES; k++) high[k] = splat(1), low[k] = splat(0);
    turn_square(high);
    turn_square(low);
    two sum = {high[0], low[0]};
    UNROLL for (int k = 1; k < LANES; k++) sum = both(sum, (two){high[k], low[k]});
    store(factor_of, last_factor(axis, without(sum, LANES)));

    for (int64_t k = 0; k < count; k++) {
        const real *line = x + k * length;
        real *to = out + k * length;
        const vec top = splat(largest_of[k]), factor = splat(factor_of[k]);
        if (axis->logarithm) {
            for (int64_t i = 0; i < whole; i += LANES) store(to + i, logarithm_of(sign * load(line + i), top, factor));
            if (rest) store_part(to + whole, logarithm_of(sign * load_part(line + whole, 0, rest), top, factor), rest);
        } else {
            for (int64_t i = 0; i < whole; i += LANES) store(to + i, load(to + i) * factor);
            if (rest) store_part(to + whole, load_part(to + whole, 0, rest) * factor, rest);
        }
    }
}

/* Neighbouring lines: so many vectors, of each the first lanes. */
static inline __attribute__((always_inline)) void across_lines(const pc_axis *axis, int64_t vectors, int64_t lanes,
                                                               const real *x, real *out)
{
    const int64_t step = axis->inner, end = axis->length * step;
    const vec sign = splat(axis->negative ? -1 : 1);
    vec largest[TOGETHER], factors[TOGETHER];
    line_top tops[TOGETHER];
    two sums[TOGETHER];
    for (int64_t v = 0; v < vectors; v++) largest[v] = splat(-INFINITY);
    for (int64_t row = 0; row < end; row += step) {
        for (int64_t v = 0; v < vectors; v++) {
            largest[v] = greater_of(sign * load_part(x + row + v * LANES, 0, lanes), largest[v]);
        }
    }
    for (int64_t v = 0; v < vectors; v++) tops[v] = top_of(largest[v]), sums[v] = empty_sum();
    for (int64_t row = 0; row < end; row += step) {
        for (int64_t v = 0; v < vectors; v++) {
            const vec e = exp_below(sign * load_part(x + row + v * LANES, 0, lanes), tops + v);
            sums[v] = added(sums[v], e);
            if (!axis->logarithm) store_part(out + row + v * LANES, e, lanes);
        }
    }
    for (int64_t v = 0; v < vectors; v++) factors[v] = last_factor(axis, without(sums[v], 1));
    for (int64_t row = 0; row < end; row += step) {
        for (int64_t v = 0; v < vectors; v++) {
            const real *from = x + row + v * LANES;
            real *to = out + row + v * LANES;
            const vec result = axis->logarithm ? logarithm_of(sign * load_part(from, 0, lanes), largest[v], factors[v])
                                               : load_part(to, 0, lanes) * factors[v];
            store_part(to, result, lanes);
        }
    }
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

void PC_NAME(softmax)(const pc_axis *axis, int64_t begin, int64_t end, const void *x_, void *out_)
{
    const real *x = x_;
    real *out = out_;
    if (axis->inner == 1) {
        const int64_t several = axis->length * LANES <= ELEMENTS_AT_ONCE ? LANES : 1;
        for (int64_t i = begin; i < end; i += several) {
            along_lines(axis, least(several, end - i), x + i * axis->length, out + i * axis->length);
        }
        return;
    }
    for (int64_t i = begin; i < end;) {
        const int64_t outer = i / axis->inner, first = i % axis->inner, base = outer * axis->length * axis->inner + first;
        const int64_t left = least(axis->inner - first, end - i), vectors = least(left / LANES, TOGETHER);
        const int64_t count = vectors ? vectors * LANES : left;
        if (vectors) {
            across_lines(axis, vectors, LANES, x + base, out + base);
        } else {
            across_lines(axis, 1, left, x + base, out + base);
        }
        i += count;
    }
}
