// What poolings do with the elements of a window, -DPOOL: their maximum, their maximum and its place in the plane (the
// first of equal elements, the last NaN), or their sum. Whatever order windows are cut in, `join` is given the earlier
// elements first.
#define MAXIMA 0
#define PLACES 1
#define SUMS 2

#include "common.cuh"

#if POOL == PLACES

struct Held {
    element value;
    int place;  // -1: there is no element
};

static __device__ __forceinline__ Held nothing()
{
    return {-(element)__int_as_float(0x7f800000), -1};
}

static __device__ __forceinline__ Held held(element value, int place)
{
    return {value, place};
}

static __device__ __forceinline__ Held join(Held a, Held b)
{
    return b.place >= 0 && (a.place < 0 || beats(b.value, a.value)) ? b : a;
}

#elif POOL == SUMS

typedef accumulator Held;

static __device__ __forceinline__ Held nothing()
{
    return 0;
}

static __device__ __forceinline__ Held held(element value, int)
{
    return widen(value);
}

static __device__ __forceinline__ Held join(Held a, Held b)
{
    return a + b;
}

#else

typedef element Held;

static __device__ __forceinline__ Held nothing()
{
    return -(element)__int_as_float(0x7f800000);
}

static __device__ __forceinline__ Held held(element value, int)
{
    return value;
}

static __device__ __forceinline__ Held join(Held a, Held b)
{
    return beats(b, a) ? b : a;
}

#endif

// Which of a window's `count` elements along an axis, `gap` apart from `start` on, lie in a plane of `size`. In 64 bits:
// in ceil mode the last window may begin far beyond the plane.
struct Inside {
    int begin, end;

    __device__ __forceinline__ Inside(long long start, int gap, int count, int size)
    {
        long long before = start < 0 ? (-start + gap - 1) / gap : 0, until = start < size ? (size - start + gap - 1) / gap : 0;
        end = (int)(until < count ? until : count);
        begin = (int)(before < end ? before : end);
    }
};

// How many elements of the window of output `i` along an axis an average counts
static __device__ __forceinline__ int counted(int i, int in, int kernel, int stride, int before, int after,
                                              int count_include_pad)
{
    int start = i * stride - before, end = min(start + kernel, in + after);
    if (!count_include_pad) {
        start = max(start, 0);
        end = min(end, in);
    }
    return end - start;
}
