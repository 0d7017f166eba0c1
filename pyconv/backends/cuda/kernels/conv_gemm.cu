// Dense convolution of any kernel size, stride, padding, dilation, groups and input strides, as an implicit matrix
// product: every thread fetches its pixel's part of the window straight from the image, and im2col exists nowhere.
//
// -DTAPS_OUTSIDE=1: the sum runs tap by tap over the channels, these filled up to whole steps, so that where a tap
// lies is worked out once for many channels. 0: over (channel, tap), filled up at the end only, for few channels.

#include "common.cuh"
#include "activation.cuh"
#include "pooled.cuh"
#include "gemm_tile.cuh"

struct Arguments {
    const element *x;
    const accumulator *weights;  // [group][k][padded_channels]
    Output output;
    long long x_image, x_channel, x_row, x_column;  // strides of x, in elements
    int in_channels;                                // of a group
    int in_height, in_width;
    int out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, left;
    int steps;
    int padded_channels;
    Divisor by_taps, by_kernel_width;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

// This thread's pixel, with the window around it
struct Windows {
    enum { AT_ONCE = THREADS / BLOCK_N, EACH = BLOCK_K / AT_ONCE };
    const Arguments &of;
    const element *image;
    int top, left;  // of the window
    bool wanted;
    int row;        // of the step's rows, this thread's first
    int begin;      // TAPS_OUTSIDE: the step's first channel; else its first row of the sum
    int tap_row, tap_column;
    accumulator held[EACH];

    __device__ __forceinline__ Windows(const Arguments &a, int group, INDEX first)
        : of(a), row(threadIdx.x / BLOCK_N), begin(0), tap_row(0), tap_column(0)
    {
        INDEX pixel = first + threadIdx.x % BLOCK_N;
        wanted = pixel < a.output.pixels;
        if (!wanted)
            pixel = 0;
        INDEX which = pixel / (INDEX)a.output.plane;
        INDEX place = pixel - which * (INDEX)a.output.plane;
        Pixel at(place, a.out_width);
        top = at.y * a.stride_height - a.top;
        left = at.x * a.stride_width - a.left;
        image = a.x + which * a.x_image + (long long)group * a.in_channels * a.x_channel;
    }

    __device__ __forceinline__ bool inside(int y, int x) const
    {
        return wanted && (unsigned)y < (unsigned)of.in_height && (unsigned)x < (unsigned)of.in_width;
    }

    __device__ __forceinline__ void fetch()
    {
#if TAPS_OUTSIDE
        int y = top + tap_row * of.dilation_height, x = left + tap_column * of.dilation_width;
        bool there = inside(y, x);
        INDEX channel_stride = (INDEX)of.x_channel;
        INDEX offset = there ? (INDEX)y * (INDEX)of.x_row + (INDEX)x * (INDEX)of.x_column : 0;
        const element *from = image + (offset + (begin + row) * channel_stride);
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            bool real = there && begin + row + i * AT_ONCE < of.in_channels;
            held[i] = real ? widen(from[i * AT_ONCE * channel_stride]) : accumulator(0);
        }
        begin += BLOCK_K;
        if (begin >= of.in_channels) {
            begin = 0;
            if (++tap_column == of.kernel_width) {
                tap_column = 0;
                tap_row++;
            }
        }
#else
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int k = begin + row + i * AT_ONCE;
            int channel = divide(k, of.by_taps);
            int tap = k - channel * (of.kernel_height * of.kernel_width);
            int r = divide(tap, of.by_kernel_width);
            int y = top + r * of.dilation_height, x = left + (tap - r * of.kernel_width) * of.dilation_width;
            bool real = inside(y, x) && channel < of.in_channels;
            held[i] = accumulator(0);
            if (real)
                held[i] = widen(image[channel * (INDEX)of.x_channel + y * (INDEX)of.x_row + x * (INDEX)of.x_column]);
        }
        begin += BLOCK_K;
#endif
    }

    __device__ __forceinline__ void store(accumulator (*panel)[BLOCK_N])
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
            panel[row + i * AT_ONCE][threadIdx.x % BLOCK_N] = held[i];
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_gemm(const Arguments a)
{
    __shared__ Shared shared;
    convolve<Windows>(shared, a);
}
