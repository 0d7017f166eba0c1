// Activations, NAME_of(value), on float and double. A kernel names one with -DACTIVATION=NAME_of.
//
// They are made of comparisons of bits, multiply-adds and one division, so that a host build computes the same bits.

static __device__ __forceinline__ int bits_of(float value)
{
    return __float_as_int(value);
}

static __device__ __forceinline__ long long bits_of(double value)
{
    return __double_as_longlong(value);
}

// |value| as an integer of the same order, NaN above infinity; unlike comparisons of floats it tells subnormals apart
static __device__ __forceinline__ int magnitude_of(float value)
{
    return bits_of(value) & 0x7fffffff;
}

static __device__ __forceinline__ long long magnitude_of(double value)
{
    return bits_of(value) & 0x7fffffffffffffffLL;
}

static __device__ __forceinline__ bool is_nan(float value)
{
    return magnitude_of(value) > 0x7f800000;
}

static __device__ __forceinline__ bool is_nan(double value)
{
    return magnitude_of(value) > 0x7ff0000000000000LL;
}

// x * 2**n, rounded once, for |n| up to twice the largest exponent
static __device__ __forceinline__ float scale(float x, int n)
{
    int half = n / 2;
    return multiply_unflushed(multiply_unflushed(x, __int_as_float((half + 127) << 23)),
                              __int_as_float((n - half + 127) << 23));
}

static __device__ __forceinline__ double scale(double x, int n)
{
    int half = n / 2;
    return x * __longlong_as_double((long long)(half + 1023) << 52)
           * __longlong_as_double((long long)(n - half + 1023) << 52);
}

// What differs between the types: ln 2 in two parts, 1 / ln 2, and where results no longer change
template <class real> struct Exponential;

template <> struct Exponential<float> {
    static __device__ __forceinline__ float inverse() { return 1.44269504f; }
    static __device__ __forceinline__ float high() { return 0.693359375f; }
    static __device__ __forceinline__ float low() { return -2.12194440e-4f; }
    static __device__ __forceinline__ float lowest() { return -104.0f; }   // exp is below half of the smallest subnormal
    static __device__ __forceinline__ float saturated() { return 9.5f; }   // tanh is 1
    static __device__ __forceinline__ float small() { return 1e-4f; }      // tanh(x) is x to half a unit
    static __device__ __forceinline__ float nearest(float x) { return rintf(x); }

    // (exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2: Taylor's sum, whose next term is below 2**-26 of exp(r) - 1
    static __device__ __forceinline__ float rest(float r)
    {
        float sum = 1.98412698e-4f;
        sum = fmaf(sum, r, 1.38888889e-3f);
        sum = fmaf(sum, r, 8.33333333e-3f);
        sum = fmaf(sum, r, 4.16666667e-2f);
        sum = fmaf(sum, r, 1.66666667e-1f);
        return fmaf(sum, r, 0.5f);
    }
};

template <> struct Exponential<double> {
    static __device__ __forceinline__ double inverse() { return 1.4426950408889634; }
    static __device__ __forceinline__ double high() { return 6.93147180369123816490e-01; }
    static __device__ __forceinline__ double low() { return 1.90821492927058770002e-10; }
    static __device__ __forceinline__ double lowest() { return -746.0; }
    static __device__ __forceinline__ double saturated() { return 20.0; }
    static __device__ __forceinline__ double small() { return 1e-9; }
    static __device__ __forceinline__ double nearest(double x) { return rint(x); }

    // as above, the next term below 2**-56
    static __device__ __forceinline__ double rest(double r)
    {
        double sum = 1.1470745597729725e-11;
        sum = fma(sum, r, 1.6059043836821613e-10);
        sum = fma(sum, r, 2.0876756987868099e-09);
        sum = fma(sum, r, 2.5052108385441720e-08);
        sum = fma(sum, r, 2.7557319223985893e-07);
        sum = fma(sum, r, 2.7557319223985888e-06);
        sum = fma(sum, r, 2.4801587301587302e-05);
        sum = fma(sum, r, 1.9841269841269841e-04);
        sum = fma(sum, r, 1.3888888888888889e-03);
        sum = fma(sum, r, 8.3333333333333333e-03);
        sum = fma(sum, r, 4.1666666666666664e-02);
        sum = fma(sum, r, 1.6666666666666666e-01);
        return fma(sum, r, 0.5);
    }
};

// x = n ln(2) + r, |r| <= ln(2) / 2; exp(r) - 1 is returned in two parts, r and what is left
template <class real>
static __device__ __forceinline__ int reduce(real x, real &r, real &rest)
{
    typedef Exponential<real> table;
    real n = table::nearest(x * table::inverse());
    r = multiply_add(n, -table::high(), x);
    real correction = n * table::low();
    r -= correction;
    rest = r * r * table::rest(r);
    return (int)n;
}

template <class real>
static __device__ __forceinline__ real identity_of(real x)
{
    return x;
}

// max(x, 0), NaN kept; by the sign's bit, since comparisons take negative subnormals for zero
template <class real>
static __device__ __forceinline__ real relu_of(real x)
{
    return bits_of(x) < 0 && !is_nan(x) ? real(0) : x;
}

// 1 / (1 + exp(-x)), as exp(-|x|) / (1 + exp(-|x|)) on the negative side
template <class real>
static __device__ __forceinline__ real sigmoid_of(real x)
{
    typedef Exponential<real> table;
    if (is_nan(x))
        return x;
    real below = bits_of(x) < 0 ? x : -x;
    if (below < table::lowest())
        below = table::lowest();
    real r, rest;
    int n = reduce(below, r, rest);
    real mantissa = real(1) + (r + rest);          // exp(below) = mantissa * 2**n
    real small = scale(mantissa, n);               // zero or flushed only where 1 + small is 1
    real sum = real(1) + small;
    real lost = small - (sum - real(1));           // what rounding took from the sum
    real inverse = real(1) / sum;
    if (bits_of(x) >= 0)
        return multiply_add(-lost * inverse, inverse, inverse);
    real quotient = mantissa * inverse;
    real left = multiply_add(-quotient, sum, mantissa);  // of the division, and of the sum
    left = multiply_add(-quotient, lost, left);
    return scale(multiply_add(left, inverse, quotient), n);
}

// (exp(2|x|) - 1) / (exp(2|x|) + 1), with the sign of x
template <class real>
static __device__ __forceinline__ real tanh_of(real x)
{
    typedef Exponential<real> table;
    real size = bits_of(x) < 0 ? -x : x;
    if (is_nan(x) || magnitude_of(x) < magnitude_of(table::small()))
        return x;
    real result = 1;
    if (size < table::saturated()) {
        real r, rest;
        int n = reduce(size + size, r, rest);
        real power = scale(real(1), n);
        // exp - 1 = power * (r + rest) + (power - 1), in two parts: the large one and what its rounding lost
        real base = power - real(1);
        real high = multiply_add(power, r, base);
        real low = multiply_add(power, rest, multiply_add(power, r, base - high));
        if (n == 0) {
            high = r;
            low = rest;
        }
        real above = high + low;
        real below = above + real(2);
        real quotient = above / below;
        // one step of Newton's on the quotient, with the parts that the sums lost
        real lost = (high - above) + low;
        real error = multiply_add(-quotient, below, above);
        real lost_below = above - (below - real(2));
        error += lost - quotient * (lost + lost_below);
        result = multiply_add(error, real(1) / below, quotient);
    }
    return bits_of(x) < 0 ? -result : result;
}
