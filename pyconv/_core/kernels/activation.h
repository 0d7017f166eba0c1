/* The activations, one vector at a time: NAME_of(x, p), p the parameters that the table of pyconv/plan/activations.py
 * lists for it. Every element is computed alike wherever it lies.
 * PC_ACTIVATIONS at the end lists them all: the kernels, their table and the names that Python sees come from it.
 */
#ifndef PYCONV_ACTIVATION_H
#define PYCONV_ACTIVATION_H

#include "exponential.h"
#include "kernels.h"
#include "pieces.h"

#define NO_PARAMETERS __attribute__((unused)) const vec *p

/* exp(t**2 / 2) * (the normal distribution function of -t) = w H(u), w = NORMAL_SCALE / (t + NORMAL_SCALE), u = 1 - 2 w;
 * log(1 + e) / e in powers of e - 1/2; x - tanh(x) = x z S(z), z = x**2 <= 1: tools/fit_activations.py. */
#if PC_F64
#define NORMAL_SCALE 4
#define EXP_IS_NORMAL 700. /* of it and of its negative, with room for a factor */
#define LEFT_END (-1000.) /* silu, gelu and mish of less are zero */
#define TANH_IS_ONE 20.
#define SIGMOID_IS_ONE 40.
#define MISH_IS_X 45.
#define FARTHEST 39.5 /* the normal distribution function of -FARTHEST is zero */
static const real normal_terms[] = {
    0.18882128260393787333, -0.15197416049297302669, 0.096784350185553632184, -0.046630464489914336671,
    0.015099143722734284509, -0.0018850472416808095822, -0.00086992309185089316485, 0.00040770461438281672985,
    0.000033336078122168734303, -0.000057773733666159025476, -4.7706468948379490404e-7, 8.786170855290636023e-6,
    1.791665934159049612e-7, -1.4800412197728883421e-6, -1.5742337900983564441e-7, 2.553843565456013052e-7,
    6.7948359947187216735e-8, -3.8736510616145678844e-8, -2.1347464935694029679e-8, 3.3176967434902764243e-9,
    4.9010123497594317086e-9, 4.7953486709019603155e-10, -6.2920479049816270035e-10, -1.8113698425844774617e-10,
};
static const real shrink_terms[] = {
    0.33333333333333333293, -0.13333333333333310033, 0.053968253968231520922, -0.021869488535296695118,
    0.0088632355125660536388, -0.0035921278234228788593, 0.0014558326516768137606, -0.00059001756852543192499,
    0.00023908843670493631334, -0.00009679102182669329654, 0.000038991741215043213524, -0.000015416277241022492045,
    5.7774841368659153814e-6, -1.9216974143833893922e-6, 5.1227671507932616433e-7, -9.3641446229657592707e-8,
    8.5381619012121565366e-9,
};
#else
#define EXP_IS_NORMAL 80.f
#define LEFT_END (-200.f)
#define TANH_IS_ONE 9.5f
#define SIGMOID_IS_ONE 20.f
#define MISH_IS_X 20.f
#define FARTHEST 14.6f
#ifndef PIECES
#define NORMAL_SCALE 2.f
static const real normal_terms[] = {
    0.336204002354f, -0.165702237474f, 0.0143986920319f, 0.0183596998455f, -0.000234946927573f, -0.00336727577581f,
    -0.000975498436423f, 0.000411906363887f, 0.000417829728675f, 6.62694099335e-5f, -7.43456331223e-5f, -3.26304078862e-5f,
};
static const real log1p_terms[] = {
    0.810930219913f, -0.288527101372f, 0.132609015777f, -0.067688189654f, 0.0366352341663f, -0.0205631824322f,
    0.0115776851824f, -0.00678801695194f, 0.00525027067807f, -0.00317605701843f,
};
#endif
static const real shrink_terms[] = {
    0.33333333156722313937f, -0.13333310655545100574f, 0.053963414754438835794f, -0.021829548843059369963f,
    0.0086978475928148779815f, -0.0032068033868465648855f, 0.00092350084634817608789f, -0.00014279318799621564838f,
};
#endif

