// One activation over memory without gaps. Elements are read and written in vectors of 16 bytes; those before the first
// aligned one and after the last whole one by themselves. Where input and output lie differently, all of them are.

#include "common.cuh"
#include "activation.cuh"

#define THREADS 256
#define VECTOR ((int)(16 / sizeof(element)))

struct Arguments {
    const element *x;
    element *out;  // may be x
    long long size;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

struct alignas(16) Vector {
    element part[VECTOR];
};

static __device__ __forceinline__ element apply(element value)
{
    return narrow(ACTIVATION(widen(value)));
}

extern "C" __global__ void __launch_bounds__(THREADS) elementwise(const Arguments a)
{
    long long work = (long long)blockIdx.x * THREADS + threadIdx.x;
    unsigned long long from = (unsigned long long)a.x, to = (unsigned long long)a.out;
    if ((from ^ to) % 16) {
        long long end = (work + 1) * VECTOR < a.size ? (work + 1) * VECTOR : a.size;
        for (long long i = work * VECTOR; i < end; i++)
            a.out[i] = apply(a.x[i]);
        return;
    }
    long long head = (long long)((16 - from % 16) % 16 / sizeof(element));
    if (head > a.size)
        head = a.size;
    long long whole = (a.size - head) / VECTOR;
    if (work < whole) {
        Vector values = *(const Vector *)(a.x + head + work * VECTOR);
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            values.part[i] = apply(values.part[i]);
        *(Vector *)(a.out + head + work * VECTOR) = values;
    } else if (work == whole) {  // one thread for both ends
        for (long long i = 0; i < head; i++)
            a.out[i] = apply(a.x[i]);
        for (long long i = head + whole * VECTOR; i < a.size; i++)
            a.out[i] = apply(a.x[i]);
    }
}
