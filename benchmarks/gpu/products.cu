// Nothing but products: what tensor cores do at most. By mma.sync, where a warp has TILES of 16 x 8 sums that do not wait
// for each other, fed from registers; with -DWARPGROUPS=1 by wgmma, as the convolution has them: rows from registers,
// TILES x 64 columns from shared memory. A round is TURNS of all.

#include "common.cuh"
#include "wgmma.cuh"

#define THREADS 256
#define TILES (WARPGROUPS ? 4 : 8)
#define TURNS 4

struct Arguments {
    float *out;
    float factor;
    int rounds;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

#if DTYPE == FLOAT16
#define MULTIPLY(name) name##_f16
#elif DTYPE == BFLOAT16
#define MULTIPLY(name) name##_bf16
#else
#define MULTIPLY(name) name##_tf32
#endif

// Mixed bits between 1 and 2, of either sign: in a product of ones most wires would not change
static __device__ __forceinline__ unsigned number(unsigned i)
{
    unsigned bits = (i + 1) * 2654435769u;
    bits ^= bits >> 15;
#if DTYPE == FLOAT16
    return (bits & 0x83ff83ffu) | 0x3c003c00u;
#elif DTYPE == BFLOAT16
    return (bits & 0x807f807fu) | 0x3f803f80u;
#else
    return (bits & 0x807fffffu) | 0x3f800000u;
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) products(const Arguments a)
{
    unsigned rows[TURNS][4];
    for (int i = 0; i < TURNS * 4; i++)
        rows[i / 4][i % 4] = number(threadIdx.x * 16 + i);
#if WARPGROUPS
    alignas(1024) __shared__ unsigned panel[TILES * COLUMNS * 32];
    for (int i = threadIdx.x; i < TILES * COLUMNS * 32; i += THREADS)
        panel[i] = number(i);
    publish_shared();
    __syncthreads();
    float sum[TILES][8][4] = {};
#else
    unsigned columns[2] = {number(threadIdx.x), number(threadIdx.x + THREADS)};
    float sum[TILES][1][4] = {};
#endif
#pragma unroll 1
    for (int round = 0; round < a.rounds; round++) {
#if WARPGROUPS
        begin_products();
#endif
#pragma unroll
        for (int turn = 0; turn < TURNS; turn++)
#pragma unroll
            for (int i = 0; i < TILES; i++) {
#if WARPGROUPS
                Columns columns = words_of(columns_at(panel + i * COLUMNS * 32), turn);
                MULTIPLY(wgmma)(sum[i], rows[turn], columns, true);
#else
                MULTIPLY(mma)(sum[i][0], rows[turn], columns);
#endif
            }
#if WARPGROUPS
        commit_products();
        wait_for_products();
#endif
    }
    float total = 0;
#pragma unroll
    for (int i = 0; i < TILES; i++)
#pragma unroll
        for (int j = 0; j < (WARPGROUPS ? 8 : 1); j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                total += sum[i][j][e];
    a.out[(long long)blockIdx.x * THREADS + threadIdx.x] = total;
}
