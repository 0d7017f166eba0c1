// The activations: NAME_of(x, p), p the parameters that the table of pyconv/plan/activations.py lists for it, for any x
// but NaN. A kernel names one with -DACTIVATION=NAME_of, and calls activated().
//
// The methods are those of pyconv/_core/kernels/activation.h. They are made of comparisons, multiply-adds and
// divisions, so that a host build computes the same bits. below(), negative_of() and what is called unflushed stand
// where an argument or a result may be subnormal.

#include "exponential.cuh"

// In 8 bytes, whatever the type
struct alignas(8) Parameter {
    scalar value;
};

// exp(t**2 / 2) * (the normal distribution function of -t) = w H(u), w = NORMAL_SCALE / (t + NORMAL_SCALE),
// u = 1 - 2 w; x - tanh(x) = x z S(z), z = x**2 <= 1: tools/fit_activations.py. GELU_1 and GELU_3: sqrt(8 / pi) and
// 0.044715 times it, as the nearest number and the rest.
#if DTYPE == FLOAT64
#define NORMAL_SCALE 4.0
#define LEFT_END (-1000.0)  // silu, gelu and mish of less are zero
#define TANH_IS_ONE 20.0
#define TANH_IS_X 1e-9
#define MISH_IS_X 45.0
#define FARTHEST 39.5       // the normal distribution function of -FARTHEST is zero
#define GELU_1 0x1.9884533d43651p+0
#define GELU_1_LOW (-9.9693088091109203146e-17)
#define GELU_3 0x1.2444f2a4d8b4bp-4
#define GELU_3_LOW (-6.1751499181553154534e-19)
#define NORMAL_TERMS                                                                                                   \
    0.18882128260393787333, -0.15197416049297302669, 0.096784350185553632184, -0.046630464489914336671,                \
        0.015099143722734284509, -0.0018850472416808095822, -0.00086992309185089316485, 0.00040770461438281672985,     \
        0.000033336078122168734303, -0.000057773733666159025476, -4.7706468948379490404e-7, 8.786170855290636023e-6,   \
        1.791665934159049612e-7, -1.4800412197728883421e-6, -1.5742337900983564441e-7, 2.553843565456013052e-7,        \
        6.7948359947187216735e-8, -3.8736510616145678844e-8, -2.1347464935694029679e-8, 3.3176967434902764243e-9,      \
        4.9010123497594317086e-9, 4.7953486709019603155e-10, -6.2920479049816270035e-10, -1.8113698425844774617e-10
#define SHRINK_TERMS                                                                                                   \
    0.33333333333333333293, -0.13333333333333310033, 0.053968253968231520922, -0.021869488535296695118,                \
        0.0088632355125660536388, -0.0035921278234228788593, 0.0014558326516768137606, -0.00059001756852543192499,     \
        0.00023908843670493631334, -0.00009679102182669329654, 0.000038991741215043213524,                             \
        -0.000015416277241022492045, 5.7774841368659153814e-6, -1.9216974143833893922e-6, 5.1227671507932616433e-7,    \
        -9.3641446229657592707e-8, 8.5381619012121565366e-9
#else
#define NORMAL_SCALE 2.0f
#define LEFT_END (-200.0f)
#define TANH_IS_ONE 9.5f
#define TANH_IS_X 1e-4f
#define MISH_IS_X 20.0f
#define FARTHEST 14.6f
#define GELU_1 0x1.988454p+0f
#define GELU_1_LOW (-4.534068042105271576e-8f)
#define GELU_3 0x1.2444f2p-4f
#define GELU_3_LOW 2.3988323959931356273e-9f
#define NORMAL_TERMS                                                                                                   \
    0.33620400235355892085f, -0.1657022374735828983f, 0.01439869203188348549f, 0.018359699845490601934f,               \
        -0.00023494692757308259992f, -0.0033672757758055997249f, -0.00097549843642335799861f,                          \
        0.00041190636388688949879f, 0.00041782972867490083304f, 0.000066269409933539763917f,                           \
        -0.000074345633122303515523f, -0.000032630407886229285411f
#define SHRINK_TERMS                                                                                                   \
    0.33333333156722313937f, -0.13333310655545100574f, 0.053963414754438835794f, -0.021829548843059369963f,            \
        0.0086978475928148779815f, -0.0032068033868465648855f, 0.00092350084634817608789f, -0.00014279318799621564838f
