// Max pooling by windows of any kind: a thread an output. -DPOOL=PLACES: also where the maximum lies,
// y * width + x.

#include "planes.cuh"
#include "pool.cuh"

#define THREADS 256

struct Arguments {
    const element *x;
    element *out;
    long long *indices;
    long long x_image, x_channel, x_row, x_column;  // strides of x, in elements
    Strides out_strides, index_strides;
    long long work;                                 // outputs
    int channels;
    int in_height, in_width;
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, left;
    int adaptive;  // windows differ in size
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

extern "C" __global__ void __launch_bounds__(THREADS, 4) max_pool(const Arguments a)
{
    INDEX work = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (work >= a.work)
        return;
    const Place<1, 1> at(work, a.out_height, a.out_width, a.channels);
    int row = at.row, column = at.column;
    const element *from = a.x + at.image * a.x_image + at.channel * a.x_channel;

    long long top = (long long)row * a.stride_height - a.top, left = (long long)column * a.stride_width - a.left;
    element value = -__int_as_float(0x7f800000);
    long long index = -1;
    int height = a.kernel_height, width = a.kernel_width;
    if (a.adaptive) {
        top = (long long)row * a.in_height / a.out_height;
        left = (long long)column * a.in_width / a.out_width;
        height = (int)(((row + 1LL) * a.in_height + a.out_height - 1) / a.out_height - top);
        width = (int)(((column + 1LL) * a.in_width + a.out_width - 1) / a.out_width - left);
    }
    Inside down(top, a.dilation_height, height, a.in_height), across(left, a.dilation_width, width, a.in_width);
    const INDEX step = (INDEX)a.dilation_width * (INDEX)a.x_column;
    for (int i = down.begin; i < down.end; i++) {
        long long y = top + (long long)i * a.dilation_height, x = left + (long long)across.begin * a.dilation_width;
        const element *pixel = from + ((INDEX)y * (INDEX)a.x_row + (INDEX)x * (INDEX)a.x_column);
        for (int j = across.begin; j < across.end; j++, pixel += step, x += a.dilation_width) {
            element found = *pixel;
            if (beats(found, value) || (POOL == PLACES && index < 0)) {
                value = found;
                if (POOL == PLACES)
                    index = y * a.in_width + x;
            }
        }
    }
    a.out[at.in(a.out_strides)] = value;
    if (POOL == PLACES)
        a.indices[at.in(a.index_strides)] = index < 0 ? 0 : index;
}
