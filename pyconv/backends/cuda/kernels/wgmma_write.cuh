// How a warp of wgmma writes its sums: a thread has two neighbouring channels of a pixel, and lanes four apart, eight of
// them, neighbouring pixels: of a channel, 32 bytes in float32 and 16 in half precision lie side by side.

#include "tensor_output.cuh"

static __device__ __forceinline__ void write_tile(const Target &target, const Work &work, const Corner &at,
                                                  const Sums &sum)
{
    const Output &to = target.to;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        long long pixel = work.first + at.pixel(0, 0, 2 * half), spot = Spot(to, pixel).offset(to);
#if POOLED
        bool writes = at.row % 4 == 0 && pixel < to.pixels;
#else
        if (pixel >= to.pixels)
            continue;
#endif
#pragma unroll
        for (int i = 0; i < TILES; i++)
#pragma unroll
            for (int j = 0; j < 8; j++) {
                int channel = work.begin + at.channel(i, j, 0);
                long long offset = target.channel_offset(channel) + spot;
                float bias[2] = {target.bias(channel), target.bias(channel + 1)};
#if POOLED
                // the window's pixels are four rows of the product
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float one = activated(sum[i][j][2 * half + e] + bias[e], to.parameters);
                    float two = maximum(one, from_lane<4>(one)), four = maximum(two, from_lane<8>(two));
                    if (writes && channel + e < to.channels)
                        ((element *)to.out)[offset + e * to.channel] = four;
                }
#else
                if (channel >= to.channels)
                    continue;
                float first = sum[i][j][2 * half], second = sum[i][j][2 * half + 1];
                if (to.pairs) {
                    target.write_two(offset, first, second, bias[0], bias[1]);
                    continue;
                }
                target.write(offset, first, bias[0]);
                if (channel + 1 < to.channels)
                    target.write(offset + to.channel, second, bias[1]);
#endif
            }
    }
}
