// What the tensor-core convolutions have in common: a block of threads computes BLOCK_M output channels of BLOCK_N pixels
// as a product of weights and pixels, WORDS words of the sum at a time. Who includes it says how large a block is, and
// how many of its threads, the first FETCHERS, fetch pixels.
//
// -DPRODUCTS=3, of float32: x = high + low, each with TF32's 11 bits, and x w = low high + high low + high high, whose
// error is below 2**-21 |x w| (Ootomo and Yokota 2022: what tensor cores lose by truncating their sums
// stays small since sums over more than 8 terms are added outside of them). 1: TF32, or 16 bits.
//
// -DFETCH: how pixels come into shared memory, by one of the kinds of tensor_pixels.cuh.

#include "split.cuh"

#define TAPS 0      // float32: one tap a step, by 4 bytes; in_padded is whole steps
#define MIXED 1     // float32: every row of the sum has its own tap, by 4 bytes, for few channels
#define PLANES 2    // float32, 1x1 kernels: four pixels of a plane at once, by 16 bytes
#define LAST 3      // channels-last: 16 bytes of channels at once
#define GATHERED 4  // 16 bits, any strides: elements are fetched into registers and put together there

// In shared memory the words of one pixel are neighbours, else those of one row of the sum
#define BY_PIXEL (FETCH >= LAST)

#define WORDS 32
#define CHUNK ((int)(16 / sizeof(element)))          // elements of 16 bytes
#define STEP ((int)(WORDS * 4 / sizeof(element)))    // elements of the sum at a time
#define CHUNKS (WORDS / 4)

// Where 16 bytes of a row of WORDS words lie: eight rows below each other have theirs in different banks.
static __device__ __forceinline__ int chunk_place(int row, int chunk)
{
    return row * WORDS + ((chunk ^ (row & 7)) * 4);
}

static_assert(FETCHERS % BLOCK_N == 0, "every thread stays with one pixel when pixels are fetched one by one");

// Where a pixel lies in a row of the sum: four rows below each other have eight pixels each in different banks, and
// four neighbours stay neighbours.
static __device__ __forceinline__ int pixel_place(int row, int pixel)
{
    return row * BLOCK_N + (pixel ^ ((row & 3) * 8));
}
