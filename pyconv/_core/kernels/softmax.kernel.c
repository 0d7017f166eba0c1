/* The softmax family: exp(x - largest) / sum of exp(x - largest), or x - largest - log(sum).
 *
 * Differences and sums are carried with what their rounding loses: exp magnifies an error of its argument, and a long
 * sum collects them. So the result's error does not grow with the length or with the distance to the largest element.
 * Three passes: the largest, the sum, the result. Vectors run along the line where its elements are neighbours, else
 * across lines.
 */
#include <math.h>

#include "exponential.h"
#include "kernels.h"

#if PC_F64
#define LEAST_NORMAL_EXP (-708.)
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdLL
#else
#define LEAST_NORMAL_EXP (-87.25f)
#define SQRT_HALF_BITS 0x3f3504f3
#endif

/* exp(d), zero where that is below the normal numbers */
static inline vec exp_of_difference(two d)
{
    const power e = exp_of_sum(d.high, d.low);
    const vec value = e.v * power_of_two(greater_of(splat((real)(ROUNDER - EXPONENT_BIAS + 1)), e.n));
    return pick(below(d.high, splat(LEAST_NORMAL_EXP)), splat(0), value);
}

static inline two added(two sum, vec x)
{
    two more = exact_difference(sum.high, -x);
    more.low += sum.low;
    return more;
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

/* Lanes at count and beyond are no part of a line: -infinity, which no sum sees. */
static inline vec only(vec x, int64_t count)
{
    real lanes[LANES];
    for (int64_t i = 0; i < LANES; i++) lanes[i] = i < count ? 0 : -INFINITY;
    return x + load(lanes);
}

/* One line whose elements are neighbours. */
static void line(const pc_axis *axis, const real *x, real *out)
{
    const int64_t whole = axis->length / LANES * LANES, rest = axis->length - whole;
    const vec sign = splat(axis->negative ? -1 : 1);
    vec largest = splat(-INFINITY);
    for (int64_t i = 0; i < whole; i += LANES) largest = greater_of(sign * load(x + i), largest);
    if (rest) largest = greater_of(only(sign * load_part(x + whole, 0, rest), rest), largest);
    real top = -INFINITY;
    for (int64_t i = 0; i < LANES; i++) top = largest[i] > top ? largest[i] : top;
    largest = splat(top);

    two sums = {splat(0), splat(0)};
    for (int64_t i = 0; i < whole; i += LANES) {
        const vec e = exp_of_difference(exact_difference(sign * load(x + i), largest));
        sums = added(sums, e);
        if (!axis->logarithm) store(out + i, e);
    }
    if (rest) {
        const vec part = only(sign * load_part(x + whole, 0, rest), rest);
        const vec e = exp_of_difference(exact_difference(part, largest));
        sums = added(sums, e);
        if (!axis->logarithm) store_part(out + whole, e, rest);
    }
    two sum = {splat(0), splat(0)};
    for (int64_t i = 0; i < LANES; i++) {
        sum = added(sum, splat(sums.high[i]));
        sum.low += splat(sums.low[i]);
    }
    sum = exact_sum(sum.high, sum.low);
    if (axis->logarithm) {
        const vec log_sum = log_of(sum);
        for (int64_t i = 0; i < axis->length; i += LANES) {
            const two d = exact_difference(sign * load_part(x + i, 0, axis->length - i), largest);
            store_part(out + i, d.high - (log_sum - pick(below(splat(-INFINITY), d.high), d.low, splat(0))),
                       axis->length - i);
        }
        return;
    }
    const vec inverse = splat(1) / sum.high;
    for (int64_t i = 0; i < axis->length; i += LANES) {
        store_part(out + i, load_part(out + i, 0, axis->length - i) * inverse, axis->length - i);
    }
}

/* A vector of neighbouring lines, the first count of its lanes. */
static void lines(const pc_axis *axis, int64_t count, const real *x, real *out)
{
    const int64_t step = axis->inner, end = axis->length * step;
    const vec sign = splat(axis->negative ? -1 : 1);
    vec largest = splat(-INFINITY);
    for (int64_t i = 0; i < end; i += step) largest = greater_of(sign * load_part(x + i, 0, count), largest);
    two sum = {splat(0), splat(0)};
    for (int64_t i = 0; i < end; i += step) {
        const vec e = exp_of_difference(exact_difference(sign * load_part(x + i, 0, count), largest));
        sum = added(sum, e);
        if (!axis->logarithm) store_part(out + i, e, count);
    }
    sum = exact_sum(sum.high, sum.low);
    if (axis->logarithm) {
        const vec log_sum = log_of(sum);
        for (int64_t i = 0; i < end; i += step) {
            const two d = exact_difference(sign * load_part(x + i, 0, count), largest);
            store_part(out + i, d.high - (log_sum - pick(below(splat(-INFINITY), d.high), d.low, splat(0))), count);
        }
        return;
    }
    const vec inverse = splat(1) / sum.high;
    for (int64_t i = 0; i < end; i += step) store_part(out + i, load_part(out + i, 0, count) * inverse, count);
}

void PC_NAME(softmax)(const pc_axis *axis, int64_t begin, int64_t end, const void *x_, void *out_)
{
    const real *x = x_;
    real *out = out_;
    if (axis->inner == 1) {
        for (int64_t i = begin; i < end; i++) line(axis, x + i * axis->length, out + i * axis->length);
        return;
    }
    for (int64_t i = begin; i < end;) {
        const int64_t outer = i / axis->inner, first = i % axis->inner, base = outer * axis->length * axis->inner + first;
        int64_t count = axis->inner - first < end - i ? axis->inner - first : end - i;
        count = count < LANES ? count : LANES;
        lines(axis, count, x + base, out + base);
        i += count;
    }
}
