// One activation over memory without gaps.

#include "memory.cuh"
#include "activation.cuh"

struct Arguments {
    const element *x;
    element *out;  // may be x
    long long size;
    long long each;  // vectors of a thread
    Parameter parameters[2];
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

struct Activation {
    const Parameter *parameters;

    __device__ __forceinline__ void begin(long long) {}

    __device__ __forceinline__ element operator()(element value)
    {
        return narrow(activated(widen(value), parameters));
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, 4) elementwise(const Arguments a)
{
    over_memory(a.x, a.out, a.size, (int)a.each, Activation{a.parameters});
}
