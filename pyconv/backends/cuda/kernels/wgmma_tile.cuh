// The tile of wgmma: a ring of STAGES steps of the sum between threads that fetch and warpgroups that multiply. Pixels are
// on the product's M: a thread takes them from shared memory into registers, where TF32 is rounded, and float32 is split;
// and weights come as they were packed, in one copy.
//
// -DTILES: 64 output channels each, of a warpgroup; -DGROUPS: warpgroups that multiply, 64 pixels each.

#define BLOCK_M (TILES * COLUMNS)
#define BLOCK_N (GROUPS * 64)
#define FETCHERS 128
#define THREADS (FETCHERS + GROUPS * 128)
#define PANELS (PRODUCTS == 3 ? 2 : 1)  // of weights: as they are, or their high and their low parts

#include "wgmma.cuh"
#include "tensor_block.cuh"

struct alignas(1024) Stage {
    unsigned weights[PANELS][BLOCK_M * WORDS];
    unsigned pixels[BLOCK_N * WORDS];
};

struct Ring {
    Stage stages[STAGES];
    Barrier full[STAGES], empty[STAGES];
};
static_assert(SHARED_BYTES == STAGES * (sizeof(Stage) + 2 * sizeof(Barrier)), "the launch asks for another amount");

// A place in the ring, and the parity of the phases in which it comes there
struct Turn {
    int stage = 0, parity = 0;

    __device__ __forceinline__ void move()
    {
        if (++stage == STAGES) {
            stage = 0;
            parity ^= 1;
        }
    }
};

// This thread's place among those that multiply
struct Corner {
    int n, row, column, lane;

    __device__ __forceinline__ Corner()
    {
        lane = threadIdx.x % 32;
        n = (int)(threadIdx.x - FETCHERS) / 32 * 16;
        row = lane / 4;
        column = lane % 4;
    }

    // of sum[i][j][e], by the fragment of wgmma; 8 of j are 64 channels
    __device__ __forceinline__ int channel(int i, int j, int e) const
    {
        return i * COLUMNS + j * 8 + column * 2 + e % 2;
    }
    __device__ __forceinline__ int pixel(int, int, int e) const { return n + row + e / 2 * 8; }
};

// Packed weights, [step][panel][channel][32 words], as weights.py has them
struct Panels {
    const element *packed;
    long long pitch;  // of a panel, of all channels

    __device__ __forceinline__ const element *at(int step, int panel) const
    {
        return packed + ((long long)step * PANELS + panel) * pitch;
    }

    // One channel's, in the order of the sum
    struct Row {
        const Panels &of;
        int channel;

        __device__ __forceinline__ element operator[](int k) const
        {
            int place = chunk_place(channel, k % STEP / CHUNK) * (CHUNK / 4) + k % CHUNK;
            element weight = of.at(k / STEP, 0)[place];
#if PRODUCTS == 3
            element low = of.at(k / STEP, 1)[place];
            return low == low ? weight + low : weight;  // what cannot be split is kept with a low part of NaN
#else
            return weight;
#endif
        }
    };

    __device__ __forceinline__ Row operator[](int channel) const { return {*this, channel}; }
};

static __device__ __forceinline__ void wait_for(Barrier *barrier, int parity)
{
    while (!has_ended(barrier, parity)) {
    }
}

// Fills the ring. Weights are fetched by one thread; pixels by all, who go on before theirs have landed.
template <class Pixels>
static __device__ __forceinline__ void fetch(Ring &ring, const Panels &panels, Pixels &pixels, int step, int steps)
{
    Turn turn;
#pragma unroll 1
    for (int end = step + steps; step < end; step++, turn.move()) {
        Stage &stage = ring.stages[turn.stage];
        Barrier *full = &ring.full[turn.stage];
        if (Pixels::HELD)
            pixels.issue(stage.pixels);
        wait_for(&ring.empty[turn.stage], turn.parity ^ 1);
        if (threadIdx.x == 0) {
            arrive_expecting(full, sizeof stage.weights);
#pragma unroll
            for (int panel = 0; panel < PANELS; panel++)
                copy_bulk(stage.weights[panel], panels.at(step, panel), sizeof stage.weights[panel], full);
        }
        if (!Pixels::HELD)
            pixels.issue(stage.pixels);
        pixels.settle(stage.pixels);
        if (pixels.stores())
            arrive(full);
        else
            arrive_after_copies(full);
    }
    commit_copies();
    wait_for_copies<0>();  // none is on its way when the thread ends
}

