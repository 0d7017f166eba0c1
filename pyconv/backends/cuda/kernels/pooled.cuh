// The order in which the dense convolutions count the pixels of an image. -DPOOLED=1: the four pixels of a 2x2 window
// one after another, then those of the next window, so that whoever has them can write their maximum alone; what no
// window sees is left away. 0: as they lie.

#include "common.cuh"

struct Pixel {
    int y, x;

    // pixel `place` of an image whose rows are `width` long
    __device__ __forceinline__ Pixel(INDEX place, int width)
    {
#if POOLED
        int across = width / 2, corner = (int)(place % 4);
        INDEX window = place / 4, row = window / across;
        y = (int)row * 2 + corner / 2;
        x = (int)(window - row * across) * 2 + corner % 2;
#else
        y = (int)(place / width);
        x = (int)(place - (INDEX)y * width);
#endif
    }
};

// The maximum of `earlier` and `later`, as max pooling has it: the first of equal ones, the last NaN
static __device__ __forceinline__ accumulator maximum(accumulator earlier, accumulator later)
{
    return beats(later, earlier) ? later : earlier;
}
