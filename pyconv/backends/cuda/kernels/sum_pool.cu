// Average pooling, adaptive or not, and L-p pooling: the sum of a window's elements, or of their p-th powers, over how
// many there are. -DALONG threads share a window: 1, or where windows are large THREADS_OF_LARGE of sum_pool.py.
//
// -DNORM=1: L-p. Its sum is kept in double, since powers leave the range of float.

#include "planes.cuh"

#define THREADS 256
#define OUTPUTS (THREADS / ALONG)

#if NORM
typedef double total;
#else
typedef accumulator total;
#endif

struct Arguments {
    const element *x;
    element *out;
    long long x_image, x_channel, x_row, x_column;  // strides of x, in elements
    Strides out_strides;
    long long work;                                 // outputs
    double norm, area;                              // p, and the elements of a whole window
    int channels;
    int in_height, in_width;
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int top, bottom, left, right;
    int adaptive, count_include_pad;
    int divisor;  // or 0
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

// The window of output `i` along an axis: what of it lies in the plane, and how many elements count
struct Window {
    int begin, size;
    long long counted;

    __device__ __forceinline__ Window(const Arguments &a, int i, int in, int out, int kernel, int stride, int before,
                                      int after)
    {
        long long start = (long long)i * stride - before, end = start + kernel;
        if (a.adaptive) {
            start = (long long)i * in / out;
            end = ((long long)(i + 1) * in + out - 1) / out;
        } else if (end > (long long)in + after) {
            end = (long long)in + after;
        }
        counted = end - start;
        start = start > 0 ? start : 0;
        end = end < in ? end : in;
        if (!a.count_include_pad)
            counted = end - start;
        begin = (int)start;
        size = (int)(end - start);
    }
};

static __device__ __forceinline__ total term([[maybe_unused]] double norm, element value)
{
#if NORM
    double wide = widen(value);
    return norm == 2 ? wide * wide : pow(wide, norm);
#else
    return widen(value);
#endif
}

#if DTYPE == FLOAT64 // with 64 registers none is spilled around divisions; left alone, with 32, some are
#define BOUNDS THREADS, 4
#else
#define BOUNDS THREADS
#endif

extern "C" __global__ void __launch_bounds__(BOUNDS) sum_pool(const Arguments a)
{
    INDEX work = (INDEX)blockIdx.x * OUTPUTS + threadIdx.x / ALONG;
    bool wanted = work < a.work;
    const Place<1, 1> at(wanted ? work : 0, a.out_height, a.out_width, a.channels);
    const element *from = a.x + at.image * a.x_image + at.channel * a.x_channel;
    Window down(a, at.row, a.in_height, a.out_height, a.kernel_height, a.stride_height, a.top, a.bottom);
    Window across(a, at.column, a.in_width, a.out_width, a.kernel_width, a.stride_width, a.left, a.right);
    from += (INDEX)down.begin * (INDEX)a.x_row + (INDEX)across.begin * (INDEX)a.x_column;

    total sum = 0;
#if ALONG == 1
    if (!wanted)
        return;
    for (int i = 0; i < down.size; i++) {
        total row_sum = 0;  // by itself, as the other kernels of pooling add: the same bits
        for (int j = 0; j < across.size; j++)
            row_sum += term(a.norm, from[i * (INDEX)a.x_row + j * (INDEX)a.x_column]);
        sum += row_sum;
    }
#else
    int along = threadIdx.x % ALONG;
    int i = along / across.size, j = along - i * across.size;  // the next one is ALONG further on
    int step_rows = ALONG / across.size, step_columns = ALONG - step_rows * across.size;
    while (i < down.size) {
        sum += term(a.norm, from[i * (INDEX)a.x_row + j * (INDEX)a.x_column]);
        i += step_rows;
        j += step_columns;
        if (j >= across.size) {
            j -= across.size;
            i++;
        }
    }
    __shared__ total sums[THREADS];
    sums[threadIdx.x] = sum;
    __syncthreads();
#pragma unroll
    for (int step = ALONG / 2; step; step /= 2) {
        if (along < step) {
            sum += sums[threadIdx.x + step];
            sums[threadIdx.x] = sum;
        }
        __syncthreads();
    }
    if (along || !wanted)
        return;
#endif
    total average = sum / (a.divisor ? total(a.divisor) : total(down.counted) * total(across.counted));
#if NORM
    double power = average * a.area;
    average = a.norm == 2 ? sqrt(power) : pow(power, 1 / a.norm);
#endif
    a.out[at.in(a.out_strides)] = narrow((accumulator)average);
}