/* sqrt(8 / pi) / log(2) and 0.044715 times it, as the nearest number and the rest */
#if PC_F64
#define GELU_1 0x1.26aec21bce759p+1
#define GELU_1_COARSE 0x1.26aec20000000p+1
#define GELU_1_FINE 1.294840203757139477e-8
#define GELU_3 0x1.a5a7cf7572a98p-4
#define GELU_3_LOW (-5.9781774007187443721e-18)
#define GELU_FARTHEST 22.5 /* x times the sigmoid of 2 u is zero to the left */
#else
#define GELU_1 0x1.26aec2p+1f
#define GELU_1_COARSE 0x1.26a0000000000p+1f
#define GELU_1_FINE 0.00045038564432488913389f
#define GELU_3 0x1.a5a7d0p-4f
#define GELU_3_LOW (-2.0161984364105028953e-9f)
#define GELU_FARTHEST 11.f
#endif
#define SELU_SCALE ((real)1.0507009873554804934193349852946)
#define SELU_SCALE_ALPHA ((real)1.7580993408473768599402175208123)

/* NAME_of from quick_NAME, for all lanes but some rare ones; in the vectors that have such, these get what careful says.
 * So every element is still computed alike wherever it lies. quick_NAME gets a 1 for a rare lane. */
#define EXCEPT(name, rare, careful)                                                                                 \
    static inline mask rare_##name(vec x) { return rare; }                                                          \
    static __attribute__((noinline, cold)) vec mixed_##name(vec x, NO_PARAMETERS, mask m)                             \
    {                                                                                                               \
        return pick(m, careful, quick_##name(pick(m, splat(1), x), p));                                             \
    }                                                                                                               \
    static inline vec name##_of(vec x, const vec *p)                                                                \
    {                                                                                                               \
        const mask m = rare_##name(x);                                                                              \
        return __builtin_expect(any(m), 0) ? mixed_##name(x, p, m) : quick_##name(x, p);                            \
    }

static inline vec relu_of(vec x, NO_PARAMETERS) { return greater_of(splat(0), x); } /* NaN and -0 stay */

static inline vec hardtanh_of(vec x, const vec *p) { return lesser_of(p[1], greater_of(p[0], x)); }

static inline vec relu6_of(vec x, NO_PARAMETERS) { return lesser_of(splat(6), relu_of(x, p)); }

static inline vec quick_leaky_relu(vec x, const vec *p) { return pick(below(splat(0), x), x, x * p[0]); }

EXCEPT(leaky_relu, denormal(x), pick(below(splat(0), x), x, denormal_product(x, p[0])))

static inline vec hardsigmoid_of(vec x, NO_PARAMETERS) { return quotient(relu6_of(x + splat(3), p), splat(6)); }

static inline vec quick_hardswish(vec x, NO_PARAMETERS) { return x * hardsigmoid_of(x, p); }

EXCEPT(hardswish, denormal(x), denormal_product(x, splat((real)0.5)))

static inline vec hardshrink_of(vec x, const vec *p)
{
    return pick(below(p[0], x) | below(x, -p[0]) | unordered(x, x), x, splat(0));
}

static inline vec softshrink_of(vec x, const vec *p)
{
    const vec above = pick(below(p[0], x), x - p[0], x * splat(0)); /* 0 * NaN is NaN */
    return pick(below(x, -p[0]), x + p[0], above);
}

static inline vec threshold_of(vec x, const vec *p)
{
    return pick(below(p[0], x) | unordered(x, x), x, p[1]);
}

static inline vec quick_softsign(vec x, NO_PARAMETERS) { return x / (splat(1) + absolute(x)); }

EXCEPT(softsign, denormal(x), x)

static inline vec quick_elu(vec x, const vec *p) { return pick(below(splat(0), x), x, p[0] * expm1_below_zero(x)); }

EXCEPT(elu, denormal(x), pick(below(splat(0), x), x, denormal_product(x, p[0])))

static inline vec quick_celu(vec x, const vec *p)
{
    return pick(below(splat(0), x), x, p[0] * expm1_below_zero(x * (splat(1) / p[0])));
}

EXCEPT(celu, denormal(x), x)

static inline vec quick_selu(vec x, NO_PARAMETERS)
{
    return pick(below(splat(0), x), splat(SELU_SCALE) * x, splat(SELU_SCALE_ALPHA) * expm1_below_zero(x));
}

EXCEPT(selu, denormal(x), denormal_product(x, pick(below(splat(0), x), splat(SELU_SCALE), splat(SELU_SCALE_ALPHA))))

#ifdef PIECES
static inline vec tanh_of(vec x, NO_PARAMETERS)
{
    const vec t = lesser_of(splat(TANH_IS_ONE), greater_of(splat(TINY), absolute(x))); /* no denormal numbers */
    return least_magnitude(x, lesser_of(splat(1), t * piecewise(t, growing_piece(t), tanh_pieces)));
}
#else
static inline vec tanh_of(vec x, NO_PARAMETERS)
{
    /* with m = expm1(2 |x|) / 2: tanh |x| = m / (m + 1), without cancellation. Numbers below TINY do not get into
     * the arithmetic, which would be slow below the normal ones: they are smaller than what it gives. */
    const vec magnitude = absolute(x), a = lesser_of(splat(TANH_IS_ONE), greater_of(splat(TINY), magnitude));
    const vec rounder = splat(ROUNDER + EXPONENT_BIAS); /* leaves n + EXPONENT_BIAS in the low bits */
    const vec n = a * splat(2 * INVERSE_LOG2) + rounder;
    const vec r = a - (n - rounder) * splat(LOG2 / 2); /* the more of them, the less an error in m counts */
    const vec scale = (vec)((ivec)n << MANTISSA_BITS), half = splat((real)0.5);
    const vec m = scale * half_expm1_near_zero(r) + (scale * half - half);
    return least_magnitude(x, by_one_more(m));
}
#endif

static inline vec tanhshrink_of(vec x, const vec *p)
{
    const vec z = lesser_of(splat(1), x * x);
    return pick(below(absolute(x), splat(1)), x * z * polynomial(z, shrink_terms), x - tanh_of(x, p));
}

/* 1 / (1 + e) or, where negative, e / (1 + e), as a factor of 2**n */
static inline vec logistic(mask negative, power e, vec *n)
{
    *n = pick(negative, e.n, splat(ROUNDER));
    return quotient(pick(negative, e.v, splat(1)), splat(1) + e.value);
}

static inline vec careful_sigmoid(vec x)
{
    /* with x = n log(2) - r: 2**n / (2**n + exp(r)). The 2**-60 changes no result, and keeps numbers below the normal
     * ones out of products. */
    const vec a = lesser_of(splat(SIGMOID_IS_ONE), greater_of(splat(LEAST_EXP), x)) + splat((real)0x1p-60);
    const vec n = a * splat(INVERSE_LOG2) + splat(ROUNDER), whole = n - splat(ROUNDER);
    const vec r = (whole * splat(LOG2_HIGH) - a) + whole * splat(LOG2_LOW);
    const vec sum = splat(1) + (power_of_two(greater_of(splat((real)ROUNDER - 100), n)) + expm1_near_zero(r));
    return pick(unordered(x, x), x, scaled(quotient(splat(1), sum), n));
}

static inline vec quick_sigmoid(vec x, NO_PARAMETERS)
{
    return quotient(splat(1), one_more_than_exp(splat((real)-0x1p-60) - x)); /* which is no denormal number */
}

EXCEPT(sigmoid, beyond(x, splat(EXP_IS_NORMAL)), careful_sigmoid(x))

/* x * v * 2**n, where v * 2**n goes to zero at the left and to one at the right: rounded once below the normal numbers,
 * and NaN for -infinity, which is what -infinity * 0 gives in the formulas. */
static inline vec times_x(vec x, vec v, vec n)
{
    const vec bounded = greater_of(splat(LEFT_END), x), magnitude = absolute(bounded);
    const vec large = with_sign_of(scaled(magnitude * v, n), x) + lesser_of(splat(0), x) * splat(0);
    return pick(below(magnitude, splat((real)0.125)), x * v, large); /* there n is 0, and the product may be small */
}

static inline vec no_denormals(vec x) { return pick(denormal(x), splat(0), x); }

/* careful, but slope * x below the normal numbers, where that is what it is */
static inline vec careful_or_linear(vec x, vec careful, real slope)
{
    return pick(denormal(x), denormal_product(x, splat(slope)), careful);
}

static inline vec careful_silu(vec x)
{
    vec n;
    const vec v = logistic(below(x, splat(0)), exp_of(lesser_of(splat(-TINY), negative_of(x))), &n);
    return times_x(x, v, n);
}

static inline vec quick_silu(vec x, NO_PARAMETERS) { return signed_quotient(x, splat(1) + exp_within(-x)); }

EXCEPT(silu, beyond(x, splat(EXP_IS_NORMAL)) | denormal(x), careful_or_linear(x, careful_silu(no_denormals(x)), (real)0.5))

static inline vec careful_mish(vec x)
{
    /* tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2) */
    const mask negative = below(x, splat(0));
    const power e = exp_of(lesser_of(splat(MISH_IS_X), x) + splat((real)0x1p-60)); /* as in the sigmoid */
    const vec more = e.value + splat(2);
    const vec v = quotient(pick(negative, e.v, e.value) * more, e.value * more + splat(2));
    return times_x(x, v, pick(negative, e.n, splat(ROUNDER)));
}

static inline vec quick_mish(vec x, NO_PARAMETERS)
{
    const vec e = exp_within(lesser_of(splat(MISH_IS_X), x)), w = e * e + (e + e);
    return times_quotient(x, w, w + splat(2));
}

EXCEPT(mish, beyond(x, splat(EXP_IS_NORMAL)) | denormal(x), careful_or_linear(x, careful_mish(no_denormals(x)), (real)0.6))

/* exp(t**2 / 2) * (the normal distribution function of -t) for 0 <= t <= FARTHEST */
static inline vec normal_tail(vec t)
{
#ifdef PIECES
    return piecewise(t, growing_piece(t), normal_pieces);
#else
    const vec w = quotient(splat(NORMAL_SCALE), t + splat(NORMAL_SCALE));
    return w * polynomial(splat(1) - (w + w), normal_terms);
#endif
}

/* tail * exp(-t**2 / 2) as v * 2**n. q = t**2 + 2 n log(2) has one rounding, by a fused multiply-add; the 2**-60 keep squares
 * from becoming denormal numbers. */
static inline vec times_exp_of_half_square(vec tail, vec t, vec *n)
{
    enum { TERMS = sizeof expm1_terms / sizeof *expm1_terms };
    *n = (t * t + splat((real)0x1p-60)) * splat((real)-0.5 * INVERSE_LOG2) + splat(ROUNDER);
    const vec whole = *n - splat(ROUNDER);
    const vec q = fused(t, t, whole * splat(2 * LOG2_HIGH) + splat((real)0x1p-60)) + whole * splat(2 * LOG2_LOW);
    vec sum = splat(expm1_terms[TERMS - 1] * (real)(TERMS % 2 ? 1 : -1) / (2 << TERMS)); /* in powers of -q / 2 */
    UNROLL for (int i = TERMS - 2; i >= 0; i--) sum = sum * q + splat(expm1_terms[i] * (real)(i % 2 ? -1 : 1) / (4 << i));
    return tail * ((sum * q - splat((real)0.5)) * q) + tail; /* the exponential function itself is not rounded */
}

/* gelu where extreme(x): of infinities and NaN, and below the normal numbers x / 2 */
static inline vec extreme_gelu(vec x)
{
    return pick(denormal(x), denormal_product(x, splat((real)0.5)), x * pick(below(x, splat(0)), splat(0), splat(1)));
}

/* max(x, 0) - |x| v, v the normal distribution function of -|x|. AVX-512 takes max(x, -0), so that at the far left, where
 * v is zero, the result is -0, as x times zero is. */
#if defined(__AVX512F__)
static inline vec quick_gelu(vec x, NO_PARAMETERS)
{
    const vec t = lesser_of(splat(FARTHEST), absolute(x));
    vec n;
    const vec v = times_exp_of_half_square(t * normal_tail(t), t, &n);
    return greater_of(splat((real)-0.0), x) - scaled(v, n);
}

EXCEPT(gelu, extreme(x), extreme_gelu(x))
#else
static inline vec careful_gelu(vec x)
{
    /* exp of -x**2 / 2, x**2 with what its rounding loses */
    const mask negative = below(x, splat(0));
    const vec t = lesser_of(splat(FARTHEST), greater_of(splat(TINY), absolute(x)));
    const two square = exact_product(t, t);
    const power e = exp_of_sum(splat((real)-0.5) * square.high, splat((real)-0.5) * square.low);
    const vec factor = normal_tail(t);
    return times_x(x, pick(negative, e.v * factor, splat(1) - e.value * factor), pick(negative, e.n, splat(ROUNDER)));
}

static inline vec quick_gelu(vec x, NO_PARAMETERS)
{
    const vec t = absolute(x);
    vec n;
    const vec v = times_exp_of_half_square(normal_tail(t), t, &n);
    return greater_of(splat(0), x) - t * raised(v, n);
}

EXCEPT(gelu, beyond(x, splat(13)) | denormal(x), careful_or_linear(x, careful_gelu(no_denormals(x)), (real)0.5))
#endif

static inline vec quick_gelu_tanh(vec x, NO_PARAMETERS)
{
    /* max(x, 0) - |x| v, v = 1 / (1 + exp(2 u)), since 1 + tanh(u) = 2 sigmoid(2 u); 2 u / log(2) = t (GELU_1 + GELU_3 t**2),
     * its slope in a coarse part, whose product with t is exact but for one rounding, and the rest: exp magnifies an error
     * of its argument */
    const vec magnitude = lesser_of(splat(GELU_FARTHEST), absolute(x)), t = greater_of(splat(TINY), magnitude);
    const two square = exact_product(t, t);
    const vec slope = splat(GELU_3) * square.high + splat(GELU_1), coarse = (vec)((ivec)slope & SPLIT_MASK);
    const vec low = splat(GELU_3_LOW) * square.high + (splat(GELU_3) * square.low + splat(GELU_1_FINE));
    const vec fine = fused(splat(GELU_3), square.high, splat(GELU_1_COARSE) - coarse) + low;
    const vec n = splat(ROUNDER) - t * slope, whole = n - splat(ROUNDER);
    const vec v = exp2_near_zero(fused_minus(t, coarse, -whole) - t * fine);
#if defined(__AVX512F__)
    return greater_of(splat((real)-0.0), x) - scaled(quotient(magnitude * v, splat(1) + scaled(v, n)), n);
#else
    vec exponent;
    const vec part = logistic(below(x, splat(0)), power_from(v, n), &exponent);
    return times_x(x, part, exponent);
#endif
}

EXCEPT(gelu_tanh, extreme(x), extreme_gelu(x))

/* log(1 + e) / e for 0 <= e <= 1 */
static inline vec log1p_within(vec e)
{
#ifdef PIECES
    return piecewise(e, even_piece(e), log1p_pieces);
#elif PC_F64
    return log1p_by(e);
#else
    return polynomial(e - splat(0.5f), log1p_terms); /* nearer than a series in a quotient, which is rounded first */
#endif
}

static inline vec logsigmoid_of(vec x, NO_PARAMETERS)
{
    const power e = exp_of(lesser_of(splat(-TINY), negative_of(x)));
    return lesser_of(splat(0), x) - scaled(e.v * log1p_within(e.value), e.n);
}

static inline vec quick_softplus(vec x, const vec *p)
{
    /* log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), z = beta x with what its rounding loses */
    const two z = exact_product(x, p[0]);
    const vec low = pick(below(z.high, splat(0)), z.low, -z.low);
    const power e = exp_of_sum(lesser_of(splat(-TINY), negative_of(z.high)), low);
    const vec inverse = splat(1) / p[0], rest = scaled(e.v * log1p_within(e.value) * absolute(inverse), e.n);
    return pick(below(p[1], z.high), x, with_sign_of(splat(1), inverse) * rest + pick(below(z.high, splat(0)), splat(0), x));
}

EXCEPT(softplus, denormal(x), pick(below(p[1], splat(0)), x, quick_softplus(splat(0), p)))

/* Q: those with a quick formula, and exceptions */
#define PC_ACTIVATIONS(X, Q) \
    Q(elu) Q(selu) Q(celu) Q(gelu) Q(gelu_tanh) Q(silu) Q(mish) Q(sigmoid) X(logsigmoid) X(tanh) X(tanhshrink) Q(softplus)

/* Those of so few operations that moving the numbers takes longer */
#define PC_LIGHT_ACTIVATIONS(X, Q) \
    X(relu) X(relu6) Q(leaky_relu) X(hardtanh) X(hardsigmoid) Q(hardswish) X(hardshrink) X(softshrink) Q(softsign) \
    X(threshold)

#endif
