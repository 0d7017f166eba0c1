// One function over memory without gaps. Elements are read and written in vectors of 16 bytes; those before the first
// aligned one and after the last whole one by themselves. Where input and output lie differently, all of them are.

#include "common.cuh"

#define THREADS 256
#define VECTOR ((int)(16 / sizeof(element)))

struct alignas(16) Vector {
    element part[VECTOR];
};

// `function` is told where it begins, and then called for one element after another; a thread a vector, and one more
// for what is left at both ends
template <class Function>
static __device__ __forceinline__ void over_memory(const element *x, element *out, long long size, Function function)
{
    long long work = (long long)blockIdx.x * THREADS + threadIdx.x;
    unsigned long long from = (unsigned long long)x, to = (unsigned long long)out;
    bool alike = (from ^ to) % 16 == 0;
    long long head = alike ? (long long)((16 - from % 16) % 16 / sizeof(element)) : 0;
    if (head > size)
        head = size;
    long long whole = (size - head) / VECTOR, begin = head + work * VECTOR, end = begin + VECTOR;
    if (alike && work < whole) {
        Vector values = *(const Vector *)(x + begin);
        function.begin(begin);
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
            values.part[i] = function(values.part[i]);
        *(Vector *)(out + begin) = values;
        return;
    }
    if (alike && work > whole)
        return;
    if (alike && head) {  // one thread for both ends
        function.begin(0);
        for (long long i = 0; i < head; i++)
            out[i] = function(x[i]);
    }
    if (begin >= size)
        return;
    function.begin(begin);
    for (long long i = begin; i < end && i < size; i++)
        out[i] = function(x[i]);
}
