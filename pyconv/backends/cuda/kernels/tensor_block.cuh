// What the tensor-core convolutions have in common: a block of threads computes BLOCK_M output channels of BLOCK_N pixels
// as a product of weights and pixels, WORDS words of the sum at a time. Weights are on the product's M, so that NCHW is
// written as it comes.
//
// -DMMA_M, -DMMA_N: tiles of 16 channels and of 8 pixels that a warp computes; -DWARPS_M, -DWARPS_N: warps that
// multiply.
//
// -DFETCH: how pixels come into shared memory, by one of the kinds of tensor_pixels.cuh.
#define TAPS 0      // float32: one tap a step, by 4 bytes; in_padded is whole steps
#define MIXED 1     // float32: every row of the sum has its own tap, by 4 bytes, for few channels
#define PLANES 2    // float32, 1x1 kernels: four pixels of a plane at once, by 16 bytes
#define LAST 3      // channels-last: 16 bytes of channels at once
#define GATHERED 4  // 16 bits, any strides: elements are fetched into registers and put together there

// In shared memory the words of one pixel are neighbours, else those of one row of the sum
#define BY_PIXEL (FETCH >= LAST)

#define WORDS 32
#define BLOCK_M (WARPS_M * 16 * MMA_M)
#define BLOCK_N (WARPS_N * 8 * MMA_N)
#define THREADS (WARPS_M * WARPS_N * 32)
#define CHUNK ((int)(16 / sizeof(element)))          // elements of 16 bytes
#define STEP ((int)(WORDS * 4 / sizeof(element)))    // elements of the sum at a time
#define CHUNKS (WORDS / 4)

// Where 16 bytes of a row of WORDS words lie: eight rows below each other have theirs in different banks.
static __device__ __forceinline__ int chunk_place(int row, int chunk)
{
    return row * WORDS + ((chunk ^ (row & 7)) * 4);
}

// This thread's place in the block and in its warp
struct Corner {
    int m, n, row, column, lane;

    __device__ __forceinline__ Corner()
    {
        int warp = threadIdx.x / 32;
        lane = threadIdx.x % 32;
        m = warp / WARPS_N * (16 * MMA_M);
        n = warp % WARPS_N * (8 * MMA_N);
        row = lane / 4;
        column = lane % 4;
    }

    // of sum[i][j][e], by the fragment of mma
    __device__ __forceinline__ int channel(int i, int e) const { return m + i * 16 + row + e / 2 * 8; }
    __device__ __forceinline__ int pixel(int j) const { return n + j * 8 + column * 2; }
};