#endif
#define GELU_FARTHEST scalar(22.5)  // the sigmoid of 2 u is zero to the left
#define SELU_SCALE scalar(1.0507009873554804934193349852946)
#define SELU_SCALE_ALPHA scalar(1.7580993408473768599402175208123)

#define ACTIVATION_OF(name) \
    static __device__ __forceinline__ scalar name##_of(scalar x, [[maybe_unused]] const Parameter *p)

ACTIVATION_OF(identity)
{
    return x;
}

ACTIVATION_OF(relu)
{
    return bits_of(x) < 0 ? scalar(0) : x;
}

ACTIVATION_OF(hardtanh)
{
    scalar above = below(x, p[0].value) ? p[0].value : x;
    return below(p[1].value, above) ? p[1].value : above;
}

ACTIVATION_OF(relu6)
{
    return below(6, x) ? scalar(6) : relu_of(x, p);
}

ACTIVATION_OF(leaky_relu)
{
    return bits_of(x) > 0 ? x : multiply_unflushed(x, p[0].value);
}

ACTIVATION_OF(hardsigmoid)
{
    return relu6_of(x + scalar(3), p) / scalar(6);
}

ACTIVATION_OF(hardswish)
{
    return multiply_unflushed(x, hardsigmoid_of(x, p));
}

ACTIVATION_OF(hardshrink)
{
    return below(p[0].value, x) || below(x, negative_of(p[0].value)) ? x : scalar(0);
}

ACTIVATION_OF(softshrink)
{
    scalar lambd = p[0].value, less = negative_of(lambd);
    if (below(lambd, x))
        return add_unflushed(x, less);
    return below(x, less) ? add_unflushed(x, lambd) : scalar(0);
}

ACTIVATION_OF(threshold)
{
    return below(p[0].value, x) ? x : p[1].value;
}

ACTIVATION_OF(softsign)
{
    scalar size = absolute(x);
    return size < TINY ? x : x / (scalar(1) + size);
}

ACTIVATION_OF(elu)
{
    return bits_of(x) > 0 ? x : multiply_unflushed(p[0].value, expm1_below_zero(x));
}

ACTIVATION_OF(celu)
{
    scalar y = x / p[0].value;
    return bits_of(x) > 0 || y > -TINY ? x : multiply_unflushed(p[0].value, expm1_below_zero(y));
}

ACTIVATION_OF(selu)
{
    return bits_of(x) > 0 ? multiply_unflushed(SELU_SCALE, x)
                          : multiply_unflushed(SELU_SCALE_ALPHA, expm1_below_zero(x));
}

ACTIVATION_OF(sigmoid)
{
    int n;
    scalar mantissa = logistic(bits_of(x) < 0, exp_of(-absolute(x)), n);
    return scale(mantissa, n);
}

// (exp(2|x|) - 1) / (exp(2|x|) + 1), with the sign of x
ACTIVATION_OF(tanh)
{
    scalar size = absolute(x), result = 1;
    if (size < TANH_IS_X)
        return x;
    if (size < TANH_IS_ONE) {
        scalar r;
        int n = reduce(size + size, r);
        scalar rest = expm1_rest(r), power = power_of_two(n);
        // exp - 1 = power * (r + rest) + (power - 1), in two parts: the large one and what its rounding lost
        scalar base = power - scalar(1);
        scalar high = multiply_add(power, r, base);
        scalar low = multiply_add(power, rest, multiply_add(power, r, base - high));
        if (n == 0) {
            high = r;
            low = rest;
        }
        scalar above = high + low;
        scalar beneath = above + scalar(2);
        scalar quotient = above / beneath;
        // one step of Newton's on the quotient, with the parts that the sums lost
        scalar lost = (high - above) + low;
        scalar error = multiply_add(-quotient, beneath, above);
        scalar lost_beneath = above - (beneath - scalar(2));
        error += multiply_add(-quotient, lost + lost_beneath, lost);
        result = multiply_add(error, scalar(1) / beneath, quotient);
    }
    return with_sign_of(result, x);
}

ACTIVATION_OF(tanhshrink)
{
    scalar z = x * x;
    if (absolute(x) < scalar(1))
        return multiply_unflushed(x, z * polynomial(z, SHRINK_TERMS));
    return x - tanh_of(x, p);
}

