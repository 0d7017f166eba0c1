/* What the activations are made of: the exponential function, the logarithm of 1 + e, a quotient, and scaling into the
 * range below the normal numbers.
 *
 * y = n log(2) + r with |r| <= log(2) / 2, log(2) in two parts (Cody and Waite's method); expm1(r) is a polynomial, and
 * 2**n is put together as bits. The coefficients are from tools/fit_activations.py.
 */
#ifndef PYCONV_EXPONENTIAL_H
#define PYCONV_EXPONENTIAL_H

#include "select.h"

#if PC_F64
#define LOG2_HIGH 0x1.62e42fee00000p-1 /* few enough bits that n * LOG2_HIGH is exact */
#define LOG2_LOW 1.908214929270587816144e-10
#define ROUNDER 0x1.8p52        /* adding it rounds to an integer, left in the low bits */
#define LAST_BIT 1074           /* 2**-LAST_BIT is the smallest number */
#define TINY 0x1p-60            /* expm1(x) is x, to the last bit, for smaller ones */
#define LEAST_EXP (-765.)       /* exp of less is zero, and stays it after a product with 1e6 */
#define EXPM1_IS_ONE (-40.)     /* expm1 of less is -1 */
#define SPLIT_MASK (~(integer)0x7ffffff)
static const real expm1_terms[] = {
    0.50000000000000000085, 0.16666666666666676547, 0.041666666666666508132, 0.0083333333333216543387,
    0.0013888888888962616281, 0.00019841269886073012692, 0.000024801587172206216784, 2.7557244254638500161e-6,
    2.7557402797393250847e-7, 2.5109024307166103145e-8, 2.0875321791412024948e-9,
};
static const real atanh_terms[] = {
    0.33333333333333333443, 0.19999999999999761253, 0.14285714285800049646, 0.11111111099118385279,
    0.090909099489813571913, 0.076922719824302746434, 0.066675893157246279183, 0.0586713953065159873,
    0.05422589197440007411, 0.037460718977753836504, 0.078152889004614252231,
};
#else
#define LOG2_HIGH 0.693359375f
#define LOG2_LOW -2.1219444005469058277e-4f
#define ROUNDER 0x1.8p23f
#define LAST_BIT 149
#define TINY 0x1p-30f
#define LEAST_EXP (-120.f)
#define EXPM1_IS_ONE (-20.f)
#define SPLIT_MASK (~(integer)0xfff)
static const real expm1_terms[] = {
    0.4999999814957756623f, 0.16666543424445384059f, 0.041667200730433014982f, 0.0083665471194146427098f,
    0.0013882515212956579815f,
};
static const real atanh_terms[] = {
    0.33333333325011807005f, 0.20000005384974832161f, 0.14285152860941831225f, 0.11132355604500662288f,
    0.087323512327203870914f, 0.10393808427873376085f,
};
#endif
#define LOG2 ((real)0.6931471805599453094172321)
#define INVERSE_LOG2 ((real)1.442695040888963407359925)

/* A number as the unevaluated sum of a rounded value and what the rounding lost. */
typedef struct {
    vec high, low;
} two;

static inline ivec bits_of(integer x) { return (ivec)(vec){0} + x; }
static inline vec absolute(vec x) { return (vec)((ivec)x & ~(ivec)splat((real)-0.0)); }
static inline vec negative_of(vec x) { return (vec)((ivec)x | (ivec)splat((real)-0.0)); }
static inline vec with_sign_of(vec positive, vec x) { return (vec)((ivec)positive | ((ivec)x & (ivec)splat((real)-0.0))); }

/* terms[0] + terms[1] x + ... */
#define polynomial(x, terms) polynomial_of(x, terms, sizeof(terms) / sizeof *(terms))
static inline __attribute__((always_inline)) vec polynomial_of(vec x, const real *terms, int64_t count)
{
    vec sum = splat(terms[count - 1]);
    UNROLL for (int64_t i = count - 2; i >= 0; i--) sum = sum * x + splat(terms[i]);
    return sum;
}

/* big + small, where |big| >= |small| or big is 0 (Dekker's Fast2Sum) */
static inline two exact_sum(vec big, vec small)
{
    const vec high = big + small;
    return (two){high, small - (high - big)};
}

