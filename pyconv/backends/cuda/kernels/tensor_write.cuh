// How a warp of mma.sync writes its sums: a thread has two neighbouring pixels of a channel.

#include "tensor_output.cuh"

#if POOLED
// A thread has two pixels of a window's row, its neighbour those of the other row
static __device__ __forceinline__ void write_tile(const Target &target, const Work &work, const Corner &at,
                                                  const float (&sum)[MMA_M][MMA_N][4])
{
    const Output &to = target.to;
    Spot spot(to, work.first + at.pixel(0, 0, 0));
#pragma unroll
    for (int j = 0; j < MMA_N; j++, spot.move(to, 8)) {
        bool writes = at.column % 2 == 0 && work.first + at.pixel(0, j, 0) < to.pixels;
#pragma unroll
        for (int i = 0; i < MMA_M; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int channel = work.begin + at.channel(i, 0, 2 * half);
                float bias = target.bias(channel);
                float upper = maximum(activated(sum[i][j][2 * half] + bias, to.parameters),
                                      activated(sum[i][j][2 * half + 1] + bias, to.parameters));
                float lower = from_lane<1>(upper);
                if (writes && channel < to.channels)
                    ((element *)to.out)[target.channel_offset(channel) + spot.offset(to)] = maximum(upper, lower);
            }
    }
}
#else
static __device__ __forceinline__ void write_tile(const Target &target, const Work &work, const Corner &at,
                                                  const float (&sum)[MMA_M][MMA_N][4])
{
    const Output &to = target.to;
    Spot spot(to, work.first + at.pixel(0, 0, 0));
#pragma unroll
    for (int j = 0; j < MMA_N; j++, spot.move(to, 8)) {
        long long pixel = work.first + at.pixel(0, j, 0);
        if (pixel >= to.pixels)
            continue;
        long long one = spot.offset(to), other = 0;
        bool both = pixel + 1 < to.pixels;
        if (!to.pairs && both) {
            Spot next = spot;
            next.move(to, 1);
            other = next.offset(to);
        }
#pragma unroll
        for (int i = 0; i < MMA_M; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int channel = work.begin + at.channel(i, 0, 2 * half);
                if (channel >= to.channels)
                    continue;
                long long row = target.channel_offset(channel);
                float bias = target.bias(channel);
                if (to.pairs) {
                    target.write_two(row + one, sum[i][j][2 * half], sum[i][j][2 * half + 1], bias, bias);
                    continue;
                }
                target.write(row + one, sum[i][j][2 * half], bias);
                if (both)
                    target.write(row + other, sum[i][j][2 * half + 1], bias);
            }
    }
}

#endif
