/* One build's table: every function of this instruction set and dtype, with its tile sizes beside it. */
#include "channels.h"
#include "conv.h"
#include "depthwise.h"
#include "winograd.h"

void PC_NAME(direct_task)(const void *, const pc_conv_arrays *, int64_t, void *);
void PC_NAME(channels_task)(const void *, const pc_conv_arrays *, int64_t, void *);
extern const int64_t PC_NAME(few_columns);
void PC_NAME(few_task)(const void *, const pc_conv_arrays *, int64_t, void *);
void PC_NAME(depthwise_task)(const void *, const pc_conv_arrays *, int64_t, void *);
void PC_NAME(depthwise_channels_task)(const void *, const pc_conv_arrays *, int64_t, void *);
void PC_NAME(separable_task)(const void *, const pc_conv_arrays *, int64_t, void *);
void PC_NAME(winograd_task)(const void *, const pc_conv_arrays *, int64_t, void *);
void PC_NAME(winograd_few_task)(const void *, const pc_conv_arrays *, int64_t, void *);
void PC_NAME(winograd_row_task)(const void *, const pc_conv_arrays *, int64_t, void *);
void PC_NAME(max_pool_task)(const pc_pool *, const pc_pool_arrays *, int64_t, void *);
void PC_NAME(max_places_task)(const pc_pool *, const pc_pool_arrays *, int64_t, void *);
void PC_NAME(sum_pool_task)(const pc_pool *, const pc_pool_arrays *, int64_t, void *);
void PC_NAME(max_unpool_task)(const pc_unpool *, const pc_pool_arrays *, int64_t);
extern const pc_activation PC_NAME(activations)[];
void PC_NAME(add)(const void *, void *, int64_t);
void PC_NAME(gather)(const void *, int64_t, void *, int64_t);
void PC_NAME(interleave)(const void *const *, int64_t, int64_t, const void *, void *);
void PC_NAME(interleave_band)(const void *const *, const int64_t *, int64_t, int64_t, int64_t, int64_t, void *);
void PC_NAME(add_rows)(const pc_row *, int64_t, int64_t, const void *, void *);
void PC_NAME(prelu)(const void *, const void *, void *, int64_t);
void PC_NAME(softmax)(const pc_axis *, int64_t, int64_t, const void *, void *);
void PC_NAME(glu)(const void *, const void *, void *, int64_t);
void PC_NAME(affine)(const pc_affine *, int64_t, int64_t, const void *, void *);
double PC_NAME(multiply_add_loop)(int64_t);

const pc_kernels PC_NAME(kernels) = {
    .lanes = LANES,
    .tiles = PC_NAME(conv_tiles),
    .tile_count = &PC_NAME(conv_tile_count),
    .direct_task = PC_NAME(direct_task),
    .block_vectors = BLOCK_VECTORS,
    .block_pixels = BLOCK_PIXELS,
    .channels_task = PC_NAME(channels_task),
    .few_columns = &PC_NAME(few_columns),
    .few_task = PC_NAME(few_task),
    .depthwise_task = PC_NAME(depthwise_task),
    .depthwise_pixels = DEPTHWISE_PIXELS,
    .depthwise_channels_task = PC_NAME(depthwise_channels_task),
    .separable_task = PC_NAME(separable_task),
    .winograd_task = PC_NAME(winograd_task),
    .winograd_few_channels = WINOGRAD_FEW_CHANNELS,
    .winograd_few_task = PC_NAME(winograd_few_task),
    .winograd_row_task = PC_NAME(winograd_row_task),
    .max_pool_task = PC_NAME(max_pool_task),
    .max_places_task = PC_NAME(max_places_task),
    .sum_pool_task = PC_NAME(sum_pool_task),
    .max_unpool_task = PC_NAME(max_unpool_task),
    .activations = PC_NAME(activations),
    .add = PC_NAME(add),
    .gather = PC_NAME(gather),
    .interleave = PC_NAME(interleave),
    .interleave_band = PC_NAME(interleave_band),
    .add_rows = PC_NAME(add_rows),
    .prelu = PC_NAME(prelu),
    .softmax = PC_NAME(softmax),
    .glu = PC_NAME(glu),
    .affine = PC_NAME(affine),
    .multiply_add_loop = PC_NAME(multiply_add_loop),
};
