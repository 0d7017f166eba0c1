// Weights in the order in which the convolutions read them: [group][k][channel], both filled up with zeros, in the type
// that sums are kept in; with -DBY_CHANNEL=1 [group][channel][k], in their own type, with -DROUNDED=1 in TF32. k runs
// over (tap, channel filled up to in_padded) with -DTAPS_OUTSIDE=1, else over (channel, tap).
//
// -DPANELS=1, with -DBY_CHANNEL=1: [group][step][channel][128 bytes of k], in which 16 bytes lie where wgmma wants them.
// 2: [group][step][high, low][channel][128 bytes of k], the parts that split.cuh makes of a weight; of one that cannot be
// split itself and NaN.

#include "common.cuh"
#include "split.cuh"
#if ROUNDED
#include "mma.cuh"
#endif

#if BY_CHANNEL
typedef element packed;
#else
typedef accumulator packed;
#endif

#define THREADS 256

struct Arguments {
    const element *weights;
    packed *out;
    long long strides[4];  // of (out channel, in channel, row, column), in elements
    long long work;        // packed weights
    long long rows;        // k, filled up
    int channels, padded_channels;  // of a group
    int in_channels, in_padded;     // of a group
    int taps, kernel_width;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

extern "C" __global__ void __launch_bounds__(THREADS) pack(const Arguments a)
{
    long long work = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (work >= a.work)
        return;
#if PANELS
    const int step = (int)(128 / sizeof(element)), chunk = step / 8;
    long long row = work / step, panel = row / a.padded_channels, panels = a.rows / step * PANELS, group = panel / panels;
    int channel = (int)(row - panel * a.padded_channels), at = (int)(work - row * step);
    long long k = (panel - group * panels) / PANELS * step + (at / chunk ^ (channel & 7)) * chunk + at % chunk;
#elif BY_CHANNEL
    long long place = work / a.rows, k = work - place * a.rows, group = place / a.padded_channels;
    int channel = (int)(place - group * a.padded_channels);
#else
    long long row = work / a.padded_channels;
    int channel = (int)(work - row * a.padded_channels);
    long long group = row / a.rows, k = row - group * a.rows;
#endif
#if TAPS_OUTSIDE
    int tap = (int)(k / a.in_padded), in_channel = (int)(k - (long long)tap * a.in_padded);
#else
    int in_channel = (int)(k / a.taps), tap = (int)(k - (long long)in_channel * a.taps);
#endif
    element value = 0;
    if (channel < a.channels && in_channel < a.in_channels && tap < a.taps) {
        int i = tap / a.kernel_width, j = tap - i * a.kernel_width;
        value = a.weights[(group * a.channels + channel) * a.strides[0] + in_channel * a.strides[1]
                          + i * a.strides[2] + j * a.strides[3]];
    }
#if PANELS == 2
    unsigned high, low;
    split((unsigned)__float_as_int(value), high, low);
    float rest = __int_as_float((int)low);
    a.out[work] = panel % 2 ? rest : rest == rest ? __int_as_float((int)high) : value;
#elif ROUNDED
    unsigned bits = (unsigned)__float_as_int(value), rounded = tf32_of(value);
    bool overflows = (rounded & 0x7fffffffu) == 0x7f800000u;
    a.out[work] = __int_as_float((int)(overflows ? bits & ~0x1fffu : rounded));  // infinity stays infinity
#elif BY_CHANNEL
    a.out[work] = value;
#else
    a.out[work] = widen(value);
#endif
}