/* a - b (Knuth's TwoSum) */
static inline two exact_difference(vec a, vec b)
{
    const vec high = a - b, back = high - a;
    return (two){high, (a - (high - back)) - (b + back)};
}

/* a * b; without a fused multiply-add by halves of the numbers, whose products are exact (Dekker) */
static inline two exact_product(vec a, vec b)
{
    const vec high = a * b;
#if FUSES
    return (two){high, multiply_subtract(a, b, high)};
#else
    const vec a1 = (vec)((ivec)a & SPLIT_MASK), b1 = (vec)((ivec)b & SPLIT_MASK), a2 = a - a1, b2 = b - b1;
    return (two){high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2};
#endif
}

/* a * b + c with one rounding, but for a rare last bit without a fused multiply-add */
static inline vec fused(vec a, vec b, vec c)
{
#if FUSES
    return multiply_add(a, b, c);
#else
    const two product = exact_product(a, b), sum = exact_difference(c, -product.high);
    return sum.high + (sum.low + product.low);
#endif
}

/* c - a * b likewise */
static inline vec fused_minus(vec a, vec b, vec c) { return FUSES ? subtract_product(a, b, c) : fused(-a, b, c); }

/* a / b for b between 2**-100 and 2**100, and a not above 2**100 either */
static inline vec quotient(vec a, vec b)
{
#if defined(__AVX512F__) && !PC_F64
    /* dividing takes 16 cycles: a rough reciprocal, and one step of Newton's that corrects the quotient itself */
    const vec inverse = _mm512_rcp14_ps(b), rough = a * inverse;
    return multiply_add(subtract_product(rough, b, a), inverse, rough);
#else
    return a / b;
#endif
}

/* a / b for b > 0; -0 stays: the step of Newton's adds +0 to it */
static inline vec signed_quotient(vec a, vec b)
{
#if defined(__AVX512F__) && !PC_F64
    return with_sign_of(quotient(a, b), a);
#else
    return a / b;
#endif
}

/* x * a / b for a, b > 0; -0 stays, as a product keeps it */
static inline vec times_quotient(vec x, vec a, vec b)
{
#if defined(__AVX512F__) && !PC_F64
    return x * quotient(a, b);
#else
    return x * a / b; /* the product does not wait for the quotient */
#endif
}

/* m / (m + 1) for m >= 0. The remainder m - rough * (m + 1) is taken apart so that the rounding of m + 1 is not in it. */
static inline vec by_one_more(vec m)
{
    const vec b = m + splat(1);
#if defined(__AVX512F__) && !PC_F64
    const vec inverse = _mm512_rcp14_ps(b), rough = m * inverse;
#else
    /* 1 - rough is 1 / b, but a wrong one where it is small; there m / b is good enough */
    const vec rough = m / b, inverse = pick(below(m, splat(2)), splat(1) - rough, splat(0));
#endif
    return multiply_add(subtract_product(rough, m, m - rough), inverse, rough);
}

/* 2**r for |r| <= 1/2: every coefficient times a power of log(2) */
static inline vec exp2_near_zero(vec r)
{
    enum { TERMS = sizeof expm1_terms / sizeof *expm1_terms };
    real scale[TERMS] = {LOG2 * LOG2};
    UNROLL for (int i = 1; i < TERMS; i++) scale[i] = scale[i - 1] * LOG2;
    vec sum = splat(expm1_terms[TERMS - 1] * scale[TERMS - 1]);
    UNROLL for (int i = TERMS - 2; i >= 0; i--) sum = sum * r + splat(expm1_terms[i] * scale[i]);
    return (sum * r + splat(LOG2)) * r + splat(1);
}

/* r and n of y = n log(2) + r, n as n + ROUNDER. y is not below LEAST_EXP, nor above what exp can give. */
static inline vec reduced(vec y, vec *n)
{
    *n = y * splat(INVERSE_LOG2) + splat(ROUNDER);
    const vec whole = *n - splat(ROUNDER);
    return (y - whole * splat(LOG2_HIGH)) - whole * splat(LOG2_LOW);
}

/* expm1(r) for |r| <= log(2) / 2 */
static inline vec expm1_near_zero(vec r) { return r * r * polynomial(r, expm1_terms) + r; }

