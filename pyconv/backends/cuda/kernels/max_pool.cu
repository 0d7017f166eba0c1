// Max pooling: a thread an output. -DKERNEL: the window's height and width, or 0 for any; -DINDICES=1: also where the
// maximum lies, y * width + x, the first of equal elements and the last NaN.

#include "common.cuh"

#define THREADS 256

#if DTYPE == FLOAT64
typedef long long ordered;
#define LARGEST 0x7fffffffffffffffLL
#define INFINITE 0x7ff0000000000000LL
#else
typedef int ordered;
#define LARGEST 0x7fffffff
#define INFINITE 0x7f800000
#endif

struct Arguments {
    const element *x;
    element *out;
    long long *indices;
    long long x_image, x_channel, x_row, x_column;  // strides of x, in elements
    long long work;                                 // outputs
    int channels;
    int in_height, in_width;
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, left;
    int adaptive;  // windows differ in size; for KERNEL=0
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

// An integer in the order of the number, zeros of both signs equal, NaN the largest: comparing floats would take all
// subnormal numbers for zero
static __device__ __forceinline__ ordered order_of(element value)
{
#if DTYPE == FLOAT64
    ordered bits = __double_as_longlong(value);
#else
    ordered bits = __float_as_int(value);
#endif
    ordered magnitude = bits & LARGEST;
    if (magnitude > INFINITE)
        return LARGEST;
    return bits < 0 ? -magnitude : magnitude;
}

extern "C" __global__ void __launch_bounds__(THREADS) max_pool(const Arguments a)
{
    INDEX work = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (work >= a.work)
        return;
    INDEX rows = work / a.out_width;
    int column = (int)(work - rows * a.out_width);
    INDEX plane = rows / a.out_height;
    int row = (int)(rows - plane * a.out_height);
    INDEX image = plane / a.channels;
    const element *from = a.x + image * a.x_image + (plane - image * a.channels) * a.x_channel;

    // in 64 bits: in ceil mode the last window may begin far beyond the plane
    long long top = (long long)row * a.stride_height - a.top, left = (long long)column * a.stride_width - a.left;
    ordered best = -LARGEST;
    element value = -__int_as_float(0x7f800000);
    long long index = 0;
#if KERNEL
    const int height = KERNEL, width = KERNEL;
#else
    int height = a.kernel_height, width = a.kernel_width;
    if (a.adaptive) {
        top = (long long)row * a.in_height / a.out_height;
        left = (long long)column * a.in_width / a.out_width;
        height = (int)(((row + 1LL) * a.in_height + a.out_height - 1) / a.out_height - top);
        width = (int)(((column + 1LL) * a.in_width + a.out_width - 1) / a.out_width - left);
    }
#endif
#if KERNEL
#pragma unroll
#endif
    for (int i = 0; i < height; i++) {
        long long y = top + (long long)i * a.dilation_height;
        if (y < 0 || y >= a.in_height)
            continue;
        const element *line = from + (INDEX)y * (INDEX)a.x_row;
#if KERNEL
#pragma unroll
#endif
        for (int j = 0; j < width; j++) {
            long long x = left + (long long)j * a.dilation_width;
            if (x < 0 || x >= a.in_width)
                continue;
            element found = line[(INDEX)x * (INDEX)a.x_column];
            ordered place = order_of(found);
            if (place > best || place == LARGEST) {
                best = place;
                value = found;
                if (INDICES)
                    index = y * a.in_width + x;
            }
        }
    }
    a.out[work] = value;
    if (INDICES)
        a.indices[work] = index;
}
