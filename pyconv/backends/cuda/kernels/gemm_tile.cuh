// The register tile that the dense convolutions share: a block of threads computes BLOCK_M output channels of BLOCK_N
// pixels, as the product of packed weights (K x M) and pixels (K x N) that a Source hands over, BLOCK_K rows at a time.
//
// -DTM, -DTN: output channels and pixels of a thread; -DWARPS_M, -DWARPS_N: warps of a block along them. A warp is
// 4 threads along M by 8 along N, and each thread takes its channels and pixels in vectors of 16 bytes that lie a
// whole row of threads apart: so shared memory is read in whole vectors, without bank conflicts (the layout of
// CUTLASS's SIMT kernels).

#define BLOCK_K 8
#define VECTOR ((int)(16 / sizeof(accumulator)))
#define BLOCK_M (WARPS_M * 4 * TM)
#define BLOCK_N (WARPS_N * 8 * TN)
#define THREADS (WARPS_M * WARPS_N * 32)

// Blocks that a multiprocessor must have room for, which caps a thread's registers: at 128 in blocks of 256 threads, at
// 168 in those of 128; in float64 every thread may have 255.
#if DTYPE == FLOAT64
#define BLOCKS (256 / THREADS)
#else
#define BLOCKS (THREADS == 256 ? 2 : 384 / THREADS)
#endif

static_assert(TM % VECTOR == 0 && TN % VECTOR == 0, "a thread works on whole vectors");
static_assert(THREADS % BLOCK_N == 0, "every thread stays with one pixel when pixels are fetched one by one");

struct alignas(16) Vector {
    accumulator part[VECTOR];
};

// as many elements, which for float16 and bfloat16 take 8 bytes
struct alignas(VECTOR * sizeof(element)) Elements {
    element part[VECTOR];
};

struct alignas(16) Shared {
    accumulator weights[2][BLOCK_K][BLOCK_M];
    accumulator pixels[2][BLOCK_K][BLOCK_N];
};

// The block's rows of the packed weights, a step of BLOCK_K at a time
struct Weights {
    enum { ROW = BLOCK_M / VECTOR, COUNT = (BLOCK_K * ROW + THREADS - 1) / THREADS };
    const accumulator *from;
    long long pitch;
    Vector held[COUNT];

    __device__ __forceinline__ Weights(const accumulator *packed, long long pitch_of_rows)
        : from(packed), pitch(pitch_of_rows)
    {
    }

    __device__ __forceinline__ void fetch()
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            int place = threadIdx.x + i * THREADS;
            if (BLOCK_K * ROW % THREADS == 0 || place < BLOCK_K * ROW)
                held[i] = *(const Vector *)(from + place / ROW * pitch + place % ROW * VECTOR);
        }
        from += BLOCK_K * pitch;
    }

    __device__ __forceinline__ void store(accumulator (*panel)[BLOCK_M])
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            int place = threadIdx.x + i * THREADS;
            if (BLOCK_K * ROW % THREADS == 0 || place < BLOCK_K * ROW)
                *(Vector *)&panel[place / ROW][place % ROW * VECTOR] = held[i];
        }
    }
};

// Where this thread's channels and pixels begin within the tile
struct Corner {
    int m, n;

    __device__ __forceinline__ Corner()
    {
        int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        m = warp / WARPS_N * (4 * TM) + lane / 8 * VECTOR;
        n = warp % WARPS_N * (8 * TN) + lane % 8 * VECTOR;
    }

    __device__ __forceinline__ int channel(int i) const { return m + i / VECTOR * (4 * VECTOR) + i % VECTOR; }
    __device__ __forceinline__ int pixel(int j) const { return n + j / VECTOR * (8 * VECTOR) + j % VECTOR; }
};

static __device__ __forceinline__ void multiply_step(const accumulator (*weights)[BLOCK_M],
                                                     const accumulator (*pixels)[BLOCK_N], const Corner &corner,
                                                     accumulator (&sum)[TM][TN])
{
#pragma unroll
    for (int k = 0; k < BLOCK_K; k++) {
        Vector a[TM / VECTOR], b[TN / VECTOR];
#pragma unroll
        for (int i = 0; i < TM / VECTOR; i++)
            a[i] = *(const Vector *)&weights[k][corner.channel(i * VECTOR)];
#pragma unroll
        for (int j = 0; j < TN / VECTOR; j++)
            b[j] = *(const Vector *)&pixels[k][corner.pixel(j * VECTOR)];
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++)
                sum[i][j] = multiply_add(a[i / VECTOR].part[i % VECTOR], b[j / VECTOR].part[j % VECTOR], sum[i][j]);
    }
}

// The whole sum, over `steps` steps of BLOCK_K rows. While one half of shared memory is multiplied, the next rows are
// on their way in registers; one barrier a step is enough, since nobody writes the half that is being read.
template <class Source>
static __device__ __forceinline__ void multiply(Shared &shared, Weights &weights, Source &pixels, int steps,
                                                const Corner &corner, accumulator (&sum)[TM][TN])
{
    weights.fetch();
    pixels.fetch();
    weights.store(shared.weights[0]);
    pixels.store(shared.pixels[0]);
    __syncthreads();
    for (int step = 0; step < steps; step++) {
        int now = step & 1;
        if (step + 1 < steps) {
            weights.fetch();
            pixels.fetch();
        }
        multiply_step(shared.weights[now], shared.pixels[now], corner, sum);
        if (step + 1 < steps) {
            weights.store(shared.weights[now ^ 1]);
            pixels.store(shared.pixels[now ^ 1]);
        }
        __syncthreads();
    }
}

