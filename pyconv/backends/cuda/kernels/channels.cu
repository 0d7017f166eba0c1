// One function with numbers of its own for each channel, over memory without gaps. -DFUNCTION=prelu: x where it is
// positive, else slope * x; affine: x * scale + shift.

#include "memory.cuh"
#include "numbers.cuh"

struct Arguments {
    const element *x;
    element *out;  // may be x
    long long size;
    long long each;  // vectors of a thread
    const element *first, *second;  // slopes, or scales and shifts
    long long inner;                // neighbouring elements of one channel
    int channels;                   // that have numbers of their own
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

static __device__ __forceinline__ scalar prelu(scalar x, scalar slope, scalar)
{
    return bits_of(x) > 0 && !is_nan(x) ? x : multiply_unflushed(x, slope);
}

static __device__ __forceinline__ scalar affine(scalar x, scalar scale, scalar shift)
{
    return multiply_add_unflushed(x, scale, shift);
}

struct Channel {
    const Arguments &of;
    long long left;  // elements of this channel still to come
    int channel;
    scalar first, second;

    __device__ __forceinline__ void load()
    {
        first = widen(of.first[channel]);
        second = of.second ? widen(of.second[channel]) : scalar(0);
    }

    __device__ __forceinline__ void begin(long long place)
    {
        long long line = place / of.inner;
        left = of.inner - (place - line * of.inner);
        channel = (int)(line % of.channels);
        load();
    }

    __device__ __forceinline__ element operator()(element value)
    {
        if (!left) {
            left = of.inner;
            if (++channel == of.channels)
                channel = 0;
            load();
        }
        left--;
        return narrow(FUNCTION(widen(value), first, second));
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, 4) channels(const Arguments a)
{
    over_memory(a.x, a.out, a.size, (int)a.each, Channel{a, 0, 0, 0, 0});
}
