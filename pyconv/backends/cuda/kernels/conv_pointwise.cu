// 1x1 convolution of stride 1 without padding on dense planes: the image is the matrix, fetched in whole vectors.

#include "common.cuh"
#include "activation.cuh"
#define POOLED 0
#include "gemm_tile.cuh"

struct Arguments {
    const element *x;
    const accumulator *weights;  // [group][k][padded_channels]
    Output output;
    long long x_image, x_channel;  // strides of x, in elements
    int in_channels;               // of a group
    int aligned;                   // vectors of x lie on their own size
    int steps;
    int padded_channels;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

// This thread's vectors of pixels; a plane holds whole vectors, so each lies in one image
struct Rows {
    enum { ROW = BLOCK_N / VECTOR, COUNT = (BLOCK_K * ROW + THREADS - 1) / THREADS, AT_ONCE = THREADS / ROW };
    static_assert(THREADS % ROW == 0, "every thread stays with one vector of pixels");
    const element *from;
    INDEX channel_stride;
    int channel, channels;
    bool wanted, aligned;
    Vector held[COUNT];

    __device__ __forceinline__ Rows(const Arguments &a, int group, INDEX first)
        : channel_stride((INDEX)a.x_channel), channel(threadIdx.x / ROW), channels(a.in_channels), aligned(a.aligned)
    {
        INDEX pixel = first + threadIdx.x % ROW * VECTOR;
        wanted = pixel < a.output.pixels;
        if (!wanted)
            pixel = 0;
        INDEX image = pixel / (INDEX)a.output.plane;
        from = a.x + image * a.x_image + (long long)group * a.in_channels * a.x_channel
               + (pixel - image * (INDEX)a.output.plane);
    }

    __device__ __forceinline__ void fetch()
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            bool real = wanted && channel + i * AT_ONCE < channels && (AT_ONCE <= BLOCK_K || threadIdx.x / ROW < BLOCK_K);
            const element *at = from + (channel + i * AT_ONCE) * channel_stride;
            Elements values = {};
            if (real && aligned)
                values = *(const Elements *)at;
            else if (real)
#pragma unroll
                for (int j = 0; j < VECTOR; j++)
                    values.part[j] = at[j];
#pragma unroll
            for (int j = 0; j < VECTOR; j++)
                held[i].part[j] = widen(values.part[j]);
        }
        channel += BLOCK_K;
    }

    __device__ __forceinline__ void store(accumulator (*panel)[BLOCK_N])
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            int row = threadIdx.x / ROW + i * AT_ONCE;
            if (BLOCK_K % AT_ONCE == 0 || row < BLOCK_K)
                *(Vector *)&panel[row][threadIdx.x % ROW * VECTOR] = held[i];
        }
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_pointwise(const Arguments a)
{
    __shared__ Shared shared;
    convolve<Rows>(shared, a);
}
