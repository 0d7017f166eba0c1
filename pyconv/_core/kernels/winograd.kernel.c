/* Winograd convolution: one task transforms its tiles' input, and then block after block of output channels forms the
 * products and transforms them back, all of it within the second-level cache. */
#include "winograd.h"

void PC_NAME(winograd_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    const pc_winograd *winograd = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    /* task = ((image * bands_h + band row) * bands_w + band column) * shares + share */
    const int64_t share = task % winograd->shares;
    int64_t rest = task / winograd->shares;
    const int64_t first_col = rest % winograd->bands_w * winograd->cols;
    rest /= winograd->bands_w;
    const int64_t first_row = rest % winograd->bands_h * winograd->rows, image = rest / winograd->bands_h;
    const int64_t rows_left = winograd->tiles_h - first_row, cols_left = winograd->tiles_w - first_col;
    const int64_t rows = rows_left < winograd->rows ? rows_left : winograd->rows;
    const int64_t cols = cols_left < winograd->cols ? cols_left : winograd->cols;

    real *places = scratch, *rest_of_scratch = places + PLACES * winograd->plane_pitch;
    const real *x = (const real *)arrays->x + image * x_strides[0];
    real *out = (real *)arrays->out + image * out_strides[0];
    const __auto_type mode = flush_denormals();
    PC_NAME(winograd_input)(winograd, x, x_strides, first_row, rows, first_col, cols, places, rest_of_scratch);

    const int64_t first = winograd->blocks * share / winograd->shares;
    const int64_t end = winograd->blocks * (share + 1) / winograd->shares;
    const int64_t all_vectors = (winograd->out_channels + LANES - 1) / LANES;
    int broken = 0;
    for (int64_t block = first; block < end; block++) {
        const int64_t first_vector = block * winograd->block_vectors;
        const int64_t left = all_vectors - first_vector;
        const int64_t vectors = left < winograd->block_vectors ? left : winograd->block_vectors;
        const int64_t channel = first_vector * LANES;
        PC_NAME(winograd_products)(winograd, rows * cols, vectors, places,
                                   (const real *)arrays->weights + channel * winograd->in_channels * PLACES, rest_of_scratch);
        broken |= PC_NAME(winograd_output)(winograd, rest_of_scratch, (const real *)arrays->bias + channel, vectors,
                                           winograd->out_channels - channel, first_row, rows, first_col, cols,
                                           out + channel * out_strides[1], out_strides);
    }
    restore_denormals(mode);
    if (broken) arrays->broken[image] = 1; /* every thread that writes here writes the same */
}
