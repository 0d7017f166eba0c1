/* Winograd convolution: one task transforms its tiles' input, and then block after block of output channels forms the
 * products and transforms them back. */
#include "winograd.h"

/* Which of `count` things the part-th of `parts` even parts begins with. */
static inline int64_t begin_of(int64_t part, int64_t count, int64_t parts) { return count * part / parts; }

/* Whether the last tile is short, of so many pixels of output. */
static inline int ends_short(const pc_winograd *winograd, int64_t out)
{
    return winograd->tile == SHORT_OF && (out - 1) % SHORT_OF < SHORT_OUT;
}

void PC_NAME(winograd_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    const pc_winograd *winograd = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    /* task = (((image * groups + group) * bands_h + band row) * bands_w + band column) * shares + share */
    const int64_t share = task % winograd->shares;
    int64_t rest = task / winograd->shares;
    const int64_t band_w = rest % winograd->bands_w;
    rest /= winograd->bands_w;
    const int64_t band_h = rest % winograd->bands_h;
    rest /= winograd->bands_h;
    const int64_t group = rest % winograd->groups, image = rest / winograd->groups;
    pc_tiles tiles;
    tiles.first_row = begin_of(band_h, winograd->tiles_h, winograd->bands_h);
    tiles.first_col = begin_of(band_w, winograd->tiles_w, winograd->bands_w);
    tiles.rows = begin_of(band_h + 1, winograd->tiles_h, winograd->bands_h) - tiles.first_row;
    tiles.cols = begin_of(band_w + 1, winograd->tiles_w, winograd->bands_w) - tiles.first_col;
    tiles.short_row = band_h + 1 == winograd->bands_h && ends_short(winograd, winograd->out_h);
    tiles.short_col = band_w + 1 == winograd->bands_w && ends_short(winograd, winograd->out_w);

    real *places = scratch, *rest_of_scratch = places + places_of(winograd) * winograd->plane_pitch;
    const int64_t all_vectors = (winograd->out_channels + LANES - 1) / LANES;
    const int64_t of_groups = group * all_vectors * LANES; /* output channels of the groups before, whole vectors */
    const real *x = (const real *)arrays->x + image * x_strides[0] + group * winograd->in_channels * x_strides[1];
    real *out = (real *)arrays->out + image * out_strides[0] + group * winograd->out_channels * out_strides[1];
    const real *bias = (const real *)arrays->bias + of_groups;
    const real *weights = (const real *)arrays->weights + of_groups * winograd->in_channels * places_of(winograd);
    const __auto_type mode = flush_denormals();
    PC_NAME(winograd_input)(winograd, x, x_strides, tiles, places, rest_of_scratch);

    const int64_t end = begin_of(share + 1, winograd->blocks, winograd->shares);
    int broken = 0;
    for (int64_t block = begin_of(share, winograd->blocks, winograd->shares); block < end; block++) {
        const int64_t first_vector = block * winograd->block_vectors;
        const int64_t left = all_vectors - first_vector;
        const int64_t vectors = left < winograd->block_vectors ? left : winograd->block_vectors;
        const int64_t channel = first_vector * LANES;
        PC_NAME(winograd_products)(winograd, tiles, vectors, places,
                                   weights + channel * winograd->in_channels * places_of(winograd), rest_of_scratch);
        broken |= PC_NAME(winograd_output)(winograd, rest_of_scratch, bias + channel, vectors,
                                           winograd->out_channels - channel, tiles, out + channel * out_strides[1],
                                           out_strides);
    }
    restore_denormals(mode);
    if (broken) arrays->broken[image] = 1; /* every thread that writes here writes the same */
}
