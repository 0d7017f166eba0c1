// The phases of a transposed convolution, which one convolution computed side by side as channels, put where they
// belong in the output: a thread an element, in the order of the output's rows and columns.

#include "common.cuh"

#define THREADS 256
#define MOST_STARTS 8

struct Arguments {
    const element *phases;  // [image][group][row phase][column phase][channel][row][column]
    element *out;
    long long work;         // elements of phases
    int channels;           // of a group
    int groups;
    int height, width;      // of a phase
    int out_height, out_width;
    int stride_height, stride_width;
    int rows, columns;      // phases along each axis
    int row_starts[MOST_STARTS], column_starts[MOST_STARTS];
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

// starts[phase], where an index into the arguments would have them copied to memory first
static __device__ __forceinline__ int chosen(const int (&starts)[MOST_STARTS], int phase)
{
    int found = starts[0];
#pragma unroll
    for (int i = 1; i < MOST_STARTS; i++)
        if (phase == i)
            found = starts[i];
    return found;
}

extern "C" __global__ void __launch_bounds__(THREADS) interleave(const Arguments a)
{
    INDEX work = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (work >= a.work)
        return;
    int across = a.width * a.columns, down = a.height * a.rows;
    INDEX lines = work / across, plane = lines / down, grouped = plane / a.channels;
    int column = (int)(work - lines * across), row = (int)(lines - plane * down);
    int channel = (int)(plane - grouped * a.channels);
    int x = column / a.columns, y = row / a.rows;
    int column_phase = column - x * a.columns, row_phase = row - y * a.rows;
    long long from = ((long long)grouped * a.rows + row_phase) * a.columns + column_phase;
    long long to_row = chosen(a.row_starts, row_phase) + (long long)y * a.stride_height;
    long long to_column = chosen(a.column_starts, column_phase) + (long long)x * a.stride_width;
    a.out[((long long)plane * a.out_height + to_row) * a.out_width + to_column] =
        a.phases[((from * a.channels + channel) * a.height + y) * a.width + x];
}
