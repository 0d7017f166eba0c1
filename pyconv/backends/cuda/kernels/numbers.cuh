// Numbers by their bits, and sums and products with what their rounding loses, in the type that sums are kept in.
//
// The bits of numbers are compared and changed where C's operators would take subnormal numbers for zero.

#include "common.cuh"

typedef accumulator scalar;
#if DTYPE == FLOAT64
typedef long long integer;
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define INFINITE_BITS 0x7ff0000000000000LL
#define LARGEST_BITS 0x7fffffffffffffffLL
#else
typedef int integer;
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define INFINITE_BITS 0x7f800000
#define LARGEST_BITS 0x7fffffff
#endif

static __device__ __forceinline__ integer bits_of(scalar value)
{
#if DTYPE == FLOAT64
    return __double_as_longlong(value);
#else
    return __float_as_int(value);
#endif
}

static __device__ __forceinline__ scalar of_bits(integer bits)
{
#if DTYPE == FLOAT64
    return __longlong_as_double(bits);
#else
    return __int_as_float(bits);
#endif
}

// |value| as an integer of the same order, NaN above infinity
static __device__ __forceinline__ integer magnitude_of(scalar value)
{
    return bits_of(value) & LARGEST_BITS;
}

static __device__ __forceinline__ bool is_nan(scalar value)
{
    return magnitude_of(value) > INFINITE_BITS;
}

static __device__ __forceinline__ scalar infinity()
{
    return of_bits(INFINITE_BITS);
}

static __device__ __forceinline__ scalar absolute(scalar value)
{
    return of_bits(magnitude_of(value));
}

static __device__ __forceinline__ scalar negative_of(scalar value)
{
    return of_bits(bits_of(value) ^ ~LARGEST_BITS);
}

static __device__ __forceinline__ scalar with_sign_of(scalar magnitude, scalar value)
{
    return of_bits(bits_of(magnitude) | (bits_of(value) & ~LARGEST_BITS));
}

// 2**n in the range of normal numbers
static __device__ __forceinline__ scalar power_of_two(int n)
{
    return of_bits((integer)(n + EXPONENT_BIAS) << MANTISSA_BITS);
}

// x * 2**n, rounded once if x is a normal number, for |n| up to nearly twice the largest exponent
static __device__ __forceinline__ scalar scale(scalar x, int n)
{
    int half = n / 2;
    return multiply_unflushed(multiply_unflushed(x, power_of_two(half)), power_of_two(n - half));
}

// A number as the sum of a rounded value and what the rounding lost
struct Two {
    scalar high, low;
};

// big + small, where |big| >= |small| or big is 0 (Dekker's Fast2Sum)
static __device__ __forceinline__ Two exact_sum(scalar big, scalar small)
{
    scalar high = big + small;
    return {high, small - (high - big)};
}

// a - b (Knuth's TwoSum)
static __device__ __forceinline__ Two exact_difference(scalar a, scalar b)
{
    scalar high = a - b, back = high - a;
    return {high, (a - (high - back)) - (b + back)};
}

static __device__ __forceinline__ Two exact_product(scalar a, scalar b)
{
    scalar high = a * b;
    return {high, multiply_add(a, b, -high)};
}

// terms[0] + terms[1] x + ...
static __device__ __forceinline__ scalar polynomial(scalar, scalar last)
{
    return last;
}

template <class... Rest>
static __device__ __forceinline__ scalar polynomial(scalar x, scalar first, Rest... rest)
{
    return multiply_add(polynomial(x, rest...), x, first);
}
