/* x * scale + shift, where each channel has its own: batch normalisation at inference. */
#include "kernels.h"
#include "vector.h"

/* A run of elements of one channel. */
static void one_channel(const real *x, real scale, real shift, real *out, int64_t count)
{
    const vec factor = splat(scale), term = splat(shift);
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) store(out + i, load(x + i) * factor + term);
    if (i < count) store_part(out + i, load_part(x + i, 0, count - i) * factor + term, count - i);
}

/* A run of elements that are one of each channel. */
static void many_channels(const real *x, const real *scale, const real *shift, real *out, int64_t count)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) store(out + i, load(x + i) * load(scale + i) + load(shift + i));
    if (i < count) {
        const int64_t rest = count - i;
        const vec factor = load_part(scale + i, 0, rest), term = load_part(shift + i, 0, rest);
        store_part(out + i, load_part(x + i, 0, rest) * factor + term, rest);
    }
}

/* Elements begin .. end of dense memory; out may be x. */
void PC_NAME(affine)(const pc_affine *affine, int64_t begin, int64_t end, const void *x_, void *out_)
{
    const real *x = x_, *scale = affine->scale, *shift = affine->shift;
    real *out = out_;
    const int64_t inner = affine->inner, length = inner > 1 ? inner : affine->channels;
    int64_t line = begin / length, place = begin % length;
    for (int64_t at = begin; at < end; line++, place = 0) {
        const int64_t left = length - place, count = left < end - at ? left : end - at;
        if (inner > 1) {
            const int64_t channel = line % affine->channels;
            one_channel(x + at, scale[channel], shift[channel], out + at, count);
        } else {
            many_channels(x + at, scale + place, shift + place, out + at, count);
        }
        at += count;
    }
}
