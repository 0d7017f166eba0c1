// What Hopper's tensor cores and bulk copies need of PTX, for sm_90a alone: every wrapper stands for one instruction, and
// a host build brings its own twins (tests/cuda_host/warpgroup.hpp).
//
// A warpgroup is four warps that multiply together, 64 x 8 words by 8 words x 64. A comes from registers, a warp's 16
// rows as in mma.cuh; so do the sums, c[j] for columns 8 j to 8 j + 7 (PTX ISA, "Register Fragments for
// wgmma.mma_async.m64n64k8", "... m64n64k16"). B comes from shared memory: 64 columns, the words of one beside each other.

#include "mma.cuh"

#define COLUMNS 64  // of one product

#ifndef PYCONV_HOST
// A barrier that counts arrivals and bytes; it has phases 0, 1, 0, ..., each ends when all have come.
typedef unsigned long long Barrier;

// Of the columns in shared memory, of which each has 128 bytes; 16 of them lie where chunk_place has them. They begin at
// a multiple of 1024 bytes.
typedef unsigned long long Columns;

// For all threads and bulk copies, after publish_shared and __syncthreads.
static __device__ __forceinline__ void begin_barrier(Barrier *barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" : : "r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// What this thread has written to shared memory is seen by bulk copies and products, of others after a barrier.
static __device__ __forceinline__ void publish_shared()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

static __device__ __forceinline__ void arrive(Barrier *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(shared_address(barrier)) : "memory");
}

// Arrives, and has the phase wait for so many bytes too
static __device__ __forceinline__ void arrive_expecting(Barrier *barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :
                 : "r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

// Arrives when this thread's copies by copy_async have landed
static __device__ __forceinline__ void arrive_after_copies(Barrier *barrier)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" : : "r"(shared_address(barrier)) : "memory");
}

// Whether the phase of this parity has ended; before the first, that of parity 1 has
static __device__ __forceinline__ bool has_ended(Barrier *barrier, int parity)
{
    int ended;
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.s32 %0, 1, 0, p; }"
                 : "=r"(ended)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
    return ended;
}

// One thread's copy of whole chunks of 16 bytes, both sides aligned to as much. It counts on `barrier` when it has landed.
static __device__ __forceinline__ void copy_bulk(void *to, const void *from, int bytes, Barrier *barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 :
                 : "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(bytes),
                   "r"(shared_address(barrier))
                 : "memory");
}

// "Matrix Descriptor Format": 128-byte swizzle, eight columns 1024 bytes after eight others
static __device__ __forceinline__ Columns columns_at(const void *panel)
{
    return (unsigned long long)(shared_address(panel) >> 4) | 1ull << 16 | (1024ull >> 4) << 32 | 1ull << 62;
}

// Words 8 * part to 8 * part + 7
static __device__ __forceinline__ Columns words_of(Columns columns, int part)
{
    return columns + part * 2;
}

// Has this warpgroup give back registers above COUNT, or wait until it has as many; of a block whose number is capped.
template <int COUNT> static __device__ __forceinline__ void fewer_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" : : "n"(COUNT));
}

template <int COUNT> static __device__ __forceinline__ void more_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" : : "n"(COUNT));
}

// Before products, when their sums or rows were written to; they are a group until they are committed.
static __device__ __forceinline__ void begin_products()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void commit_products()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Until all groups are done: then sums may be read, and rows and columns written to.
static __device__ __forceinline__ void wait_for_products()
{
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

// The compiler may not move what reads or changes sums in front of the wait for them.
static __device__ __forceinline__ void stay_behind(float (&c)[8][4])
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        asm volatile("" : "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])::"memory");
}

// c = a b + c, or a b where nothing is to be `added`
#define PRODUCT(name, shape, types, rest)                                                                              \
    static __device__ __forceinline__ void name(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added)       \
    {                                                                                                                  \
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %37, 0; wgmma.mma_async.sync.aligned." shape ".f32." types        \
                     " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "    \
                     "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, p, "     \
                     rest "; }"                                                                                        \
                     : FOUR(c[0]), FOUR(c[1]), FOUR(c[2]), FOUR(c[3]), FOUR(c[4]), FOUR(c[5]), FOUR(c[6]), FOUR(c[7])  \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)added));                           \
    }
#define FOUR(c) "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])

PRODUCT(wgmma_tf32, "m64n64k8", "tf32.tf32", "1, 1")
PRODUCT(wgmma_f16, "m64n64k16", "f16.f16", "1, 1, 0")
PRODUCT(wgmma_bf16, "m64n64k16", "bf16.bf16", "1, 1, 0")
#endif
