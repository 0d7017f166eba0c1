// Where a tensor-core convolution's sums go, with bias and activation, or as they are if they are parts; who computes
// them has a write_tile of its own.
//
// In float32 a sum that is not finite is computed once more, exactly: the parts into which numbers are split may
// overflow, or be NaN, where the numbers themselves are not.

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

    __device__ __forceinline__ void write(long long offset, float sum, float bias) const
    {
        if (to.parts > 1)
            ((float *)to.out)[offset] = sum;
        else
            ((element *)to.out)[offset] = finished(sum, bias, RESIDUAL ? to.residual[offset] : 0, to.parameters);
    }

    __device__ __forceinline__ void write_two(long long offset, float first, float second, float bias,
                                              float other_bias) const
    {
        struct alignas(8) Floats {
            float part[2];
        };
        struct alignas(2 * sizeof(element)) Elements {
            element part[2];
        };
        if (to.parts > 1) {
            *(Floats *)((float *)to.out + offset) = {{first, second}};
            return;
        }
        Elements more = {};
        if (RESIDUAL)
            more = *(const Elements *)(to.residual + offset);
        *(Elements *)((element *)to.out + offset) = {
            {finished(first, bias, more.part[0], to.parameters), finished(second, other_bias, more.part[1], to.parameters)}};
    }
};

// A pixel in the output, which moves on without dividing
struct Spot {
    long long image;  // its offset
    unsigned place;   // in a plane

    __device__ __forceinline__ Spot(const Output &to, long long pixel)
    {
        long long which = pixel / to.plane;
        image = which * to.image;
        place = (unsigned)(pixel - which * to.plane);
    }

    __device__ __forceinline__ void move(const Output &to, int pixels)
    {
        place += pixels;
        while (place >= (unsigned)to.plane) {
            place -= (unsigned)to.plane;
            image += to.image;
        }
    }

    __device__ __forceinline__ long long offset(const Output &to) const
    {
        return image + place / (POOLED ? 4 : 1) * to.pixel;
    }
};

#if DTYPE == FLOAT32
static_assert(SHARED_BYTES >= BLOCK_M * BLOCK_N * sizeof(float), "a tile fits where its stages were");

static __device__ __forceinline__ bool is_finite(float value)
{
    return magnitude_of(value) < INFINITE_BITS;
}

template <int M, int N> static __device__ __forceinline__ bool any_not_finite(const float (&sum)[M][N][4])
{
    bool found = false;
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                found = found || !is_finite(sum[i][j][e]);
    return found;
}

// Puts the tile into shared memory, [channel][pixel]
template <int M, int N>
static __device__ __forceinline__ void keep_tile(float *kept, const Corner &at, const float (&sum)[M][N][4])
{
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                kept[at.channel(i, j, e) * BLOCK_N + at.pixel(i, j, e)] = sum[i][j][e];
}

// Writes a tile that was kept; those of its sums that are not finite are computed exactly. weights[m] are those of the
// block's channel m, `thread` is this one of those that write.
template <class Channels>
static __device__ void write_exactly(const Arguments &a, const Target &target, const float *kept,
                                     const Channels &weights, const Work &work, int thread, int threads)
{
    enum { EACH = POOLED ? 4 : 1, AT_ONCE = BLOCK_N / EACH };
    int n = thread % AT_ONCE * EACH, from = work.step * STEP, to = from + work.steps * STEP;
    if (work.first + n >= a.output.pixels)
        return;
    long long pixel = Spot(target.to, work.first + n).offset(target.to);
#pragma unroll 1
    for (int m = thread / AT_ONCE; m < BLOCK_M && work.begin + m < a.output.channels; m += threads / AT_ONCE) {
        long long offset = target.channel_offset(work.begin + m) + pixel;
        float bias = target.bias(work.begin + m), best = 0;
#pragma unroll 1
        for (int i = 0; i < EACH; i++) {
            float sum = kept[m * BLOCK_N + n + i];
            if (!is_finite(sum)) {
                Window window;
                window.open(a, work.group, work.first + n + i);
                sum = exact_sum(a, window, weights[m], from, to);
            }
            if (POOLED)
                sum = activated(sum + bias, a.output.parameters);
            best = i ? maximum(best, sum) : sum;
        }
        if (POOLED)
            ((element *)a.output.out)[offset] = best;
        else
            target.write(offset, best, bias);
    }
}
#endif