/* expm1(2 r) / 2: the same with every coefficient times a power of two */
static inline vec half_expm1_near_zero(vec r)
{
    enum { TERMS = sizeof expm1_terms / sizeof *expm1_terms };
    vec sum = splat(expm1_terms[TERMS - 1] * (real)(2 << (TERMS - 1)));
    UNROLL for (int i = TERMS - 2; i >= 0; i--) sum = sum * r + splat(expm1_terms[i] * (real)(2 << i));
    return r * r * sum + r;
}

/* 2**n for n in the range of normal numbers, given as n + ROUNDER */
static inline vec power_of_two(vec n)
{
    return (vec)(((ivec)n << MANTISSA_BITS) + ((integer)EXPONENT_BIAS << MANTISSA_BITS));
}

/* v * 2**n where that is a normal number, n as n + ROUNDER; NaN stays */
static inline vec raised(vec v, vec n)
{
#if defined(__AVX512F__) && PC_F64
    return _mm512_scalef_pd(v, n - splat(ROUNDER));
#elif defined(__AVX512F__)
    return _mm512_scalef_ps(v, n - splat(ROUNDER)); /* one operation, where shifting bits into place takes three */
#else
    return v * power_of_two(n);
#endif
}

/* v * 2**(n - by) likewise, by a whole number */
static inline vec raised_less(vec v, vec n, vec by)
{
#if defined(__AVX512F__) && PC_F64
    return _mm512_scalef_pd(v, n - (by + splat(ROUNDER)));
#elif defined(__AVX512F__)
    return _mm512_scalef_ps(v, n - (by + splat(ROUNDER)));
#else
    return raised(v, n - by);
#endif
}

/* v * 2**n for v >= 0 about 1 and n <= 2, given as n + ROUNDER, rounded once. Results below the normal numbers are
 * multiples of the smallest one, so their bits are an integer: they are made by rounding to one, since arithmetic on
 * such numbers would take the processor a hundred cycles. AVX-512 has an operation for it. */
static inline vec scaled(vec v, vec n)
{
#if defined(__AVX512F__)
    return raised(v, n);
#else
    const ivec shift = (ivec)n << MANTISSA_BITS, bits = (ivec)v + shift;
    const mask tiny = below_bits(bits, bits_of(SMALLEST_NORMAL_BITS));
    if (__builtin_expect(!any(tiny), 1)) return (vec)bits;
    const vec unit = (vec)(shift + ((integer)(EXPONENT_BIAS + LAST_BIT) << MANTISSA_BITS));
    const real rounder = (real)((int64_t)1 << MANTISSA_BITS);
    return pick(tiny, (vec)((ivec)(v * unit + splat(rounder)) - (ivec)splat(rounder)), (vec)bits);
#endif
}

/* exp(y) where that is a normal number; y is not NaN */
#if defined(__AVX512F__) && !PC_F64
/* 2**(k / 16), as the nearest number and the rest: a vector has room for a sixteenth's powers, and its lanes look them up
 * by the low four bits of an index. Then |r| <= log(2) / 32, and three terms of the series do, not six. */
static const real sixteenth_powers[2][16] = {
    {1.f, 1.04427373f, 1.09050775f, 1.13878858f, 1.18920708f, 1.24185777f, 1.29683959f, 1.35425556f,
     1.41421354f, 1.47682619f, 1.54221082f, 1.61049032f, 1.68179286f, 1.75625217f, 1.8340081f, 1.91520655f},
    {0.f, 4.83347014e-08f, -1.30775402e-08f, 5.38622214e-08f, 3.79763539e-08f, 4.49683815e-08f, -4.01899938e-08f, -1.0123349e-08f,
     2.42032342e-08f, -4.5008987e-08f, 8.07090469e-09f, 9.8362172e-09f, -2.47553273e-08f, -9.23577034e-09f, -1.12392781e-08f, 9.84532845e-09f},
};

