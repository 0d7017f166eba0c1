// CUDA's words in C++ for one CPU thread, so that the very kernels of pyconv/backends/cuda/kernels run without a GPU.
//
// Included before a kernel's source; run.hpp, after it, runs a grid. Each CUDA thread is a fiber with a stack of its
// own, and __syncthreads goes on to the next one.
#pragma once

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define PYCONV_HOST 1
#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// one block runs at a time, so its shared memory is static; a section of its own, so that run.hpp can poison all of it
#define __shared__ static __attribute__((section("cuda_shared")))

struct Triple {
    unsigned x, y, z;
};

static Triple threadIdx, blockIdx, blockDim, gridDim;

static void __syncthreads();
static int __syncthreads_or(int predicate);

// The twins of mma.cuh are in warp.hpp
#define DYNAMIC_SHARED(name) alignas(1024) __shared__ unsigned char name[SHARED_BYTES]
static void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
static void mma_f16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
static void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
static void load_matrices(unsigned (&words)[4], const void *row);
static float from_lane_apart(float value, int apart);
static unsigned load_word(const unsigned *shared);
static void copy_bytes(void *to, const void *from, int bytes, bool there);
static void commit_copies();
static void land_copies(unsigned pending);

template <int BYTES> static inline void copy_async(void *to, const void *from, bool there)
{
    copy_bytes(to, from, BYTES, there);
}

template <int PENDING> static inline void wait_for_copies()
{
    land_copies(PENDING);
}

template <int APART> static inline float from_lane(float value)
{
    return from_lane_apart(value, APART);
}

// The twins of wgmma.cuh are in warpgroup.hpp
typedef unsigned long long Barrier, Columns;
template <int COUNT> static inline void fewer_registers() {}
template <int COUNT> static inline void more_registers() {}
static void begin_barrier(Barrier *barrier, int arrivals);
static void publish_shared();
static void arrive(Barrier *barrier);
static void arrive_expecting(Barrier *barrier, int bytes);
static void arrive_after_copies(Barrier *barrier);
static bool has_ended(Barrier *barrier, int parity);
static void copy_bulk(void *to, const void *from, int bytes, Barrier *barrier);
static Columns columns_at(const void *panel);
static Columns words_of(Columns columns, int part);
static void begin_products();
static void commit_products();
static void wait_for_products();
static inline void stay_behind(float (&)[8][4]) {} // the host waits where it is told to
static void wgmma_tf32(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added);
static void wgmma_f16(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added);
static void wgmma_bf16(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added);

static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((unsigned long long)a * b) >> 32);
}

static inline int atomicMax(int *place, int value)  // one thread runs at a time
{
    int before = *place;
    if (value > before)
        *place = value;
    return before;
}

static inline int min(int a, int b)
{
    return a < b ? a : b;
}

static inline int max(int a, int b)
{
    return a < b ? b : a;
}

static inline float __fmul_rn(float a, float b)
{
    return a * b;
}

static inline float __fsub_rn(float a, float b)
{
    return a - b;
}

template <class To, class From> static inline To same_bits(From value)
{
    static_assert(sizeof(To) == sizeof(From), "");
    To result;
    std::memcpy(&result, &value, sizeof result);
    return result;
}

static inline int __float_as_int(float value)
{
    return same_bits<int>(value);
}

static inline float __int_as_float(int value)
{
    return same_bits<float>(value);
}

static inline long long __double_as_longlong(double value)
{
    return same_bits<long long>(value);
}

static inline double __longlong_as_double(long long value)
{
    return same_bits<double>(value);
}

static inline unsigned tf32_of(float value)
{
    unsigned bits = same_bits<unsigned>(value);
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffffffu : (bits + 0x1000u) & ~0x1fffu;
}

// -ftz=true, where the processor can do it: subnormal float results and operands count as zero
static inline unsigned flush_subnormals(bool flush)
{
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(flush ? before | 0x8040u : before & ~0x8040u);
    return before;
#else
    (void)flush;
    return 0;
#endif
}

static inline void restore_subnormals(unsigned before)
{
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

// The twins of the PTX in common.cuh; none of them flushes
static __attribute__((noinline)) float multiply_unflushed(float a, float b)
{
    unsigned before = flush_subnormals(false);
    volatile float left = a, right = b;
    volatile float product = left * right;
    restore_subnormals(before);
    return product;
}

static __attribute__((noinline)) float add_unflushed(float a, float b)
{
    unsigned before = flush_subnormals(false);
    volatile float left = a, right = b;
    volatile float sum = left + right;
    restore_subnormals(before);
    return sum;
}

static __attribute__((noinline)) float multiply_add_unflushed(float a, float b, float c)
{
    unsigned before = flush_subnormals(false);
    volatile float left = a, right = b, more = c;
    volatile float sum = std::fmaf(left, right, more);
    restore_subnormals(before);
    return sum;
}

static inline bool below(float a, float b)
{
    int left = __float_as_int(a), right = __float_as_int(b);
    if ((left & 0x7fffffff) > 0x7f800000 || (right & 0x7fffffff) > 0x7f800000)
        return false;
    return (left < 0 ? -(left & 0x7fffffff) : left) < (right < 0 ? -(right & 0x7fffffff) : right);
}

static inline bool beats(float b, float a)
{
    return below(a, b) || (__float_as_int(b) & 0x7fffffff) > 0x7f800000;
}

static __attribute__((noinline)) float float_of_half(unsigned short half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    unsigned sign = (unsigned)(half >> 15) << 31;
    if (exponent == 31)
        return __int_as_float((int)(sign | 0x7f800000u | (unsigned)fraction << 13));
    double size = exponent ? std::ldexp(1024.0 + fraction, exponent - 25) : std::ldexp((double)fraction, -24);
    return (float)(sign ? -size : size);
}

static __attribute__((noinline)) unsigned short half_of_float(float value)
{
    unsigned bits = (unsigned)__float_as_int(value);
    unsigned short sign = (unsigned short)(bits >> 16 & 0x8000u);
    unsigned magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (unsigned short)(sign | 0x7fffu);
    double size = std::fabs((double)value);
    if (size >= 65520.0)
        return (unsigned short)(sign | 0x7c00u);
    // numbers below the smallest normal one are whole multiples of 2**-24, others of 2**(exponent - 10)
    int exponent = size < std::ldexp(1.0, -14) ? -14 : std::ilogb(size);
    double units = std::nearbyint(std::ldexp(size, 10 - exponent));
    return (unsigned short)(sign | (unsigned)((exponent + 14) * 1024 + (int)units));
}