// What all dense convolutions know about their output, and where it goes
struct Output {
    element *out;
    const element *bias;      // or null
    const element *residual;  // with -DRESIDUAL=1: lies as the output does, and may be it
    long long pixels;         // of all images together
    long long plane;          // of one output channel, in the order of pooled.cuh
    int channels;             // of a group
    int groups;
    int whole_vectors;        // every vector of pixels lies in one image, aligned
    int tiles_m;
    Parameter parameters[2];  // of the activation
};

#if POOLED
static_assert(VECTOR == 4, "a thread's vector is the window of one maximum");

// Adds the bias, applies the activation and writes the maxima of the tile's windows
static __device__ __forceinline__ void write_tile(const Output &to, int group, int begin, INDEX first,
                                                  const Corner &corner, const accumulator (&sum)[TM][TN])
{
#pragma unroll
    for (int v = 0; v < TN / VECTOR; v++) {
        INDEX pixel = first + corner.pixel(v * VECTOR);
        if (pixel >= to.pixels)
            continue;
        INDEX image = pixel / (INDEX)to.plane, window = (pixel - image * (INDEX)to.plane) / 4;
#pragma unroll
        for (int i = 0; i < TM; i++) {
            int channel = begin + corner.channel(i);
            if (channel >= to.channels)
                continue;
            channel += group * to.channels;
            accumulator bias = to.bias ? widen(to.bias[channel]) : accumulator(0);
            accumulator best = activated(sum[i][v * VECTOR] + bias, to.parameters);
#pragma unroll
            for (int j = 1; j < VECTOR; j++)
                best = maximum(best, activated(sum[i][v * VECTOR + j] + bias, to.parameters));
            long long plane = (long long)image * to.groups * to.channels + channel;
            to.out[plane * (to.plane / 4) + window] = narrow(best);
        }
    }
}
#else
// Adds the bias, applies the activation and writes the tile; `first` is its first pixel, `begin` its first channel
static __device__ __forceinline__ void write_tile(const Output &to, int group, int begin, INDEX first,
                                                  const Corner &corner, const accumulator (&sum)[TM][TN])
{
    accumulator bias[TM];
#pragma unroll
    for (int i = 0; i < TM; i++) {
        int channel = begin + corner.channel(i);
        bias[i] = to.bias && channel < to.channels ? widen(to.bias[group * to.channels + channel]) : accumulator(0);
    }
#pragma unroll
    for (int v = 0; v < TN / VECTOR; v++) {
        INDEX pixel = first + corner.pixel(v * VECTOR);
        if (pixel >= to.pixels)
            continue;
        INDEX image = pixel / (INDEX)to.plane, place = pixel - image * (INDEX)to.plane;
        element *at = to.out + ((long long)image * to.groups + group) * to.channels * to.plane + place;
#pragma unroll
        for (int i = 0; i < TM; i++) {
            int channel = begin + corner.channel(i);
            if (channel >= to.channels)
                continue;
            Elements values = {};
            if (to.whole_vectors) {
#if RESIDUAL
                values = *(const Elements *)(to.residual + (at - to.out) + channel * to.plane);
#endif
#pragma unroll
                for (int j = 0; j < VECTOR; j++)
                    values.part[j] = finished(sum[i][v * VECTOR + j], bias[i], values.part[j], to.parameters);
                *(Elements *)(at + channel * to.plane) = values;
                continue;
            }
            INDEX in_plane = place;
            element *row = at + channel * to.plane - place;
#pragma unroll
            for (int j = 0; j < VECTOR; j++) {
                if (pixel + j < to.pixels) {
#if RESIDUAL
                    values.part[j] = to.residual[row + in_plane - to.out];
#endif
                    row[in_plane] = finished(sum[i][v * VECTOR + j], bias[i], values.part[j], to.parameters);
                }
                if (++in_plane == to.plane) {  // the next pixel is the first of the next image
                    in_plane = 0;
                    row += to.groups * (long long)to.channels * to.plane;
                }
            }
        }
    }
}
#endif

// One block of a convolution whose pixels a `Source` hands over
template <class Source, class Arguments>
static __device__ __forceinline__ void convolve(Shared &shared, const Arguments &a)
{
    // neighbouring blocks take the same pixels and other channels, so that pixels are found in the second-level cache
    int tile_m = blockIdx.x % a.output.tiles_m, rest = blockIdx.x / a.output.tiles_m;
    int group = rest % a.output.groups;
    INDEX first = (INDEX)(rest / a.output.groups) * BLOCK_N;
    const accumulator *packed = a.weights + (long long)group * a.steps * BLOCK_K * a.padded_channels + tile_m * BLOCK_M;
    Weights weights(packed, a.padded_channels);
    Source pixels(a, group, first);
    Corner corner;
    accumulator sum[TM][TN] = {};
    multiply(shared, weights, pixels, a.steps, corner, sum);
    write_tile(a.output, group, tile_m * BLOCK_M, first, corner, sum);
}