static inline vec exp_within(vec y)
{
    const vec n = y * splat(INVERSE_LOG2) + splat(ROUNDER / 16), whole = n - splat(ROUNDER / 16); /* in sixteenths */
    const vec r = (y - whole * splat(LOG2_HIGH)) - whole * splat(LOG2_LOW);
    const vec power = rearranged(load(sixteenth_powers[0]), (ivec)n), rest = rearranged(load(sixteenth_powers[1]), (ivec)n);
    const vec q = r * r * (r * splat(1.f / 6) + splat(0.5f)) + r;
    return _mm512_scalef_ps(power + (power * q + rest), whole); /* times 2 to the integer below */
}
#else
static inline vec exp_within(vec y)
{
    vec n;
    const vec r = reduced(y, &n);
    if (!FUSES) return raised(expm1_near_zero(r) + splat(1), n); /* the sum below would be rounded twice as often */
    return raised((polynomial(r, expm1_terms) * r + splat(1)) * r + splat(1), n);
}
#endif

/* 1 + exp(y) likewise. What is added first is small beside the sum, so that but one rounding counts: 1 + 2**n is taken
 * as 2**n and 1, or as 1.5 and 2**n - 0.5. */
static inline vec one_more_than_exp(vec y)
{
    vec n;
    const vec r = reduced(y, &n), power = raised(splat(1), n);
    const vec rest = lesser_of(power - splat((real)0.5), splat(1));
    return greater_of(power, splat((real)1.5)) + (power * expm1_near_zero(r) + rest);
}

/* x * slope for x below the normal numbers. Arithmetic on such numbers takes the processor 150 cycles; but their bits
 * are an integer, and so are those of a product that is below them too, rounded by adding 2**MANTISSA_BITS. That is the
 * second rounding, and it is wrong where the first one made a half; the product's lower part tells. */
static inline vec denormal_product(vec x, vec slope)
{
    const vec rounder = splat((real)((int64_t)1 << MANTISSA_BITS)), steep = absolute(slope);
    const vec count = __builtin_convertvector((ivec)absolute(x), vec);
    if (any(beyond(slope, splat((real)0x1p60)))) return x * slope;
    const two size = exact_product(count, steep);
    const vec even = (size.high + rounder) - rounder, rest = size.high - even;
    const mask wrong = beyond(rest, splat((real)0.5)) & below(splat(0), rest * size.low);
    const ivec small = (ivec)(pick(wrong, even + rest + rest, even) + rounder) - (ivec)rounder;
    const ivec normal = (ivec)size.high - bits_of((integer)LAST_BIT << MANTISSA_BITS);
    const vec product = pick(below(size.high, rounder), (vec)small, (vec)normal);
    return (vec)((ivec)product | (((ivec)x ^ (ivec)slope) & (ivec)splat((real)-0.0)));
}

/* exp(y) for y <= 0 as v * 2**n: v about 1, n as n + ROUNDER, and the value itself where that is normal, else some
 * number as good as zero beside 1. NaN stays. */
typedef struct {
    vec v, n, value;
} power;

static inline power power_from(vec v, vec n)
{
    return (power){v, n, v * power_of_two(greater_of(splat((real)ROUNDER - 100), n))};
}

static inline power power_of(vec r, vec n) { return power_from(expm1_near_zero(r) + splat(1), n); }

static inline power exp_of(vec y)
{
    vec n;
    const vec r = reduced(greater_of(splat(LEAST_EXP), y), &n);
    return power_of(r, n);
}

/* The same of a sum; where y is too small for exp, y_low may be anything. */
static inline power exp_of_sum(vec y, vec y_low)
{
    vec n;
    const vec r = reduced(greater_of(splat(LEAST_EXP), y), &n);
    return power_of(r + pick(below(splat(LEAST_EXP), y), y_low, splat(0)), n);
}

/* expm1(y) for y <= 0; what it is above, nobody asks. y itself where that is the answer, so that numbers below the
 * normal ones do not get into the arithmetic. */
static inline vec expm1_below_zero(vec y)
{
    vec n;
    const vec bounded = lesser_of(splat(-TINY), greater_of(splat(EXPM1_IS_ONE), y));
    const vec q = expm1_near_zero(reduced(bounded, &n)), scale = power_of_two(n);
    return pick(below(splat(-TINY), y), y, scale * q + (scale - splat(1)));
}

/* log(1 + e) / e for 0 <= e <= 1: twice the series of atanh(s) / e, s = e / (2 + e) */
static inline vec log1p_by(vec e)
{
    const vec inverse = quotient(splat(2), splat(2) + e), s = splat((real)0.5) * e * inverse, z = s * s;
    return inverse * z * polynomial(z, atanh_terms) + inverse;
}

#endif
