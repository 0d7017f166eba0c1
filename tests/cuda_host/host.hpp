// CUDA's words in C++ for one CPU thread, so that the very kernels of pyconv/backends/cuda/kernels run without a GPU.
//
// Included before a kernel's source; run.cpp, which is compiled once and linked to each of them, runs a grid. No header
// is included here, since every kernel would be compiled with it. Each CUDA thread is a fiber with a stack of its own,
// and __syncthreads goes on to the next one.
#pragma once

#define PYCONV_HOST 1
#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
// one block runs at a time, so its shared memory is static; a section of its own, so that run.cpp can poison all of it
#define __shared__ static __attribute__((section("cuda_shared")))

extern "C" double fma(double, double, double), rint(double), sqrt(double), pow(double, double);
extern "C" float fmaf(float, float, float), rintf(float);

struct Triple {
    unsigned x, y, z;
};

// Declared here, defined in run.cpp, and seen by nobody outside of the library that is made of both
#pragma GCC visibility push(hidden)
extern Triple threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();
int __syncthreads_or(int predicate);

// The twins of the PTX in common.cuh; none of them flushes
float multiply_unflushed(float a, float b);
float add_unflushed(float a, float b);
float multiply_add_unflushed(float a, float b, float c);
float float_of_half(unsigned short half);
unsigned short half_of_float(float value);

// The twins of mma.cuh are in warp.hpp
#define DYNAMIC_SHARED(name) alignas(1024) __shared__ unsigned char name[SHARED_BYTES]
void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void mma_f16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void load_matrices(unsigned (&words)[4], const void *row);
float from_lane_apart(float value, int apart);
unsigned load_word(const unsigned *shared);
void copy_bytes(void *to, const void *from, int bytes, bool there);
void commit_copies();
void land_copies(unsigned pending);

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
void begin_barrier(Barrier *barrier, int arrivals);
void publish_shared();
void arrive(Barrier *barrier);
void arrive_expecting(Barrier *barrier, int bytes);
void arrive_after_copies(Barrier *barrier);
bool has_ended(Barrier *barrier, int parity);
void copy_bulk(void *to, const void *from, int bytes, Barrier *barrier);
Columns columns_at(const void *panel);
Columns words_of(Columns columns, int part);
void begin_products();
void commit_products();
void wait_for_products();
static inline void stay_behind(float (&)[8][4]) {} // the host waits where it is told to
void wgmma_tf32(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added);
void wgmma_f16(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added);
void wgmma_bf16(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added);

#pragma GCC visibility pop

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
    __builtin_memcpy(&result, &value, sizeof result);
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
