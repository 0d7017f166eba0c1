# The C side, as the drivers see it: kernels/kernels.h.
from libc.stdint cimport int32_t, int64_t, uint8_t


cdef extern from "kernels/kernels.h" nogil:
    ctypedef struct pc_conv_arrays:
        const void *x
        int64_t x_strides[4]
        const void *weights
        const void *bias
        void *out
        int64_t out_strides[4]
        uint8_t *broken

    ctypedef void (*pc_conv_task)(const void *, const pc_conv_arrays *, int64_t, void *) noexcept nogil

    ctypedef struct pc_direct:
        int64_t groups
        int64_t in_channels, out_channels
        int64_t in_h, in_w, out_h, out_w
        int64_t stride_h, stride_w, pad_top, pad_left
        int64_t rows, cols
        int64_t bands_h, bands_w
        int64_t shares
        int64_t band_stays, by_rows
        int64_t in_place
        int64_t phases_h, phases_w
        const int32_t *phase_h
        const int32_t *phase_w
        int64_t packed_rows, pitch
        int64_t channel_pitch
        int64_t panels
        int64_t band_size
        int64_t taps
        int64_t chunk
        const int32_t *offsets
        const int32_t *panel_offsets
        int64_t full_tile, last_tile
        int64_t full_tiles
        int64_t last_channels
        int64_t pooled
        int64_t tile
        int64_t places_pitch, work_line
        int64_t whole_h, whole_w
        int64_t phases_down, phases_across, image_w

    ctypedef struct pc_channels_tile:
        pass

    ctypedef struct pc_channels:
        int64_t groups
        int64_t in_channels, out_channels
        int64_t out_h, out_w
        int64_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w
        int64_t chunk, places
        int64_t blocks, shares
        int64_t bands, parts
        int64_t band_stays, spreads
        int64_t pixels
        int64_t most_tiles
        int64_t squares
        const pc_channels_tile *tiles
        const int64_t *band_tiles

    ctypedef struct pc_depthwise_taps:
        pass

    ctypedef struct pc_depthwise:
        int64_t units
        int64_t out_channels, multiplier
        int64_t group
        int64_t in_h, in_w, out_h, out_w
        int64_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w
        int64_t parts
        int64_t bands
        int64_t together
        int64_t rows
        int64_t slots
        int64_t row_size
        int64_t tile
        const pc_depthwise_taps *row_taps
        const pc_depthwise_taps *column_taps
        const int32_t *places
        const int32_t *offsets

    ctypedef struct pc_winograd:
        int64_t groups
        int64_t in_channels, out_channels
        int64_t in_h, in_w, out_h, out_w
        int64_t pad_top, pad_left
        int64_t tile
        int64_t tiles_h, tiles_w
        int64_t bands_h, bands_w
        int64_t shares
        int64_t block_vectors
        int64_t blocks
        int64_t chunk
        int64_t spreads
        int64_t tile_pitch
        int64_t plane_pitch

    ctypedef struct pc_pool_axis:
        int64_t in_ "in"
        int64_t out
        int64_t kernel, stride, dilation
        int64_t before, after
        int64_t count_padding
        int64_t adaptive

    ctypedef struct pc_pool:
        int64_t channels
        pc_pool_axis h, w
        int64_t rows, per_plane
        int64_t block, blocks
        int64_t planes, units
        int64_t line
        int64_t flat
        int64_t small
        int64_t running
        int64_t squares
        double divisor
        double area
        int64_t far, near, streams

    ctypedef struct pc_pool_arrays:
        const void *x
        int64_t x_strides[4]
        void *out
        int64_t out_strides[4]
        int64_t *indices
        int64_t index_strides[4]

    ctypedef void (*pc_pool_task)(const pc_pool *, const pc_pool_arrays *, int64_t, void *) noexcept nogil

    ctypedef struct pc_unpool:
        int64_t channels, in_h, in_w
        int64_t plane

    ctypedef struct pc_tile:
        int64_t channels, vectors

    ctypedef struct pc_activation:
        const char *name
        void (*run)(const void *, void *, int64_t, const double *) noexcept nogil
        void (*run_fetching)(const void *, void *, int64_t, const double *) noexcept nogil

    ctypedef struct pc_axis:
        int64_t length, inner
        int negative
        int logarithm

    ctypedef struct pc_affine:
        int64_t channels, inner
        const void *scale
        const void *shift

    ctypedef struct pc_row:
        const void *at
        int64_t begin, end

    ctypedef struct pc_kernels:
        int64_t lanes
        const pc_tile *tiles
        const int64_t *tile_count
        pc_conv_task direct_task
        int64_t block_vectors, block_pixels
        pc_conv_task channels_task
        const int64_t *few_columns
        pc_conv_task few_task
        pc_conv_task depthwise_task
        int64_t depthwise_pixels
        pc_conv_task depthwise_channels_task
        pc_conv_task separable_task
        pc_conv_task winograd_task
        int64_t winograd_few_channels
        pc_conv_task winograd_few_task
        pc_conv_task winograd_row_task
        pc_pool_task max_pool_task
        pc_pool_task max_places_task
        pc_pool_task sum_pool_task
        void (*max_unpool_task)(const pc_unpool *, const pc_pool_arrays *, int64_t) noexcept nogil
        const pc_activation *activations
        void (*add)(const void *, void *, int64_t) noexcept nogil
        void (*gather)(const void *, int64_t, void *, int64_t) noexcept nogil
        void (*interleave)(const void *const *, int64_t, int64_t, const void *, void *) noexcept nogil
        void (*interleave_band)(
            const void *const *, const int64_t *, int64_t, int64_t, int64_t, int64_t, void *
        ) noexcept nogil
        void (*add_rows)(const pc_row *, int64_t, int64_t, const void *, void *) noexcept nogil
        void (*prelu)(const void *, const void *, void *, int64_t) noexcept nogil
        void (*softmax)(const pc_axis *, int64_t, int64_t, const void *, void *) noexcept nogil
        void (*glu)(const void *, const void *, void *, int64_t) noexcept nogil
        void (*affine)(const pc_affine *, int64_t, int64_t, const void *, void *) noexcept nogil
        double (*multiply_add_loop)(int64_t) noexcept nogil

    int pc_isa_count()
    const char *pc_isa_name(int isa)
    int pc_isa_usable(int isa)
    int pc_multiply_adds(int isa)
    int pc_second_level()
    const pc_kernels *pc_kernels_of(int isa, int is_double)
