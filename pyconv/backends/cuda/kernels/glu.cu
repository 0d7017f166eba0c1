// The first half of an axis times the sigmoid of the second: for each block of `columns` results there are the first
// factors, and behind them the second ones.

#define ACTIVATION sigmoid_of

#include "activation.cuh"

#define THREADS 256
#define VECTOR ((int)(16 / sizeof(element)))

struct Arguments {
    const element *x;
    element *out;
    long long size;     // results
    long long columns;
    int whole_vectors;  // columns, x and out begin and end on vectors
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

struct alignas(16) Vector {
    element part[VECTOR];
};

static __device__ __forceinline__ element product(element first, element second)
{
    return narrow(multiply_unflushed(widen(first), activated(widen(second), nullptr)));
}

extern "C" __global__ void __launch_bounds__(THREADS) glu(const Arguments a)
{
    long long begin = ((long long)blockIdx.x * THREADS + threadIdx.x) * VECTOR;
    if (begin >= a.size)
        return;
    if (a.whole_vectors) {
        const element *from = a.x + begin + begin / a.columns * a.columns;
        Vector first = *(const Vector *)from, second = *(const Vector *)(from + a.columns);
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            first.part[i] = product(first.part[i], second.part[i]);
        *(Vector *)(a.out + begin) = first;
        return;
    }
    for (long long i = begin; i < begin + VECTOR && i < a.size; i++) {
        const element *from = a.x + i + i / a.columns * a.columns;
        a.out[i] = product(from[0], from[a.columns]);
    }
}