// x * v * 2**n, where v * 2**n goes to zero at the left and to one at the right: rounded once below the normal numbers,
// and NaN for -infinity, which is what -infinity * 0 gives in the formulas
static __device__ __forceinline__ scalar times(scalar x, scalar v, int n)
{
    scalar bounded = larger(x, LEFT_END), size = absolute(bounded);
    if (size < scalar(0.125))
        return multiply_unflushed(x, v);  // there n is 0, and the product may be subnormal
    return x == -infinity() ? infinity() - infinity() : with_sign_of(scale(size * v, n), x);
}

ACTIVATION_OF(silu)
{
    int n;
    scalar v = logistic(bits_of(x) < 0, exp_of(-absolute(x)), n);
    return times(x, v, n);
}

// tanh(log(1 + e)) = e (e + 2) / (e (e + 2) + 2)
ACTIVATION_OF(mish)
{
    bool negative = bits_of(x) < 0;
    Power e = exp_of(smaller(x, MISH_IS_X));
    scalar more = e.value + scalar(2);
    scalar v = (negative ? e.mantissa : e.value) * more / multiply_add(e.value, more, 2);
    return times(x, v, negative ? e.exponent : 0);
}

// The normal distribution function of -|x| = exp(-x**2 / 2) w H(u), x**2 with what its rounding loses
ACTIVATION_OF(gelu)
{
    bool negative = bits_of(x) < 0;
    scalar t = smaller(larger(absolute(x), TINY), FARTHEST);
    Two square = exact_product(t, t);
    Power e = exp_of_sum(scalar(-0.5) * square.high, scalar(-0.5) * square.low);
    scalar w = NORMAL_SCALE / (t + NORMAL_SCALE);
    scalar factor = w * polynomial(scalar(1) - (w + w), NORMAL_TERMS);
    scalar v = negative ? e.mantissa * factor : multiply_add(-e.value, factor, 1);
    return times(x, v, negative ? e.exponent : 0);
}

// x sigmoid(2 u), since 1 + tanh(u) = 2 sigmoid(2 u); 2 u = t (GELU_1 + GELU_3 t**2) with its lower part, which the
// exponential function magnifies
ACTIVATION_OF(gelu_tanh)
{
    scalar t = smaller(larger(absolute(x), TINY), GELU_FARTHEST);
    Two square = exact_product(t, t), cubic = exact_product(GELU_3, square.high);
    Two slope = exact_difference(cubic.high, -GELU_1);
    slope.low += cubic.low + multiply_add(GELU_3, square.low, multiply_add(GELU_3_LOW, square.high, GELU_1_LOW));
    Two w = exact_product(t, slope.high);
    int n;
    scalar v = logistic(bits_of(x) < 0, exp_of_sum(-w.high, -multiply_add(t, slope.low, w.low)), n);
    return times(x, v, n);
}

ACTIVATION_OF(logsigmoid)
{
    Power e = exp_of(-absolute(x));
    scalar rest = scale(e.mantissa * log1p_by(e.value), e.exponent);
    return bits_of(x) < 0 ? x - rest : negative_of(rest);
}

// log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), z = beta x with what its rounding loses
ACTIVATION_OF(softplus)
{
    scalar beta = p[0].value, threshold = p[1].value;
    Two z = exact_product(x, beta);
    if (below(threshold, z.high) || (z.high == threshold && z.low > 0))
        return x;
    Power e = exp_of_sum(-absolute(z.high), z.high < 0 ? z.low : -z.low);
    scalar rest = scale(e.mantissa * log1p_by(e.value) / beta, e.exponent);
    return bits_of(x) < 0 ? rest : add_unflushed(x, rest);
}

#undef ACTIVATION_OF

// NaN stays NaN
static __device__ __forceinline__ scalar activated(scalar x, const Parameter *p)
{
    return is_nan(x) ? x : ACTIVATION(x, p);
}

// What a convolution writes of a sum; `more` is the element that is added to it with -DRESIDUAL=1
static __device__ __forceinline__ element finished(scalar sum, scalar bias, [[maybe_unused]] element more,
                                                   const Parameter *p)
{
#if RESIDUAL
    return narrow(activated(sum + bias + widen(more), p));
#else
    return narrow(activated(sum + bias, p));
#endif
}
