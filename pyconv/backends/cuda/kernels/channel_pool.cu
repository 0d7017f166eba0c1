// Maxima and averages over channels-last images, by windows of any size, stride and dilation. A thread computes
// neighbouring channels of neighbouring columns, VECTOR by VECTOR outputs: it reads vectors of channels, and writes
// vectors of channels or, into NCHW, of columns. 8 threads of a warp are neighbours along channels, 4 along columns.

#include "pool.cuh"

#define THREADS 256
#define VECTOR ((int)(16 / sizeof(element)))
#define ALONG_CHANNELS 8
#define ALONG_COLUMNS 4

struct Arguments {
    const element *x;
    element *out;
    long long *indices;                                     // of PLACES
    long long x_image, x_channel, x_row, x_column;          // strides, in elements
    long long out_image, out_channel, out_row, out_column;
    long long index_image, index_channel, index_row, index_column;
    long long work;                                         // warps that have something to do
    int channels;
    int in_height, in_width;
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, bottom, left, right;
    int count_include_pad;
    int divisor;                                            // or 0
    int whole_in;                                           // vectors of channels can be read,
    int whole_channels, whole_columns;                      // written, and vectors of columns
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

struct alignas(16) Elements {
    element part[VECTOR];
};

// What an average divides by
static __device__ __forceinline__ accumulator share(const Arguments &a, int row, int column)
{
    if (a.divisor)
        return accumulator(a.divisor);
    return accumulator(counted(row, a.in_height, a.kernel_height, a.stride_height, a.top, a.bottom, a.count_include_pad))
           * accumulator(counted(column, a.in_width, a.kernel_width, a.stride_width, a.left, a.right,
                                 a.count_include_pad));
}

// The windows of VECTOR channels, from `from` on, at one output
static __device__ __forceinline__ void pool(const Arguments &a, const element *from, int channels, int row, int column,
                                            Held (&best)[VECTOR])
{
    long long top = (long long)row * a.stride_height - a.top, left = (long long)column * a.stride_width - a.left;
    Inside rows(top, a.dilation_height, a.kernel_height, a.in_height);
    Inside columns(left, a.dilation_width, a.kernel_width, a.in_width);
#pragma unroll
    for (int c = 0; c < VECTOR; c++)
        best[c] = nothing();
    for (int i = rows.begin; i < rows.end; i++) {
        int y = (int)(top + (long long)i * a.dilation_height);
        Held merged[VECTOR];
#pragma unroll
        for (int c = 0; c < VECTOR; c++)
            merged[c] = nothing();
        for (int j = columns.begin; j < columns.end; j++) {
            int x = (int)(left + (long long)j * a.dilation_width);
            const element *at = from + (y * (int)a.x_row + x * (int)a.x_column);
            Elements found = {};
            if (a.whole_in) {
                found = *(const Elements *)at;
            } else {
#pragma unroll
                for (int c = 0; c < VECTOR; c++)
                    if (c < channels)
                        found.part[c] = at[c * a.x_channel];
            }
#pragma unroll
            for (int c = 0; c < VECTOR; c++)
                merged[c] = join(merged[c], held(found.part[c], y * a.in_width + x));
        }
#pragma unroll
        for (int c = 0; c < VECTOR; c++)
            best[c] = join(best[c], merged[c]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) channel_pool(const Arguments a)
{
    long long work = ((long long)blockIdx.x * THREADS + threadIdx.x) / 32;
    if (work >= a.work)
        return;
    int lane = threadIdx.x % 32;
    int deep = (a.channels + VECTOR * ALONG_CHANNELS - 1) / (VECTOR * ALONG_CHANNELS);
    int across = (a.out_width + VECTOR * ALONG_COLUMNS - 1) / (VECTOR * ALONG_COLUMNS);
    long long lines = work / deep, rows = lines / across, image = rows / a.out_height;
    int channel = ((int)(work - lines * deep) * ALONG_CHANNELS + lane % ALONG_CHANNELS) * VECTOR;
    int column = ((int)(lines - rows * across) * ALONG_COLUMNS + lane / ALONG_CHANNELS) * VECTOR;
    int row = (int)(rows - image * a.out_height);
    if (channel >= a.channels || column >= a.out_width)
        return;
    const element *from = a.x + image * a.x_image + channel * a.x_channel;
    int channels = min(a.channels - channel, VECTOR), columns = min(a.out_width - column, VECTOR);

    Elements results[VECTOR] = {};  // [column][channel]
#pragma unroll
    for (int o = 0; o < VECTOR; o++) {
        if (o >= columns)
            break;
        Held best[VECTOR];
        pool(a, from, channels, row, column + o, best);
#pragma unroll
        for (int c = 0; c < VECTOR; c++) {
#if POOL == SUMS
            results[o].part[c] = narrow(best[c] / share(a, row, column + o));
#elif POOL == PLACES
            results[o].part[c] = best[c].value;
            if (c < channels)
                a.indices[image * a.index_image + (channel + c) * a.index_channel + row * a.index_row
                          + (column + o) * a.index_column] = max(best[c].place, 0);
#else
            results[o].part[c] = best[c];
#endif
        }
    }

    element *to = a.out + image * a.out_image + channel * a.out_channel + row * a.out_row + column * a.out_column;
#pragma unroll
    for (int i = 0; i < VECTOR; i++) {
        if (a.whole_channels) {
            if (i < columns)
                *(Elements *)(to + i * a.out_column) = results[i];
        } else if (a.whole_columns) {
            Elements turned;
#pragma unroll
            for (int o = 0; o < VECTOR; o++)
                turned.part[o] = results[o].part[i];
            if (i < channels)
                *(Elements *)(to + i * a.out_channel) = turned;
        } else {
#pragma unroll
            for (int c = 0; c < VECTOR; c++)
                if (i < columns && c < channels)
                    to[i * a.out_column + c * a.out_channel] = results[i].part[c];
        }
    }
}
