// Dense convolution on tensor cores, as an implicit matrix product: pixels are copied to shared memory straight from
// the image, asynchronously and STAGES - 1 steps ahead, and im2col exists nowhere. From compute capability 8.0 on.

#include "common.cuh"
#include "activation.cuh"
#include "mma.cuh"
#include "tensor_tile.cuh"
#define INDEX int
#include "pooled.cuh"
#include "tensor_sum.cuh"
#include "tensor_pixels.cuh"
#include "tensor_output.cuh"

// Blocks that a multiprocessor must have room for, which caps a thread's registers: at 128 in blocks of 256 threads and
// 168 in those of 128; with three products, which need more fragments at once, at 255.
#if PRODUCTS == 3
#define BLOCKS (THREADS == 256 ? 1 : 2)
#else
#define BLOCKS (THREADS == 256 ? 2 : 3)
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
        Rows rows = {packed, (long long)a.steps * STEP};
        keep_tile((float *)memory, corner, sum);
        __syncthreads();
        write_exactly(a, target, (const float *)memory, rows, begin, first, step * STEP, (step + steps) * STEP);
        return;
    }
#endif
    write_tile(target, begin, first, corner, sum);
}
