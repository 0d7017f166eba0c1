// Depthwise convolution: every output channel sees one input channel. Each thread computes OUTPUTS neighbouring pixels
// of a row; it is bound by memory, and neighbouring threads find what they share in the first-level cache.
//
// -DKERNEL: height and width of the kernel, with -DSTRIDE along the width and no dilation: rows of the window are then
// held in registers. -DKERNEL=0: any kernel, stride and dilation.

#include "common.cuh"
#include "activation.cuh"

#define OUTPUTS 4
#define THREADS 128

struct Arguments {
    const element *x;
    const accumulator *weights;  // [input channel][tap][output channel of it]
    const element *bias;         // or null
    element *out;
    long long x_image, x_channel, x_row, x_column;  // strides of x, in elements
    long long work;                                 // threads that have something to do
    int out_channels, multiplier;
    int in_height, in_width;
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, left;
    Parameter parameters[2];  // of the activation
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

extern "C" __global__ void __launch_bounds__(THREADS) conv_depthwise(const Arguments a)
{
    INDEX work = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (work >= a.work)
        return;
    int across = (a.out_width + OUTPUTS - 1) / OUTPUTS;
    INDEX rows = work / across;
    int column = (int)(work - rows * across) * OUTPUTS;
    INDEX plane = rows / a.out_height;
    int row = (int)(rows - plane * a.out_height);
    INDEX image = plane / a.out_channels;
    int channel = (int)(plane - image * a.out_channels);
    int in_channel = channel / a.multiplier;

    const element *from = a.x + image * a.x_image + in_channel * a.x_channel;
    int taps = a.kernel_height * a.kernel_width;
    const accumulator *weights =
        a.weights + (long long)in_channel * taps * a.multiplier + (channel - in_channel * a.multiplier);
    accumulator sum[OUTPUTS] = {};
    int y = row * a.stride_height - a.top, left = column * a.stride_width - a.left;

#if KERNEL
    enum { SPAN = (OUTPUTS - 1) * STRIDE + KERNEL };
#pragma unroll 1  // a row's values at a time, or they do not fit in registers
    for (int i = 0; i < KERNEL; i++, y++) {
        accumulator values[SPAN];
        bool there = (unsigned)y < (unsigned)a.in_height;
        const element *line = from + (INDEX)(there ? y : 0) * (INDEX)a.x_row;
#pragma unroll
        for (int j = 0; j < SPAN; j++) {
            int x = left + j;
            bool real = there && (unsigned)x < (unsigned)a.in_width;
            values[j] = real ? widen(line[x * (INDEX)a.x_column]) : accumulator(0);
        }
#pragma unroll
        for (int j = 0; j < KERNEL; j++) {
            accumulator weight = weights[(i * KERNEL + j) * a.multiplier];
#pragma unroll
            for (int o = 0; o < OUTPUTS; o++)
                sum[o] = multiply_add(values[o * STRIDE + j], weight, sum[o]);
        }
    }
#else
    for (int i = 0; i < a.kernel_height; i++, y += a.dilation_height) {
        bool there = (unsigned)y < (unsigned)a.in_height;
        const element *line = from + (INDEX)(there ? y : 0) * (INDEX)a.x_row;
        for (int j = 0; j < a.kernel_width; j++) {
            accumulator weight = weights[((long long)i * a.kernel_width + j) * a.multiplier];
#pragma unroll
            for (int o = 0; o < OUTPUTS; o++) {
                int x = left + j * a.dilation_width + o * a.stride_width;
                bool real = there && column + o < a.out_width && (unsigned)x < (unsigned)a.in_width;
                accumulator value = real ? widen(line[x * (INDEX)a.x_column]) : accumulator(0);
                sum[o] = multiply_add(value, weight, sum[o]);
            }
        }
    }
#endif
    accumulator bias = a.bias ? widen(a.bias[channel]) : accumulator(0);
    element *to = a.out + ((long long)plane * a.out_height + row) * a.out_width + column;
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++)
        if (column + o < a.out_width)
            to[o] = narrow(activated(sum[o] + bias, a.parameters));
}
