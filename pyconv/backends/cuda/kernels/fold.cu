// Windows of an image as columns (-DUNFOLD=1), and columns added up to an image (-DUNFOLD=0): a thread an output. An
// image's element gathers from the columns that hold it, tap by tap, so that its sum has one order.

#include "common.cuh"

#define THREADS 256

struct Arguments {
    const element *x;
    element *out;
    long long x_strides[4];  // of (image, channel, row, column) of an image, or (image, row, column) of columns
    long long work;          // outputs
    int channels;
    int height, width;  // of the image
    int rows, columns;  // of windows
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, left;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

extern "C" __global__ void __launch_bounds__(THREADS) fold(const Arguments a)
{
    INDEX work = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (work >= a.work)
        return;
#if UNFOLD
    INDEX windows = work / a.columns, taps = windows / a.rows, lines = taps / a.kernel_width;
    int window_column = (int)(work - windows * a.columns), window_row = (int)(windows - taps * a.rows);
    INDEX planes = lines / a.kernel_height, image = planes / a.channels;
    int j = (int)(taps - lines * a.kernel_width), i = (int)(lines - planes * a.kernel_height);
    int y = window_row * a.stride_height + i * a.dilation_height - a.top;
    int x = window_column * a.stride_width + j * a.dilation_width - a.left;
    element value = 0;
    if (y >= 0 && y < a.height && x >= 0 && x < a.width)
        value = a.x[image * a.x_strides[0] + (planes - image * a.channels) * a.x_strides[1] + y * a.x_strides[2]
                    + x * a.x_strides[3]];
    a.out[work] = value;
#else
    INDEX lines = work / a.width, planes = lines / a.height, image = planes / a.channels;
    int column = (int)(work - lines * a.width) + a.left, row = (int)(lines - planes * a.height) + a.top;
    long long channel = planes - image * a.channels;
    const element *from = a.x + image * a.x_strides[0]
                          + channel * a.kernel_height * a.kernel_width * a.x_strides[1];
    element sum = 0;
    for (int i = 0; i < a.kernel_height; i++) {
        int y = row - i * a.dilation_height, window_row = y / a.stride_height;
        if (y < 0 || window_row * a.stride_height != y || window_row >= a.rows)
            continue;
        for (int j = 0; j < a.kernel_width; j++) {
            int x = column - j * a.dilation_width, window_column = x / a.stride_width;
            if (x < 0 || window_column * a.stride_width != x || window_column >= a.columns)
                continue;
            long long tap = (long long)i * a.kernel_width + j;
            long long window = (long long)window_row * a.columns + window_column;
            sum = add_unflushed(sum, from[tap * a.x_strides[1] + window * a.x_strides[2]]);
        }
    }
    a.out[work] = sum;
#endif
}
