// What is summed: the arguments of a tensor-core convolution, and where the sum looks in the image. It runs tap by tap
// over `in_padded` channels.

struct Output {
    void *out;                             // elements, or with several parts of the sum floats
    const element *bias;                   // or null
    const element *residual;               // with -DRESIDUAL=1: lies as the output does, and may be it
    Parameter parameters[2];               // of the activation
    long long image, channel, pixel;       // strides of out
    long long part;                        // floats of a part
    long long pixels;                      // of all images together
    long long plane;                       // of one output channel, in the order of pooled.cuh
    int channels;                          // of a group
    int groups;
    int tiles_m;
    int parts;                             // of the sum, which other blocks compute
    int pairs;                             // two neighbouring pixels can be written at once
};

struct Arguments {
    const element *x;
    const element *weights;  // [group][padded channel][element of the sum]
    Output output;
    long long x_image, x_channel, x_row, x_column;  // strides of x, in elements
    int in_channels;                                // of a group
    int in_height, in_width;
    int out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, left;
    int steps;          // of the whole sum
    int part_steps;     // of a part
    int padded_channels;
    int in_padded;
    int aligned;        // 16 bytes can be copied at once
    Divisor by_padded, by_kernel_width;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

// What a block of threads computes: neighbouring blocks take the same pixels and other channels, so that pixels are found
// in the second-level cache
struct Work {
    int group, part;
    int begin;        // channel of the group
    long long first;  // pixel
    int step, steps;  // of the sum

    __device__ __forceinline__ Work(const Arguments &a)
    {
        int tile_m = blockIdx.x % a.output.tiles_m, rest = blockIdx.x / a.output.tiles_m;
        part = rest % a.output.parts;
        rest /= a.output.parts;
        group = rest % a.output.groups;
        begin = tile_m * BLOCK_M;
        first = (long long)(rest / a.output.groups) * BLOCK_N;
        step = part * a.part_steps;
        steps = min(a.part_steps, a.steps - step);
    }
};

// What an output pixel sees
struct Window {
    enum { NOWHERE = -2147483647 - 1 };  // a top from which no row of the window is in the image
    const element *image;
    int top, left;

    __device__ __forceinline__ void open(const Arguments &a, int group, long long pixel)
    {
        bool wanted = pixel < a.output.pixels;
        if (!wanted)
            pixel = 0;
        long long which = pixel / a.output.plane;
        int place = (int)(pixel - which * a.output.plane);
        Pixel at(place, a.out_width);
        top = wanted ? at.y * a.stride_height - a.top : NOWHERE;
        left = at.x * a.stride_width - a.left;
        image = a.x + which * a.x_image + (long long)group * a.in_channels * a.x_channel;
    }

    // whether the pixel seen at (row, column) of the window lies in the image
    __device__ __forceinline__ bool sees(const Arguments &a, int row, int column) const
    {
        return (unsigned)(top + row) < (unsigned)a.in_height && (unsigned)(left + column) < (unsigned)a.in_width;
    }

    __device__ __forceinline__ const element *at(const Arguments &a, int row, int column, int channel) const
    {
        return image + ((top + row) * (int)a.x_row + (left + column) * (int)a.x_column + channel * (int)a.x_channel);
    }
};

// Where row `k` of the sum looks: a channel, and rows and columns from the window's corner
struct Term {
    int channel, row, column;
    bool real;

    __device__ __forceinline__ Term(const Arguments &a, int k)
    {
        int tap = divide(k, a.by_padded), r = divide(tap, a.by_kernel_width);
        channel = k - tap * a.in_padded;
        row = r * a.dilation_height;
        column = (tap - r * a.kernel_width) * a.dilation_width;
        real = r < a.kernel_height && channel < a.in_channels;
    }
};

// The sum of products with one rounding each, from row `begin` of the sum to `end`; weights[k] is that of row k
template <class Weights>
static __device__ float exact_sum(const Arguments &a, const Window &window, const Weights &weights, int begin, int end)
{
    float sum = 0;
#pragma unroll 1
    for (int k = begin; k < end; k++) {
        Term term(a, k);
        if (term.real && window.sees(a, term.row, term.column))
            sum = multiply_add(widen(*window.at(a, term.row, term.column, term.channel)), widen(weights[k]), sum);
        else if (term.real)
            sum = multiply_add(0.0f, widen(weights[k]), sum);
    }
    return sum;
}
