// What every kernel is built on: the element type that -DDTYPE names, the type sums are kept in, and ways between them.
//
// Kernels see valid plans only, and addresses of memory on their own device. INDEX is the type of offsets inside one
// image and of the number of an output: int, or long long where 2**31 is not enough; offsets to an image, and those
// into the output, are always 64-bit.

#define FLOAT32 32
#define FLOAT64 64
#define FLOAT16 16
#define BFLOAT16 17

// C's operators on float flush subnormal numbers (CuPy compiles with -ftz=true); PTX says for itself what it does.
// A host build brings its own twins of these.
#ifndef PYCONV_HOST
static __device__ __forceinline__ float multiply_unflushed(float a, float b)
{
    float product;
    asm("mul.rn.f32 %0, %1, %2;" : "=f"(product) : "f"(a), "f"(b));
    return product;
}

static __device__ __forceinline__ float add_unflushed(float a, float b)
{
    float sum;
    asm("add.rn.f32 %0, %1, %2;" : "=f"(sum) : "f"(a), "f"(b));
    return sum;
}

static __device__ __forceinline__ float multiply_add_unflushed(float a, float b, float c)
{
    float sum;
    asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(sum) : "f"(a), "f"(b), "f"(c));
    return sum;
}

static __device__ __forceinline__ bool below(float a, float b)  // a < b
{
    int found;
    asm("{ .reg .pred p; setp.lt.f32 p, %1, %2; selp.s32 %0, 1, 0, p; }" : "=r"(found) : "f"(a), "f"(b));
    return found;
}

static __device__ __forceinline__ bool beats(float b, float a)  // b > a, or b is NaN
{
    int found;
    asm("{ .reg .pred p, q; setp.nan.f32 q, %1, %1; setp.gt.or.f32 p, %1, %2, q; selp.s32 %0, 1, 0, p; }"
        : "=r"(found) : "f"(b), "f"(a));
    return found;
}

static __device__ __forceinline__ float float_of_half(unsigned short half)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
}

static __device__ __forceinline__ unsigned short half_of_float(float value)
{
    unsigned short half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
}
#endif

#if DTYPE == FLOAT32
typedef float element;
typedef float accumulator;
#elif DTYPE == FLOAT64
typedef double element;
typedef double accumulator;
#else
typedef unsigned short element;  // the bits
typedef float accumulator;
#endif

static __device__ __forceinline__ float multiply_add(float a, float b, float c)
{
    return fmaf(a, b, c);
}

static __device__ __forceinline__ double multiply_add(double a, double b, double c)
{
    return fma(a, b, c);
}

// double is never flushed
static __device__ __forceinline__ double multiply_unflushed(double a, double b)
{
    return a * b;
}

static __device__ __forceinline__ double add_unflushed(double a, double b)
{
    return a + b;
}

static __device__ __forceinline__ double multiply_add_unflushed(double a, double b, double c)
{
    return fma(a, b, c);
}

static __device__ __forceinline__ bool below(double a, double b)
{
    return a < b;
}

static __device__ __forceinline__ bool beats(double b, double a)
{
    return b > a || b != b;
}

static __device__ __forceinline__ accumulator widen(element value)
{
#if DTYPE == FLOAT16
    return float_of_half(value);
#elif DTYPE == BFLOAT16
    return __int_as_float((int)((unsigned)value << 16));
#else
    return value;
#endif
}

// rounds to nearest, ties to even
static __device__ __forceinline__ element narrow(accumulator value)
{
#if DTYPE == FLOAT16
    return half_of_float(value);
#elif DTYPE == BFLOAT16
    unsigned bits = (unsigned)__float_as_int(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (element)((bits >> 16) | 0x40u);  // a NaN stays one
    return (element)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#else
    return value;
#endif
}

// n / divisor for 0 <= n < 2**31, by a multiplication (Granlund and Montgomery 1994, figure 4.1)
struct Divisor {
    unsigned multiplier;
    unsigned shift;
};

static __device__ __forceinline__ int divide(int n, Divisor by)
{
    return (int)((__umulhi((unsigned)n, by.multiplier) + (unsigned)n) >> by.shift);
}
