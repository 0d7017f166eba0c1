/* Max unpooling: a plane of zeros, with every element at the place that its index says. */
#include "kernels.h"
#include "vector.h"

void PC_NAME(max_unpool_task)(const pc_unpool *unpool, const pc_pool_arrays *arrays, int64_t task)
{
    const int64_t image = task / unpool->channels, channel = task % unpool->channels, plane = unpool->plane;
    const int64_t *strides = arrays->x_strides;
    const real *x = (const real *)arrays->x + image * strides[0] + channel * strides[1];
    const int64_t *indices = arrays->indices + task * unpool->in_h * unpool->in_w;
    real *out = (real *)arrays->out + task * plane;
    memset(out, 0, plane * sizeof(real));
    for (int64_t i = 0; i < unpool->in_h; i++) {
        for (int64_t k = 0; k < unpool->in_w; k++) out[*indices++] = x[i * strides[2] + k * strides[3]];
    }
}
