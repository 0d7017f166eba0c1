// Nothing but multiply-adds in float32: what the processors do at most outside of the tensor cores. Each thread has
// SUMS of them that do not wait for each other.

#include "common.cuh"

#define THREADS 256
#define SUMS 16
#define TURNS 8  // of all sums, in a round

struct Arguments {
    float *out;
    float factor;
    int rounds;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

extern "C" __global__ void __launch_bounds__(THREADS) multiply_adds(const Arguments a)
{
    float sum[SUMS];
#pragma unroll
    for (int i = 0; i < SUMS; i++)
        sum[i] = (float)((int)threadIdx.x + i);
#pragma unroll 1
    for (int round = 0; round < a.rounds; round++)
#pragma unroll
        for (int turn = 0; turn < TURNS; turn++)
#pragma unroll
            for (int i = 0; i < SUMS; i++)
                sum[i] = fmaf(sum[i], a.factor, a.factor);
    float total = 0;
#pragma unroll
    for (int i = 0; i < SUMS; i++)
        total += sum[i];
    a.out[(long long)blockIdx.x * THREADS + threadIdx.x] = total;  // or the compiler would leave it all out
}
