// The second pass of a convolution whose sums were computed in parts: adds them, always in the same order, then the
// bias, and applies the activation. A thread an output.

#include "common.cuh"
#include "activation.cuh"

#define THREADS 256

struct Arguments {
    const float *parts;  // [part][image][channel][pixel]
    const element *bias;  // or null
    element *out;
    const element *residual;  // with -DRESIDUAL=1: lies as the output does, and may be it
    Parameter parameters[2];  // of the activation
    long long size;
    long long plane;
    int channels;
    int count;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

extern "C" __global__ void __launch_bounds__(THREADS) sum_parts(const Arguments a)
{
    long long place = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (place >= a.size)
        return;
    float sum = 0;
    for (int part = 0; part < a.count; part++)
        sum += a.parts[part * a.size + place];
    float bias = a.bias ? widen(a.bias[place / a.plane % a.channels]) : 0.0f;
    element more = 0;
#if RESIDUAL
    more = a.residual[place];
#endif
    a.out[place] = finished(sum, bias, more, a.parameters);
}
