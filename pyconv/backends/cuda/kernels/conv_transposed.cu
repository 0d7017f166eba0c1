// Transposed convolution: a thread an output, which gathers from the pixels and taps that reach it. Nothing is
// multiplied but the image's own pixels, so that weights which are not finite stay where they belong.

#include "common.cuh"

#define THREADS 256

struct Arguments {
    const element *x;
    const element *weights;
    const element *bias;  // or null
    element *out;
    long long x_image, x_channel, x_row, x_column;                  // strides, in elements
    long long weight_in, weight_out, weight_row, weight_column;
    long long work;                                                 // outputs
    int in_channels, out_channels;                                  // of a group
    int groups;
    int in_height, in_width;
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, left;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

// With the 64 registers that four blocks leave it none is spilled; left alone, the compiler takes fewer and spills
extern "C" __global__ void __launch_bounds__(THREADS, 4) conv_transposed(const Arguments a)
{
    INDEX work = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (work >= a.work)
        return;
    INDEX rows = work / a.out_width, planes = rows / a.out_height, grouped = planes / a.out_channels;
    INDEX column = work - rows * a.out_width, row = rows - planes * a.out_height;
    int channel = (int)(planes - grouped * a.out_channels);
    INDEX image = grouped / a.groups;
    int group = (int)(grouped - image * a.groups);
    long long first = (long long)group * a.in_channels;
    const element *from = a.x + (long long)image * a.x_image + first * a.x_channel;
    const element *weights = a.weights + first * a.weight_in + channel * a.weight_out;

    accumulator sum = 0;
    for (int i = 0; i < a.kernel_height; i++) {
        INDEX y = row + a.top - (INDEX)i * a.dilation_height, from_row = y / a.stride_height;
        if (y < 0 || from_row * a.stride_height != y || from_row >= a.in_height)
            continue;
        for (int j = 0; j < a.kernel_width; j++) {
            INDEX x = column + a.left - (INDEX)j * a.dilation_width, from_column = x / a.stride_width;
            if (x < 0 || from_column * a.stride_width != x || from_column >= a.in_width)
                continue;
            const element *pixel = from + from_row * a.x_row + from_column * a.x_column;
            const element *tap = weights + i * a.weight_row + j * a.weight_column;
            for (int c = 0; c < a.in_channels; c++)
                sum = multiply_add(widen(pixel[c * a.x_channel]), widen(tap[c * a.weight_in]), sum);
        }
    }
    a.out[work] = narrow(sum + (a.bias ? widen(a.bias[group * a.out_channels + channel]) : accumulator(0)));
}
