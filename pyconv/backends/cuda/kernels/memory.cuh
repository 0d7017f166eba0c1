// One function over memory without gaps. Elements are read and written in vectors of 16 bytes; those before the first
// aligned one and after the last whole one by themselves. Where input and output lie differently, all of them are.

#include "common.cuh"

#define THREADS 256
#define VECTOR ((int)(16 / sizeof(element)))

struct alignas(16) Vector {
    element part[VECTOR];
};

// `function` is told where it begins, and then called for one element after another. `each`: vectors of a thread, 1 or
// 2, THREADS apart, so that the second is on its way while the first is computed with; there is one more vector than
// whole ones, for what is left at both ends.
template <class Function>
static __device__ __forceinline__ void over_memory(const element *x, element *out, long long size, int each,
                                                   Function function)
{
    long long work = (long long)blockIdx.x * THREADS * each + threadIdx.x, last = work + (each - 1) * THREADS;
    unsigned long long from = (unsigned long long)x, to = (unsigned long long)out;
    bool alike = (from ^ to) % 16 == 0;
    long long head = alike ? (long long)((16 - from % 16) % 16 / sizeof(element)) : 0;
    if (head > size)
        head = size;
    long long whole = (size - head) / VECTOR, begin = head + work * VECTOR;
    if (alike && last < whole) {
        Vector values = *(const Vector *)(x + begin), next = {};
        if (each == 2)
            next = *(const Vector *)(x + begin + THREADS * VECTOR);
#pragma unroll 1
        for (;; work += THREADS, begin += THREADS * VECTOR, values = next) {
            function.begin(begin);
#pragma unroll
            for (int i = 0; i < VECTOR; i++)
                values.part[i] = function(values.part[i]);
            *(Vector *)(out + begin) = values;
            if (work == last)
                return;
        }
    }
#pragma unroll 1
    for (; work <= last && (work <= whole || !alike); work += THREADS, begin += THREADS * VECTOR) {
        if (work == whole && head) {
            function.begin(0);
            for (long long i = 0; i < head; i++)
                out[i] = function(x[i]);
        }
        if (begin >= size)
            return;
        function.begin(begin);
        for (long long i = begin; i < begin + VECTOR && i < size; i++)
            out[i] = function(x[i]);
    }
}
