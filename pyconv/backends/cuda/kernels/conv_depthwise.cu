// Depthwise convolution: every output channel sees one input channel. Bound by memory: each thread computes ROWS rows of
// OUTPUTS neighbouring pixels, and reads each row of their windows once.
//
// -DKERNEL: height and width of the kernel, with -DSTRIDE along both and no dilation. Rows of the window are then held
// in registers, and come in vectors where the image lies so that a window's middle begins at one. -DKERNEL=0: any
// kernel, stride and dilation, one row.

#include "planes.cuh"
#include "activation.cuh"

#define OUTPUTS 4
#define THREADS 128

struct Arguments {
    const element *x;
    const accumulator *weights;  // [input channel][tap][output channel of it]
    const element *bias;         // or null
    element *out;
    const element *residual;     // with -DRESIDUAL=1: lies as the output does, and may be it
    long long x_image, x_channel, x_row, x_column;  // strides of x, in elements
    long long work;                                 // threads that have something to do
    int out_channels, multiplier;
    int in_height, in_width;
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, left;
    int whole_in, whole_out;  // whole vectors of OUTPUTS can be read and written
    Parameter parameters[2];  // of the activation
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

struct alignas(sizeof(element) < 8 ? OUTPUTS * sizeof(element) : 16) Elements {
    element part[OUTPUTS];
};

extern "C" __global__ void __launch_bounds__(THREADS, 5) conv_depthwise(const Arguments a)
{
    INDEX work = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (work >= a.work)
        return;
    const Place<ROWS, OUTPUTS> at(work, a.out_height, a.out_width, a.out_channels);
    int row = at.row, column = at.column, channel = at.channel, in_channel = channel / a.multiplier;

    const element *from = a.x + at.image * a.x_image + in_channel * a.x_channel;
    int taps = a.kernel_height * a.kernel_width;
    const accumulator *weights =
        a.weights + (long long)in_channel * taps * a.multiplier + (channel - in_channel * a.multiplier);
    accumulator sum[ROWS][OUTPUTS] = {};
    int y = row * a.stride_height - a.top, left = column * a.stride_width - a.left;

#if KERNEL
    // a row's vectors begin one before the window's middle; the first tap of the first output is at FIRST
    enum {
        FIRST = OUTPUTS - KERNEL / 2,
        SPAN = (OUTPUTS - 1) * STRIDE + KERNEL,
        VECTORS = 2 + ((OUTPUTS - 1) * STRIDE + KERNEL / 2) / OUTPUTS,
        IN_ROWS = (ROWS - 1) * STRIDE + KERNEL
    };
#if ROWS == 1
#pragma unroll 1  // a row's values at a time
#else
#pragma unroll  // sums are registers, which cannot be counted through
#endif
    for (int i = 0; i < IN_ROWS; i++, y++) {
        accumulator values[VECTORS * OUTPUTS] = {};
        bool there = (unsigned)y < (unsigned)a.in_height;
        const element *line = from + (INDEX)(there ? y : 0) * (INDEX)a.x_row;
        if (a.whole_in) {
#pragma unroll
            for (int v = 0; v < VECTORS; v++) {
                int x = column * STRIDE + (v - 1) * OUTPUTS;
                if (!there || (unsigned)x >= (unsigned)a.in_width)
                    continue;
                Elements found = *(const Elements *)(line + x);
#pragma unroll
                for (int k = 0; k < OUTPUTS; k++)
                    values[v * OUTPUTS + k] = widen(found.part[k]);
            }
        } else {
#pragma unroll
            for (int j = 0; j < SPAN; j++) {
                int x = left + j;
                bool real = there && (unsigned)x < (unsigned)a.in_width;
                values[FIRST + j] = real ? widen(line[x * (INDEX)a.x_column]) : accumulator(0);
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            int k = i - r * STRIDE;
            if (k < 0 || k >= KERNEL)
                continue;
#pragma unroll
            for (int j = 0; j < KERNEL; j++) {
                accumulator weight = weights[(k * KERNEL + j) * a.multiplier];
#pragma unroll
                for (int o = 0; o < OUTPUTS; o++)
                    sum[r][o] = multiply_add(values[FIRST + o * STRIDE + j], weight, sum[r][o]);
            }
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
                sum[0][o] = multiply_add(value, weight, sum[0][o]);
            }
        }
    }
#endif
    accumulator bias = a.bias ? widen(a.bias[channel]) : accumulator(0);
    element *to = a.out + ((long long)at.plane * a.out_height + row) * a.out_width + column;
#pragma unroll
    for (int r = 0; r < ROWS; r++, to += a.out_width) {
        if (row + r >= a.out_height)
            return;
        Elements values = {};
        if (a.whole_out) {
#if RESIDUAL
            values = *(const Elements *)(a.residual + (to - a.out));
#endif
#pragma unroll
            for (int o = 0; o < OUTPUTS; o++)
                values.part[o] = finished(sum[r][o], bias, values.part[o], a.parameters);
            *(Elements *)to = values;
            continue;
        }
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++)
            if (column + o < a.out_width) {
#if RESIDUAL
                values.part[o] = a.residual[to + o - a.out];
#endif
                to[o] = finished(sum[r][o], bias, values.part[o], a.parameters);
            }
    }
}