// The pixels of 8 words of the sum
static __device__ __forceinline__ void read_pixels(const unsigned *panel, int part, const Corner &at, unsigned (&a)[4])
{
#if BY_PIXEL
    load_matrices(a, panel + at.n * WORDS + chunk_place(at.lane % 16, part * 2 + at.lane / 16));
#else
#pragma unroll
    for (int i = 0; i < 4; i++)
        a[i] = load_word(panel + pixel_place(part * 8 + i / 2 * 4 + at.column, at.n + i % 2 * 8 + at.row));
#endif
}

static __device__ __forceinline__ void multiply_words(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added)
{
#if DTYPE == FLOAT16
    wgmma_f16(c, a, b, added);
#elif DTYPE == BFLOAT16
    wgmma_bf16(c, a, b, added);
#else
    wgmma_tf32(c, a, b, added);
#endif
}

typedef float Sums[TILES][8][4];

#if PRODUCTS == 3
static __device__ __forceinline__ void multiply_stage(const Stage &stage, const Corner &at, Sums &sum)
{
    Columns high = columns_at(stage.weights[0]), low = columns_at(stage.weights[1]);
    const Columns tile = columns_at(stage.weights[0] + COLUMNS * WORDS) - high;
#pragma unroll 1  // more fragments at once would not fit in registers
    for (int part = 0; part < WORDS / 8; part++) {
        unsigned a[4], a_low[4];
        Sums eight;
        read_pixels(stage.pixels, part, at, a);
#pragma unroll
        for (int e = 0; e < 4; e++)
            split(a[e], a[e], a_low[e]);
        begin_products();
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            multiply_words(eight[i], a, words_of(low + i * tile, part), false);
            multiply_words(eight[i], a_low, words_of(high + i * tile, part), true);
            multiply_words(eight[i], a, words_of(high + i * tile, part), true);
        }
        commit_products();
        wait_for_products();
#pragma unroll
        for (int i = 0; i < TILES; i++)
            stay_behind(eight[i]);
#pragma unroll
        for (int i = 0; i < TILES; i++)
#pragma unroll
            for (int j = 0; j < 8; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    sum[i][j][e] += eight[i][j][e];
    }
}
#else
// While one warpgroup waits for its products and reads pixels, another's are computed.
static __device__ __forceinline__ void multiply_stage(const Stage &stage, const Corner &at, Sums &sum)
{
    unsigned a[WORDS / 8][4];
#pragma unroll
    for (int part = 0; part < WORDS / 8; part++) {
        read_pixels(stage.pixels, part, at, a[part]);
#if DTYPE == FLOAT32
#pragma unroll
        for (int e = 0; e < 4; e++)
            a[part][e] = tf32_of(__int_as_float((int)a[part][e]));
#endif
    }
    begin_products();
#pragma unroll
    for (int part = 0; part < WORDS / 8; part++)
#pragma unroll
        for (int i = 0; i < TILES; i++)
            multiply_words(sum[i], a[part], words_of(columns_at(stage.weights[0] + i * COLUMNS * WORDS), part), true);
    commit_products();
    wait_for_products();
#pragma unroll
    for (int i = 0; i < TILES; i++)
        stay_behind(sum[i]);
}
#endif

// Empties the ring
static __device__ __forceinline__ void multiply(Ring &ring, int steps, const Corner &at, Sums &sum)
{
    Turn turn;
#pragma unroll 1
    for (int step = 0; step < steps; step++, turn.move()) {
        wait_for(&ring.full[turn.stage], turn.parity);
        multiply_stage(ring.stages[turn.stage], at, sum);
        if (at.lane == 0)
            arrive(&ring.empty[turn.stage]);  // what the warp has read, its products needed
    }
}
