// Maxima and averages of -DKERNEL x KERNEL windows, -DSTRIDE apart: a thread computes COLUMNS neighbouring outputs of
// ROWS rows. It reads each row of the image once, merges the row's part of the windows, and then merges these down.
//
// -DCOLUMNS=4: rows are read and written in vectors of 16 bytes, where they lie so. 1: neighbouring threads read
// neighbours, of planes that are no whole vectors wide. -DROWS, -DPOOL.

#define INDEX int
#include "planes.cuh"
#include "pool.cuh"

#define THREADS 256
#define SPAN ((COLUMNS - 1) * STRIDE + KERNEL)
#define IN_ROWS ((ROWS - 1) * STRIDE + KERNEL)

struct Arguments {
    const element *x;
    element *out;
    long long *indices;                             // of PLACES
    long long x_image, x_channel, x_row, x_column;  // strides of x, in elements
    int work;                                       // threads that have something to do
    int channels;
    int in_height, in_width;
    int out_height, out_width;
    int top, bottom, left, right;
    int count_include_pad;
    int divisor;              // or 0
    int whole_in, whole_out;  // whole vectors can be read and written
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

struct alignas(COLUMNS * sizeof(element)) Elements {
    element part[COLUMNS];
};

// A row of the image, or what stands for one outside of it
struct Line {
    const element *from;
    int begin;  // its place in the plane
    bool there;
};

static __device__ __forceinline__ Held one(const Arguments &a, const Line &line, int x)
{
    bool real = line.there && (unsigned)x < (unsigned)a.in_width;
    return real ? held(line.from[x * (int)a.x_column], line.begin + x) : nothing();
}

static __device__ __forceinline__ void read_elements(const Arguments &a, const Line &line, int column,
                                                     Held (&values)[SPAN])
{
#pragma unroll
    for (int j = 0; j < SPAN; j++)
        values[j] = one(a, line, column * STRIDE - a.left + j);
}

#if COLUMNS > 1
// Whole vectors, and what the windows see to both sides of them
template <int LEFT>
static __device__ __forceinline__ void read_vectors(const Arguments &a, const Line &line, int column,
                                                    Held (&values)[SPAN])
{
    int first = column * STRIDE;
#pragma unroll
    for (int v = 0; v < STRIDE; v++) {
        int x = first + v * COLUMNS;
        Elements found = {};
        bool real = line.there && x < a.in_width;
        if (real)
            found = *(const Elements *)(line.from + x);
#pragma unroll
        for (int k = 0; k < COLUMNS; k++)
            if (LEFT + v * COLUMNS + k < SPAN)
                values[LEFT + v * COLUMNS + k] = real ? held(found.part[k], line.begin + x + k) : nothing();
    }
    if (LEFT)
        values[0] = one(a, line, first - 1);
#pragma unroll
    for (int j = LEFT + STRIDE * COLUMNS; j < SPAN; j++)
        values[j] = one(a, line, first - LEFT + j);
}
#endif

// All that the thread's windows see: nothing is waited for before everything is on its way
static __device__ __forceinline__ void read(const Arguments &a, const element *from, int top, int column,
                                            Held (&values)[IN_ROWS][SPAN])
{
    Line lines[IN_ROWS];
#pragma unroll
    for (int i = 0; i < IN_ROWS; i++) {
        bool there = (unsigned)(top + i) < (unsigned)a.in_height;
        int y = there ? top + i : 0;
        lines[i] = {from + y * (int)a.x_row, y * a.in_width, there};
    }
#if COLUMNS > 1
    if (a.whole_in && a.left < 2) {
        if (a.left) {
#pragma unroll
            for (int i = 0; i < IN_ROWS; i++)
                read_vectors<1>(a, lines[i], column, values[i]);
        } else {
#pragma unroll
            for (int i = 0; i < IN_ROWS; i++)
                read_vectors<0>(a, lines[i], column, values[i]);
        }
        return;
    }
#endif
#pragma unroll
    for (int i = 0; i < IN_ROWS; i++)
        read_elements(a, lines[i], column, values[i]);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) window_pool(const Arguments a)
{
    int work = (int)blockIdx.x * THREADS + threadIdx.x;
    if (work >= a.work)
        return;
    const Place<ROWS, COLUMNS> at(work, a.out_height, a.out_width, a.channels);
    int row = at.row, column = at.column;
    const element *from = a.x + at.image * a.x_image + at.channel * a.x_channel;

    Held values[IN_ROWS][SPAN], best[ROWS][COLUMNS];
    read(a, from, row * STRIDE - a.top, column, values);
#pragma unroll
    for (int i = 0; i < IN_ROWS; i++)
#pragma unroll
        for (int o = 0; o < COLUMNS; o++) {
            Held merged = values[i][o * STRIDE];
#pragma unroll
            for (int j = 1; j < KERNEL; j++)
                merged = join(merged, values[i][o * STRIDE + j]);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                int k = i - r * STRIDE;
                if (k == 0)
                    best[r][o] = merged;
                else if (0 < k && k < KERNEL)
                    best[r][o] = join(best[r][o], merged);
            }
        }

    long long place = ((long long)at.plane * a.out_height + row) * a.out_width + column;
#pragma unroll
    for (int r = 0; r < ROWS; r++, place += a.out_width) {
        if (row + r >= a.out_height)
            return;
        Elements results;
#if POOL == SUMS
        int high = counted(row + r, a.in_height, KERNEL, STRIDE, a.top, a.bottom, a.count_include_pad);
#endif
#pragma unroll
        for (int o = 0; o < COLUMNS; o++) {
#if POOL == SUMS
            int wide = counted(column + o, a.in_width, KERNEL, STRIDE, a.left, a.right, a.count_include_pad);
            results.part[o] = narrow(best[r][o] / accumulator(a.divisor ? a.divisor : high * wide));
#elif POOL == PLACES
            results.part[o] = best[r][o].value;
            if (column + o < a.out_width)
                a.indices[place + o] = max(best[r][o].place, 0);
#else
            results.part[o] = best[r][o];
#endif
        }
        if (a.whole_out) {
            *(Elements *)(a.out + place) = results;
            continue;
        }
#pragma unroll
        for (int o = 0; o < COLUMNS; o++)
            if (column + o < a.out_width)
                a.out[place + o] = results.part[o];
    }
}
