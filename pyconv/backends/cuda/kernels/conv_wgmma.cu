// Dense convolution on Hopper's tensor cores: as conv_tensor.cu, with wgmma in the place of mma.sync, and bulk copies of
// weights. One warpgroup fetches, the others multiply. For sm_90a alone.

#include "common.cuh"
#include "activation.cuh"
#include "wgmma_tile.cuh"
#define INDEX int
#include "pooled.cuh"
#include "tensor_sum.cuh"
#include "tensor_pixels.cuh"
#include "wgmma_write.cuh"

// Gathering takes so many registers that a block has a multiprocessor for itself, whatever its tile.
#if FETCH == GATHERED
#define RESIDENT 1
#else
#define RESIDENT BLOCKS
#endif

// Whether fetching leaves registers to multiplying: of the 168 that 384 threads may have each
#define SHIFTED (GROUPS == 2 && RESIDENT == 1)

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) conv_wgmma(const Arguments a)
{
    DYNAMIC_SHARED(memory);
    Ring &ring = *(Ring *)memory;
    Work work(a);
    long long pitch = (long long)a.padded_channels * STEP;
    Panels panels = {a.weights + (long long)work.group * a.steps * PANELS * pitch + (long long)work.begin * STEP, pitch};

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            begin_barrier(&ring.full[i], FETCHERS + 1);
            begin_barrier(&ring.empty[i], GROUPS * 4);
        }
        publish_shared();
    }
    __syncthreads();

    if (threadIdx.x < FETCHERS) {
#if SHIFTED
        fewer_registers<104>();
#endif
        Pixels pixels(a, work.group, work.first, work.step * STEP);
        fetch(ring, panels, pixels, work.step, work.steps);
#if DTYPE == FLOAT32
        if (__syncthreads_or(false))
            __syncthreads();  // as those do that multiply
#endif
        return;
    }
#if SHIFTED
    more_registers<200>();
#endif
    Corner corner;
    Sums sum = {};
    multiply(ring, work.steps, corner, sum);
    Target target = {a.output, work.group, work.part};
#if DTYPE == FLOAT32
    if (__syncthreads_or(any_not_finite(sum))) {
        keep_tile((float *)memory, corner, sum);
        __syncthreads();
        write_exactly(a, target, (const float *)memory, panels, work, threadIdx.x - FETCHERS, THREADS - FETCHERS);
        return;
    }
#endif
    write_tile(target, work, corner, sum);
}
