/* Activations over a contiguous run of elements; out may be x.
 *
 * sigmoid and tanh stand on one function: expm1 on |r| <= log(2) / 2 as a polynomial (tools/fit_expm1.py), after
 * the argument is reduced as y = n * log(2) + r, log(2) in two parts (Cody and Waite's method). Every element is
 * computed alike wherever it lies: the tail goes through a full vector too.
 */
#include "kernels.h"
#include "vector.h"

#if PC_F64
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define LOG2_HIGH 0x1.62e42fee00000p-1 /* few enough bits that n * LOG2_HIGH is exact */
#define LOG2_LOW 1.908214929270587816144e-10
#define ONE_AND_A_HALF 0x1.8p52 /* adding it rounds to an integer, left in the low bits */
#define TINY 0x1p-60 /* tanh(x) is x and sigmoid(x) is 1/2, to the last bit, for smaller ones */
#define LEAST_EXP (-745.5)      /* exp of less rounds to zero */
#define TANH_IS_ONE 20
static const real coefficients[] = {
    0.5, 0.16666666666666671008, 0.041666666666666669767, 0.0083333333333261120526, 0.0013888888888883731828,
    0.00019841269874901259234, 0.000024801587325605322782, 2.7557255297969644392e-6, 2.7557273570102139673e-7,
    2.5105259538448493419e-8, 2.0914717341716375952e-9,
};
#else
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define LOG2_HIGH 0.693359375f
#define LOG2_LOW -2.1219444005469058277e-4f
#define ONE_AND_A_HALF 0x1.8p23f
#define TINY 0x1p-30f
#define LEAST_EXP (-104)
#define TANH_IS_ONE 9.5f
static const real coefficients[] = {
    0.5f, 0.16666666681659179129f, 0.041666464602026541557f, 0.0083333108895820771937f, 0.0013933685862617173589f,
    0.00019891030654370327738f,
};
#endif
#define INVERSE_LOG2 ((real)1.442695040888963407359925)

static inline vec absolute(vec x) { return (vec)((ivec)x & ~(ivec)splat((real)-0.0)); }

static inline vec with_sign_of(vec magnitude, vec x)
{
    const ivec sign = (ivec)splat((real)-0.0);
    return (vec)(((ivec)magnitude & ~sign) | ((ivec)x & sign));
}

/* 2**n for n in the range of normal numbers */
static inline vec power_of_two(ivec n) { return (vec)((n + EXPONENT_BIAS) << MANTISSA_BITS); }

/* A number as the unevaluated sum of a rounded value and what the rounding lost. */
typedef struct {
    vec high, low;
} two;

/* big + small exactly, where |big| >= |small| or big is 0 (Dekker's Fast2Sum) */
static inline two exact_sum(vec big, vec small)
{
    const vec high = big + small;
    return (two){high, small - (high - big)};
}

/* expm1(r) and n, where y = n * log(2) + r */
static inline two reduced_expm1(vec y, ivec *n)
{
    const vec shifted = y * splat(INVERSE_LOG2) + splat((real)ONE_AND_A_HALF);
    const vec whole = shifted - splat((real)ONE_AND_A_HALF);
    *n = (ivec)shifted - (ivec)splat((real)ONE_AND_A_HALF);
    const vec r = (y - whole * splat((real)LOG2_HIGH)) - whole * splat((real)LOG2_LOW);
    enum { TERMS = sizeof coefficients / sizeof *coefficients };
    vec p = splat(coefficients[TERMS - 1]);
    UNROLL for (int i = TERMS - 2; i >= 0; i--) p = p * r + splat(coefficients[i]);
    return exact_sum(r, r * r * p);
}

static inline vec relu_of(vec x) { return choose(x < splat(0), splat(0), x); } /* NaN is not < 0, so it stays */

/* Both functions end in a quotient of two-part numbers, a / b = q + (a.low - q * b.low) / b.high with
 * q = a.high / b.high: then only the division and the last addition round, which keeps the error below 2 ulp without
 * a fused multiply-add too. What 1 / b.high is, they know from q. */

static inline vec sigmoid_of(vec x)
{
    /* e = exp(-|x|) <= 1 never overflows; 1 / (1 + e) for x >= 0, e / (1 + e) below */
    const vec one = splat(1), zero = splat(0);
    /* not below TINY: denormal numbers would be slow, here and in tanh */
    const vec a = absolute(x), y = -choose(a < splat(TINY), splat(TINY), a);
    const ivec negative = x < zero;
    ivec n;
    const two m = reduced_expm1(choose(y < splat(LEAST_EXP), splat(LEAST_EXP), y), &n);
    const two power = exact_sum(one, m.high);
    /* 2**n in two halves, so that results below the normal numbers are rounded only once */
    const ivec half = n >> 1;
    const vec e = power.high * power_of_two(half) * power_of_two(n - half);
    const vec e_low = (power.low + m.low) * power_of_two(half) * power_of_two(n - half);
    two below = exact_sum(one, e);
    below.low += e_low;
    const vec q = choose(negative, e, one) / below.high;
    const vec inverse = choose(negative, one - q, q);
    return q + (choose(negative, e_low, zero) - q * below.low) * inverse;
}

static inline vec tanh_of(vec x)
{
    /* with m = expm1(2 |x|): tanh |x| = m / (m + 2), without cancellation anywhere */
    const vec magnitude = absolute(x);
    const ivec small = magnitude < splat(TINY);
    const vec a = choose(small, splat(TINY), magnitude);
    ivec n;
    const two r = reduced_expm1(splat(2) * choose(a > splat(TANH_IS_ONE), splat(TANH_IS_ONE), a), &n);
    const vec scale = power_of_two(n);
    two m = exact_sum(scale - splat(1), scale * r.high);
    m.low += scale * r.low;
    /* 1 - 2 / (m + 2) where m > 2: there 1 / (m + 2) is known well from the quotient, as it is below */
    const ivec large = m.high > splat(2);
    two below = exact_sum(choose(large, m.high, splat(2)), choose(large, splat(2), m.high));
    below.low += m.low;
    vec q = choose(large, splat(2), m.high) / below.high;
    const vec inverse = splat((real)0.5) * choose(large, q, splat(1) - q);
    q += (choose(large, splat(0), m.low) - q * below.low) * inverse;
    return choose(small, x, with_sign_of(choose(large, splat(1) - q, q), x));
}

#define ACTIVATION(name)                                                                                            \
    void PC_NAME(name)(const void *x_, void *out_, int64_t count)                                                   \
    {                                                                                                               \
        const real *x = x_;                                                                                         \
        real *out = out_;                                                                                           \
        int64_t i = 0;                                                                                              \
        for (; i + LANES <= count; i += LANES) store(out + i, name##_of(load(x + i)));                              \
        if (i < count) store_part(out + i, name##_of(load_part(x + i, 0, count - i)), count - i);                   \
    }

ACTIVATION(relu)
ACTIVATION(sigmoid)
ACTIVATION(tanh)
