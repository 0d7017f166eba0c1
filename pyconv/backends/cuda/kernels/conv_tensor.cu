// Dense convolution on tensor cores, as an implicit matrix product: pixels are copied to shared memory straight from
// the image, asynchronously and STAGES - 1 steps ahead, and im2col exists nowhere. From compute capability 8.0 on.
//
// In float32 a tile with a sum that is not finite is computed once more, exactly: the parts into which numbers are
// split may overflow, or be NaN, where the numbers themselves are not.

#include "common.cuh"
#include "activation.cuh"
#include "mma.cuh"
#include "tensor_tile.cuh"
#include "tensor_pixels.cuh"

// Blocks that a multiprocessor must have room for, which caps a thread's registers: at 128 in blocks of 256 threads and
// 168 in those of 128; with three products, which need more fragments at once, at 255.
#if PRODUCTS == 3
#define BLOCKS (THREADS == 256 ? 1 : 2)
#else
#define BLOCKS (THREADS == 256 ? 2 : 3)
#endif

// The sum of products with one rounding each, from row `begin` of the sum to `end`
static __device__ float exact_sum(const Arguments &a, const Window &window, const element *weights, int begin, int end)
{
    float sum = 0;
#pragma unroll 1
    for (int k = begin; k < end; k++) {
        Term term(a, k);
        if (term.real && window.sees(a, term.row, term.column))
            sum = multiply_add(widen(*window.at(a, term.row, term.column, term.channel)), widen(weights[k]), sum);
        else if (term.real)
            sum = multiply_add(0.0f, widen(weights[k]), sum);
    }
    return sum;
}

// One tile's place in the output
struct Target {
    const Output &to;
    int group, part;

    __device__ __forceinline__ float bias(int channel) const
    {
        bool added = to.bias && to.parts == 1 && channel < to.channels;
        return added ? widen(to.bias[group * to.channels + channel]) : 0.0f;
    }

    // of a channel's first pixel
    __device__ __forceinline__ long long channel_offset(int channel) const
    {
        return part * to.part + ((long long)group * to.channels + channel) * to.channel;
    }

    __device__ __forceinline__ long long pixel_offset(long long pixel) const
    {
        long long image = pixel / to.plane;
        return image * to.image + (pixel - image * to.plane) * to.pixel;
    }

    __device__ __forceinline__ void write(long long offset, float sum, float bias) const
    {
        if (to.parts > 1)
            ((float *)to.out)[offset] = sum;
        else
            ((element *)to.out)[offset] = narrow(activated(sum + bias, to.parameters));
    }

    __device__ __forceinline__ void write_two(long long offset, float first, float second, float bias) const
    {
        struct alignas(8) Floats {
            float part[2];
        };
        struct alignas(2 * sizeof(element)) Elements {
            element part[2];
        };
        if (to.parts > 1)
            *(Floats *)((float *)to.out + offset) = {{first, second}};
        else
            *(Elements *)((element *)to.out + offset) = {
                {narrow(activated(first + bias, to.parameters)), narrow(activated(second + bias, to.parameters))}};
    }
};

static __device__ __forceinline__ void write_tile(const Target &target, int begin, long long first, const Corner &at,
                                                  const float (&sum)[MMA_M][MMA_N][4])
{
    const Output &to = target.to;
#pragma unroll
    for (int j = 0; j < MMA_N; j++) {
        long long pixel = first + at.pixel(j);
        if (pixel >= to.pixels)
            continue;
        long long one = target.pixel_offset(pixel), other = 0;
        bool both = pixel + 1 < to.pixels;
        if (!to.pairs && both)
            other = target.pixel_offset(pixel + 1);
#pragma unroll
        for (int i = 0; i < MMA_M; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int channel = begin + at.channel(i, 2 * half);
                if (channel >= to.channels)
                    continue;
                long long row = target.channel_offset(channel);
                float bias = target.bias(channel);
                if (to.pairs) {
                    target.write_two(row + one, sum[i][j][2 * half], sum[i][j][2 * half + 1], bias);
                    continue;
                }
                target.write(row + one, sum[i][j][2 * half], bias);
                if (both)
                    target.write(row + other, sum[i][j][2 * half + 1], bias);
            }
    }
}

#if DTYPE == FLOAT32
static __device__ __forceinline__ bool any_not_finite(const float (&sum)[MMA_M][MMA_N][4])
{
    bool found = false;
#pragma unroll
    for (int i = 0; i < MMA_M; i++)
#pragma unroll
        for (int j = 0; j < MMA_N; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                found = found || magnitude_of(sum[i][j][e]) >= 0x7f800000;
    return found;
}

static __device__ void write_exactly(const Arguments &a, const Target &target, const element *weights, int begin,
                                     long long first, int from, int to)
{
    Window window;
    window.open(a, target.group, first + threadIdx.x % BLOCK_N);
    if (window.top == Window::NOWHERE)
        return;
    long long pixel = target.pixel_offset(first + threadIdx.x % BLOCK_N);
#pragma unroll 1
    for (int m = threadIdx.x / BLOCK_N; m < BLOCK_M && begin + m < a.output.channels; m += THREADS / BLOCK_N) {
        float sum = exact_sum(a, window, weights + m * (long long)a.steps * STEP, from, to);
        target.write(target.channel_offset(begin + m) + pixel, sum, target.bias(begin + m));
    }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) conv_tensor(const Arguments a)
{
    DYNAMIC_SHARED(memory);
    // neighbouring blocks take the same pixels and other channels, so that pixels are found in the second-level cache
    int tile_m = blockIdx.x % a.output.tiles_m, rest = blockIdx.x / a.output.tiles_m;
    int part = rest % a.output.parts;
    rest /= a.output.parts;
    int group = rest % a.output.groups, begin = tile_m * BLOCK_M;
    long long first = (long long)(rest / a.output.groups) * BLOCK_N;
    int step = part * a.part_steps, steps = min(a.part_steps, a.steps - step);
    const element *packed =
        a.weights + ((long long)group * a.padded_channels + begin) * ((long long)a.steps * STEP);

    Corner corner;
    float sum[MMA_M][MMA_N][4] = {};
    {
        Weights weights(packed + (long long)step * STEP, (long long)a.steps * STEP);
        Pixels pixels(a, group, first, step * STEP);
        multiply((Stage *)memory, weights, pixels, steps, corner, sum);
    }
    Target target = {a.output, group, part};
#if DTYPE == FLOAT32
    if (__syncthreads_or(any_not_finite(sum))) {
        write_exactly(a, target, packed, begin, first, step * STEP, (step + steps) * STEP);
        return;
    }
#endif
    write_tile(target, begin, first, corner, sum);
}
