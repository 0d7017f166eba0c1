// How a tensor-core convolution's sums are written: with bias and activation, or as they are if they are parts.
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

    __device__ __forceinline__ void write_two(long long offset, float first, float second, float bias) const
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
            {finished(first, bias, more.part[0], to.parameters), finished(second, bias, more.part[1], to.parameters)}};
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

#if POOLED
// A thread has two pixels of a window's row, its neighbour those of the other row
static __device__ __forceinline__ void write_tile(const Target &target, int begin, long long first, const Corner &at,
                                                  const float (&sum)[MMA_M][MMA_N][4])
{
    const Output &to = target.to;
    Spot spot(to, first + at.pixel(0));
#pragma unroll
    for (int j = 0; j < MMA_N; j++, spot.move(to, 8)) {
        bool writes = at.column % 2 == 0 && first + at.pixel(j) < to.pixels;
#pragma unroll
        for (int i = 0; i < MMA_M; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int channel = begin + at.channel(i, 2 * half);
                float bias = target.bias(channel);
                float upper = maximum(activated(sum[i][j][2 * half] + bias, to.parameters),
                                      activated(sum[i][j][2 * half + 1] + bias, to.parameters));
                float lower = from_neighbour(upper);
                if (writes && channel < to.channels)
                    ((element *)to.out)[target.channel_offset(channel) + spot.offset(to)] = maximum(upper, lower);
            }
    }
}
#else
static __device__ __forceinline__ void write_tile(const Target &target, int begin, long long first, const Corner &at,
                                                  const float (&sum)[MMA_M][MMA_N][4])
{
    const Output &to = target.to;
    Spot spot(to, first + at.pixel(0));
#pragma unroll
    for (int j = 0; j < MMA_N; j++, spot.move(to, 8)) {
        long long pixel = first + at.pixel(j);
        if (pixel >= to.pixels)
            continue;
        long long one = spot.offset(to), other = 0;
        bool both = pixel + 1 < to.pixels;
        if (!to.pairs && both) {
            Spot next = spot;
            next.move(to, 1);
            other = next.offset(to);
        }
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

#endif

#if DTYPE == FLOAT32
static_assert(SHARED_BYTES >= BLOCK_M * BLOCK_N * sizeof(float), "a tile fits where its stages were");

static __device__ __forceinline__ bool is_finite(float value)
{
    return magnitude_of(value) < INFINITE_BITS;
}

static __device__ __forceinline__ bool any_not_finite(const float (&sum)[MMA_M][MMA_N][4])
{
    bool found = false;
#pragma unroll
    for (int i = 0; i < MMA_M; i++)
#pragma unroll
        for (int j = 0; j < MMA_N; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                found = found || !is_finite(sum[i][j][e]);
    return found;
}

// Puts the tile into shared memory, [channel][pixel]
static __device__ __forceinline__ void keep_tile(float *kept, const Corner &at, const float (&sum)[MMA_M][MMA_N][4])
{
#pragma unroll
    for (int i = 0; i < MMA_M; i++)
#pragma unroll
        for (int j = 0; j < MMA_N; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                kept[at.channel(i, e) * BLOCK_N + at.pixel(j) + e % 2] = sum[i][j][e];
}

// Writes a tile that was kept; those of its sums that are not finite are computed exactly. weights[m] are those of the
// block's channel m.
template <class Channels>
static __device__ void write_exactly(const Arguments &a, const Target &target, const float *kept,
                                     const Channels &weights, int begin, long long first, int from, int to)
{
    enum { EACH = POOLED ? 4 : 1, AT_ONCE = BLOCK_N / EACH };
    int n = threadIdx.x % AT_ONCE * EACH;
    if (first + n >= a.output.pixels)
        return;
    long long pixel = Spot(target.to, first + n).offset(target.to);
#pragma unroll 1
    for (int m = threadIdx.x / AT_ONCE; m < BLOCK_M && begin + m < a.output.channels; m += THREADS / AT_ONCE) {
        long long offset = target.channel_offset(begin + m) + pixel;
        float bias = target.bias(begin + m), best = 0;
#pragma unroll 1
        for (int i = 0; i < EACH; i++) {
            float sum = kept[m * BLOCK_N + n + i];
            if (!is_finite(sum)) {
                Window window;
                window.open(a, target.group, first + n + i);
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
