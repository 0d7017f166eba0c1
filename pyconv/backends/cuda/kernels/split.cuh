// A float32 number as the sum of two for TF32's tensor cores.

#include "common.cuh"

#if DTYPE == FLOAT32
// High is x rounded to 11 bits, low the rest, exactly; of its 12 bits the tensor core drops one (T. J. Dekker, "A
// floating-point technique for extending the available precision", 1971). NaN where x is not finite, or above 2**114.
static __device__ __forceinline__ void split(unsigned word, unsigned &high, unsigned &low)
{
    float x = __int_as_float((int)word), scaled = __fmul_rn(x, 8193.0f);
    float upper = __fsub_rn(scaled, __fsub_rn(scaled, x));
    high = (unsigned)__float_as_int(upper);
    low = (unsigned)__float_as_int(__fsub_rn(x, upper));
}
#endif
