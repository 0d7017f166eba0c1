/* What softmax.kernel.c is made of: exponentials relative to the largest element of a line, and their sum, both with what
 * rounding loses. */
#ifndef PYCONV_SOFTMAX_H
#define PYCONV_SOFTMAX_H

#include "exponential.h"

#if PC_F64
#define LEAST_NORMAL_EXP (-708.5) /* below log of the smallest normal number, by less than n can tell */
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdLL
#define GRID 0x1.8p20 /* adding it rounds to a multiple of 2**-32, the last bit of LOG2_HIGH */
#define FAR_FROM_ZERO 0x1p18
#else
#define LEAST_NORMAL_EXP (-87.4f)
#define SQRT_HALF_BITS 0x3f3504f3
#define GRID 0x1.8p14f /* of 2**-9 */
#define FAR_FROM_ZERO 0x1p12f
#endif

/* The largest element of a line as origin + near, and near as grid + rest, so that x - origin - (grid + n * LOG2_HIGH)
 * loses nothing that matters: a largest one far from zero is the origin, and differences to it are exact down to where exp
 * is zero; of another one the multiple of the last bit of LOG2_HIGH is taken together with n * LOG2_HIGH, which is exact.
 * And the number of log(2) in near, rounded down; and the least x - origin whose exp(x - largest) is a normal number. */
typedef struct {
    vec largest, origin, near, least, grid, rest, powers;
} line_top;

static inline line_top top_of(vec largest)
{
    const mask far = beyond(largest, splat(FAR_FROM_ZERO));
    const vec near = pick(far, splat(0), largest), grid = (near + splat(GRID)) - splat(GRID);
    return (line_top){
        .largest = largest,
        .origin = pick(far, largest, splat(0)),
        .near = near,
        .least = near + splat(LEAST_NORMAL_EXP),
        .grid = grid,
        .rest = near - grid,
        .powers = (near * splat(INVERSE_LOG2) + splat(ROUNDER - (real)0.5)) - splat(ROUNDER),
    };
}

static inline line_top top_of_lane(const line_top *tops, int64_t lane)
{
    return (line_top){
        .largest = splat(tops->largest[lane]),
        .origin = splat(tops->origin[lane]),
        .near = splat(tops->near[lane]),
        .least = splat(tops->least[lane]),
        .grid = splat(tops->grid[lane]),
        .rest = splat(tops->rest[lane]),
        .powers = splat(tops->powers[lane]),
    };
}

enum { SIDE_BY_SIDE = 4 }; /* vectors whose exponentials are computed at once */

#define EACH UNROLL for (int k = 0; k < count; k++)

/* r and n as `reduced` gives them, where n may be in the thousands, so that n * LOG2_LOW must not be rounded: where FUSES. */
static inline vec reduced_far(vec y, vec *n)
{
    *n = y * splat(INVERSE_LOG2) + splat(ROUNDER);
    const vec whole = *n - splat(ROUNDER);
    return subtract_product(whole, splat(LOG2_LOW), subtract_product(whole, splat(LOG2_HIGH), y));
}

/* exp(x - largest) of count vectors x - origin, `each` of a line, times a number between 1 and 2 that a line's elements
 * have in common: a power of two takes the place of exp(largest), and needs no arithmetic of its own. Without a fused
 * multiply-add it is exp(x - largest) itself. NaN stays; below the least it may be anything. Step by step for all of them,
 * so that none waits for another. */
INLINE void exponentials(vec *v, int count, const line_top *tops, int each)
{
    enum { TERMS = sizeof expm1_terms / sizeof *expm1_terms };
    vec n[SIDE_BY_SIDE], r[SIDE_BY_SIDE];
#if FUSES
    EACH r[k] = reduced_far(v[k], n + k);
#else
    EACH n[k] = (v[k] - tops[k / each].near) * splat(INVERSE_LOG2) + splat(ROUNDER);
    EACH r[k] = v[k] - ((n[k] - splat(ROUNDER)) * splat(LOG2_HIGH) + tops[k / each].grid);
    EACH r[k] -= (n[k] - splat(ROUNDER)) * splat(LOG2_LOW) + tops[k / each].rest;
#endif
    EACH v[k] = splat(expm1_terms[TERMS - 1]);
    UNROLL for (int i = TERMS - 2; i >= 0; i--) EACH v[k] = v[k] * r[k] + splat(expm1_terms[i]);
    UNROLL for (int i = 0; i < 2; i++) EACH v[k] = v[k] * r[k] + splat(1);
    EACH v[k] = FUSES ? raised_less(v[k], n[k], tops[k / each].powers) : raised(v[k], n[k]);
}

/* That of the largest element, to twice the digits */
static inline two exponential_of_largest(const line_top *top)
{
    if (!FUSES) return (two){splat(1), splat(0)};
    vec n;
    const vec r = reduced_far(top->near, &n);
    const two value = exact_sum(splat(1), (polynomial(r, expm1_terms) * r + splat(1)) * r);
    return (two){raised_less(value.high, n, top->powers), raised_less(value.low, n, top->powers)};
}

/* A sum with what its rounding loses. Of a logarithm near zero the largest elements are counted, not added: beside them
 * all of a sum of small numbers would be what rounding loses, and would collect errors of its own. Another sum begins
 * with a number that is not less than any that is added, so that Dekker's will do. */
typedef struct {
    vec high, low;
    ivec largest;
} line_sum;

enum { BEGINNING = 2 };

static inline line_sum empty_sum(int logarithm)
{
    return (line_sum){splat(logarithm ? 0 : BEGINNING), splat(0), bits_of(0)};
}

static inline line_sum added(int logarithm, line_sum sum, vec x)
{
    const two more = logarithm ? exact_difference(sum.high, -x) : exact_sum(sum.high, x);
    return (line_sum){more.high, sum.low + more.low, sum.largest};
}

/* What was lost becomes part of the sum, before there is so much of it that it is rounded itself. */
static inline line_sum settled(line_sum sum)
{
    const two same = exact_sum(sum.high, sum.low);
    return (line_sum){same.high, same.low, sum.largest};
}

static inline line_sum both(line_sum a, line_sum b)
{
    const two sum = exact_difference(a.high, -b.high);
    return (line_sum){sum.high, sum.low + (a.low + b.low), a.largest + b.largest};
}

/* The whole sum of so many that were begun */
static inline two total(line_sum sum, real begun)
{
    const two all = exact_difference(sum.high, splat(BEGINNING * begun));
    return exact_sum(all.high, all.low + sum.low);
}

/* The whole sum by the exponential of the largest element; at least 1 */
static inline two total_by_largest(line_sum sum, const line_top *top)
{
    const two by = exponential_of_largest(top);
    const vec inverse = splat(1) / by.high, high = sum.high * inverse;
    const vec low = (sum.low + subtract_product(high, by.high, sum.high) - high * by.low) * inverse;
    const two all = exact_difference(high, -__builtin_convertvector(sum.largest, vec));
    return exact_sum(all.high, all.low + low);
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
static inline vec last_factor(int logarithm, line_sum sum, real begun, const line_top *top)
{
    return logarithm ? log_of(total_by_largest(sum, top)) : splat(1) / total(sum, begun).high;
}

#endif
