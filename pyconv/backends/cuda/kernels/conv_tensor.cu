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
#include "tensor_write.cuh"

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
    Work work(a);
    long long pitch = (long long)a.steps * STEP;
    Rows rows = {a.weights + ((long long)work.group * a.padded_channels + work.begin) * pitch, pitch};

    Corner corner;
    float sum[MMA_M][MMA_N][4] = {};
    {
        Weights weights(rows.packed + (long long)work.step * STEP, pitch);
        Pixels pixels(a, work.group, work.first, work.step * STEP);
        multiply((Stage *)memory, weights, pixels, work.steps, corner, sum);
    }
    Target target = {a.output, work.group, work.part};
#if DTYPE == FLOAT32
    if (__syncthreads_or(any_not_finite(sum))) {
        keep_tile((float *)memory, corner, sum);
        __syncthreads();
        write_exactly(a, target, (const float *)memory, rows, work, threadIdx.x, THREADS);
        return;
    }
#endif
    write_tile(target, work, corner, sum);
}
