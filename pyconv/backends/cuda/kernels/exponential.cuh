// What activations are made of: the exponential function, the logistic function, and the logarithm of 1 + e.
//
// y = n log(2) + r with |r| <= log(2) / 2, log(2) in two parts (Cody and Waite's method); expm1(r) is a polynomial, and
// 2**n is put together as bits. The coefficients are from tools/fit_activations.py. Subnormal numbers, which float
// arithmetic flushes, come up only where they do not count beside 1.

#include "numbers.cuh"

#if DTYPE == FLOAT64
#define LOG2_HIGH 6.93147180369123816490e-01  // few enough bits that n * LOG2_HIGH is exact
#define LOG2_LOW 1.90821492927058770002e-10
#define TINY 0x1p-60          // expm1(x) is x, to the last bit, for smaller ones
#define LEAST_EXP (-765.0)    // exp of less is zero, and stays it after a product with 1e6
#define EXPM1_IS_ONE (-40.0)  // expm1 of less is -1
#define EXPM1_TERMS                                                                                                    \
    0.50000000000000000085, 0.16666666666666676547, 0.041666666666666508132, 0.0083333333333216543387,                 \
        0.0013888888888962616281, 0.00019841269886073012692, 0.000024801587172206216784, 2.7557254244638500161e-6,     \
        2.7557402797393250847e-7, 2.5109024307166103145e-8, 2.0875321791412024948e-9
#define ATANH_TERMS                                                                                                    \
    0.33333333333333333443, 0.19999999999999761253, 0.14285714285800049646, 0.11111111099118385279,                    \
        0.090909099489813571913, 0.076922719824302746434, 0.066675893157246279183, 0.0586713953065159873,              \
        0.05422589197440007411, 0.037460718977753836504, 0.078152889004614252231
#else
#define LOG2_HIGH 0.693359375f
#define LOG2_LOW (-2.1219444005469058277e-4f)
#define TINY 0x1p-30f
#define LEAST_EXP (-120.0f)
#define EXPM1_IS_ONE (-20.0f)
#define EXPM1_TERMS                                                                                                    \
    0.4999999814957756623f, 0.16666543424445384059f, 0.041667200730433014982f, 0.0083665471194146427098f,              \
        0.0013882515212956579815f
#define ATANH_TERMS                                                                                                    \
    0.33333333325011807005f, 0.20000005384974832161f, 0.14285152860941831225f, 0.11132355604500662288f,                \
        0.087323512327203870914f, 0.10393808427873376085f
#endif
#define INVERSE_LOG2 scalar(1.442695040888963407359925)

static __device__ __forceinline__ scalar larger(scalar a, scalar b)
{
    return a > b ? a : b;
}

static __device__ __forceinline__ scalar smaller(scalar a, scalar b)
{
    return a < b ? a : b;
}

// n, and r; y is at least LEAST_EXP, and not above what exp can give
static __device__ __forceinline__ int reduce(scalar y, scalar &r)
{
#if DTYPE == FLOAT64
    scalar n = rint(y * INVERSE_LOG2);
#else
    scalar n = rintf(y * INVERSE_LOG2);
#endif
    r = multiply_add(n, -LOG2_LOW, multiply_add(n, -LOG2_HIGH, y));
    return (int)n;
}

// expm1(r) - r for |r| <= log(2) / 2
static __device__ __forceinline__ scalar expm1_rest(scalar r)
{
    return r * r * polynomial(r, EXPM1_TERMS);
}

// exp(y) = mantissa * 2**exponent, the mantissa about 1; and the value itself, where that is below the normal numbers
// some number as good as zero beside 1
struct Power {
    scalar mantissa;
    int exponent;
    scalar value;
};

static __device__ __forceinline__ Power power_of(scalar r, int n)
{
    scalar mantissa = scalar(1) + (r + expm1_rest(r));
    return {mantissa, n, mantissa * power_of_two(n > -100 ? n : -100)};
}

static __device__ __forceinline__ Power exp_of(scalar y)
{
    scalar r;
    int n = reduce(larger(y, LEAST_EXP), r);
    return power_of(r, n);
}

// The same of a sum; where y is too small for exp, y_low may be anything
static __device__ __forceinline__ Power exp_of_sum(scalar y, scalar y_low)
{
    scalar r;
    int n = reduce(larger(y, LEAST_EXP), r);
    return power_of(y > LEAST_EXP ? r + y_low : r, n);
}

// expm1(y) for y <= 0
static __device__ __forceinline__ scalar expm1_below_zero(scalar y)
{
    if (y > -TINY)
        return y;
    scalar r;
    scalar power = power_of_two(reduce(larger(y, EXPM1_IS_ONE), r));
    return multiply_add(power, r + expm1_rest(r), power - scalar(1));
}

// log(1 + e) / e for 0 <= e <= 1: twice the series of atanh(s) / e, s = e / (2 + e)
static __device__ __forceinline__ scalar log1p_by(scalar e)
{
    scalar inverse = scalar(2) / (scalar(2) + e), s = scalar(0.5) * e * inverse, z = s * s;
    return multiply_add(inverse * z, polynomial(z, ATANH_TERMS), inverse);
}

// 1 / (1 + e) or, where negative, e / (1 + e), for e <= 1: a number about 1 by 2**n
static __device__ __forceinline__ scalar logistic(bool negative, Power e, int &n)
{
    Two sum = exact_sum(1, e.value);
    scalar inverse = scalar(1) / sum.high;
    n = negative ? e.exponent : 0;
    if (!negative)
        return multiply_add(-sum.low * inverse, inverse, inverse);
    scalar quotient = e.mantissa * inverse;
    scalar left = multiply_add(-quotient, sum.high, e.mantissa);  // of the division, and of the sum
    left = multiply_add(-quotient, sum.low, left);
    return multiply_add(left, inverse, quotient);
}
