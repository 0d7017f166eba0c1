// Max unpooling: zeros, and every element where its index says; of several at one place the last stays. -DSTEP=0 marks
// every place of the output with the last element that goes there, STEP=1 fetches it.

#include "common.cuh"

#define THREADS 256

struct Arguments {
    const element *x;
    const long long *indices;  // in a plane of the output
    element *out;
    int *marks;  // of every output: the element of its plane that goes there, counted from 1, or 0
    long long x_image, x_channel, x_row, x_column;                          // strides of x, in elements
    long long index_image, index_channel, index_row, index_column;  // of the indices
    long long planes;
    int channels;
    int in_height, in_width;
    int out_plane;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

extern "C" __global__ void __launch_bounds__(THREADS) max_unpool(const Arguments a)
{
    long long work = (long long)blockIdx.x * THREADS + threadIdx.x;
    long long in_plane = (long long)a.in_height * a.in_width, size = STEP ? a.out_plane : in_plane;
    long long plane = work / size;
    int place = (int)(work - plane * size);
    if (plane >= a.planes)
        return;
#if STEP
    place = a.marks[work] - 1;
    if (place < 0) {
        a.out[work] = 0;
        return;
    }
#endif
    long long image = plane / a.channels, channel = plane - image * a.channels;
    int row = place / a.in_width, column = place - row * a.in_width;
#if STEP
    a.out[work] = a.x[image * a.x_image + channel * a.x_channel + row * a.x_row + column * a.x_column];
#else
    const long long *index = a.indices + image * a.index_image + channel * a.index_channel;
    atomicMax(a.marks + plane * a.out_plane + index[row * a.index_row + column * a.index_column], place + 1);
#endif
}
