/* A loop of multiply-adds that touches no memory: what one core can do at most, for benchmarks to stand beside. */
#include "conv.h"

double PC_NAME(multiply_add_loop)(int64_t rounds)
{
    enum { CHAINS = MOST_SUMS }; /* as many as the convolution's tile has */
    vec sum[CHAINS];
    vec scale = splat((real)0.999), shift = splat((real)0.001);
    __asm__ volatile("" : "+m"(scale), "+m"(shift)); /* hide the values, or the compiler does the sum */
    for (int i = 0; i < CHAINS; i++) sum[i] = splat((real)i);
    for (int64_t r = 0; r < rounds; r++) {
        UNROLL for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * scale + shift;
    }
    volatile real sink = 0; /* somebody must want the result */
    for (int i = 0; i < CHAINS; i++) sink = sink + sum[i][0];
    return 2.0 * CHAINS * LANES * (double)rounds;
}
