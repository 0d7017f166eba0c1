// The tile of mma.sync: STAGES steps of the sum are in shared memory or on their way to it. Weights are on the product's
// M, so that two neighbouring pixels are written at once.
//
// -DMMA_M, -DMMA_N: tiles of 16 channels and of 8 pixels that a warp computes; -DWARPS_M, -DWARPS_N: warps that
// multiply.

#define BLOCK_M (WARPS_M * 16 * MMA_M)
#define BLOCK_N (WARPS_N * 8 * MMA_N)
#define THREADS (WARPS_M * WARPS_N * 32)
#define FETCHERS THREADS

#include "tensor_block.cuh"

static_assert(MMA_N % 4 == 0, "a warp's pixels are whole swizzles");

// This thread's place in the block and in its warp
struct Corner {
    int m, n, row, column, lane;

    __device__ __forceinline__ Corner()
    {
        int warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
        m = warp / WARPS_N * (16 * MMA_M);
        n = warp % WARPS_N * (8 * MMA_N);
        row = lane / 4;
        column = lane % 4;
    }

    // of sum[i][j][e], by the fragment of mma
    __device__ __forceinline__ int channel(int i, int, int e) const { return m + i * 16 + row + e / 2 * 8; }
    __device__ __forceinline__ int pixel(int, int j, int e) const { return n + j * 8 + column * 2 + e % 2; }
};

struct alignas(128) Stage {
    unsigned weights[BLOCK_M * WORDS];
    unsigned pixels[BLOCK_N * WORDS];
};
static_assert(SHARED_BYTES == STAGES * sizeof(Stage), "the launch asks for another amount of shared memory");

// Packed weights, [channel][element of the sum]
struct Rows {
    const element *packed;
    long long pitch;

    __device__ __forceinline__ const element *operator[](int channel) const { return packed + channel * pitch; }
};

// The block's rows of them, on their way to a stage: always whole steps
struct Weights {
    enum { AT_ONCE = THREADS / CHUNKS, EACH = BLOCK_M / AT_ONCE };
    const element *from;
    long long pitch;

    __device__ __forceinline__ Weights(const element *packed, long long pitch_of_rows) : pitch(pitch_of_rows)
    {
        from = packed + (int)(threadIdx.x / CHUNKS) * pitch + threadIdx.x % CHUNKS * CHUNK;
    }

    __device__ __forceinline__ void issue(unsigned *panel)
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
            copy_async<16>(panel + chunk_place(threadIdx.x / CHUNKS + i * AT_ONCE, threadIdx.x % CHUNKS),
                           from + i * AT_ONCE * pitch, true);
        from += STEP;
    }
};

static __device__ __forceinline__ void multiply_words(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
#if DTYPE == FLOAT16
    mma_f16(c, a, b);
#elif DTYPE == BFLOAT16
    mma_bf16(c, a, b);
#else
    mma_tf32(c, a, b);
#endif
}

// The pixels of 8 words of the sum, for every tile of the warp
static __device__ __forceinline__ void read_pixels(const unsigned *panel, int part, const Corner &at,
                                                   unsigned (&b)[MMA_N][2])
{
#if BY_PIXEL
#pragma unroll
    for (int j = 0; j < MMA_N; j += 2) {
        unsigned words[4];
        int before = (at.n + (j + at.lane / 16) * 8) * WORDS;  // whole swizzles, as below: so that offsets are constants
        load_matrices(words, panel + before + chunk_place(at.lane % 8, part * 2 + at.lane / 8 % 2));
        b[j][0] = words[0];
        b[j][1] = words[1];
        b[j + 1][0] = words[2];
        b[j + 1][1] = words[3];
    }
#else
#pragma unroll
    for (int j = 0; j < MMA_N; j++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            b[j][half] = load_word(panel + at.n + pixel_place(part * 8 + half * 4 + at.column, j * 8 + at.row));
#endif
}

static __device__ __forceinline__ void multiply_stage(const Stage &stage, const Corner &at,
                                                      float (&sum)[MMA_M][MMA_N][4])
{
#if PRODUCTS == 3
#pragma unroll 1  // more fragments at once would not fit in registers
#else
#pragma unroll 2
#endif
    for (int part = 0; part < WORDS / 8; part++) {
        unsigned b[MMA_N][2];
        read_pixels(stage.pixels, part, at, b);
#if PRODUCTS == 3
        unsigned b_low[MMA_N][2];
#pragma unroll
        for (int j = 0; j < MMA_N; j++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                split(b[j][half], b[j][half], b_low[j][half]);
#elif DTYPE == FLOAT32
#pragma unroll
        for (int j = 0; j < MMA_N; j++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                b[j][half] = tf32_of(__int_as_float((int)b[j][half]));
#endif
#pragma unroll
        for (int i = 0; i < MMA_M; i++) {
            unsigned a[4];
            int before = (at.m + i * 16) * WORDS;
            load_matrices(a, stage.weights + before + chunk_place(at.lane % 16, part * 2 + at.lane / 16));
#if PRODUCTS == 3
            unsigned a_low[4];
            float eight[MMA_N][4] = {};
#pragma unroll
            for (int e = 0; e < 4; e++)
                split(a[e], a[e], a_low[e]);
#pragma unroll
            for (int j = 0; j < MMA_N; j++)
                multiply_words(eight[j], a_low, b[j]);
#pragma unroll
            for (int j = 0; j < MMA_N; j++)
                multiply_words(eight[j], a, b_low[j]);
#pragma unroll
            for (int j = 0; j < MMA_N; j++)
                multiply_words(eight[j], a, b[j]);
#pragma unroll
            for (int j = 0; j < MMA_N; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sum[i][j][e] += eight[j][e];
#else
#pragma unroll
            for (int j = 0; j < MMA_N; j++)
                multiply_words(sum[i][j], a, b[j]);
#endif
        }
    }
}

// The sum over `steps` steps. A barrier a step is enough: the stage that is filled during a step was read in the one
// before. `Pixels` may also hold what it fetches in registers, and put it into the stage only after the products.
template <class Pixels>
static __device__ __forceinline__ void multiply(Stage *stages, Weights &weights, Pixels &pixels, int steps,
                                                const Corner &at, float (&sum)[MMA_M][MMA_N][4])
{
#pragma unroll
    for (int ahead = 0; ahead < STAGES - 1; ahead++) {
        if (ahead < steps) {
            weights.issue(stages[ahead].weights);
            pixels.issue(stages[ahead].pixels);
            pixels.settle(stages[ahead].pixels);
        }
        commit_copies();
    }
    int now = 0, next = STAGES - 1;
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        wait_for_copies<STAGES - 2>();
        __syncthreads();
        bool more = step + STAGES - 1 < steps;
        if (more) {
            weights.issue(stages[next].weights);
            pixels.issue(stages[next].pixels);
        }
        commit_copies();
        multiply_stage(stages[now], at, sum);
        if (more)
            pixels.settle(stages[next].pixels);
        now = now + 1 == STAGES ? 0 : now + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
    }
}
