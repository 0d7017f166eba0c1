/* What the Cython drivers and the kernels share: parameter structs and the table of kernels.
 *
 * Every *.kernel.c file is compiled once for each instruction set and each dtype; PC_NAME gives each result its own
 * symbols, and table.kernel.c gathers one build's functions in a pc_kernels. All sizes, strides and offsets count
 * elements. A kernel checks nothing, allocates nothing and knows no threads: it computes one task of an operation.
 */
#ifndef PYCONV_KERNELS_H
#define PYCONV_KERNELS_H

#include <stdint.h>

/* The arrays of a convolution, for all its tasks. */
typedef struct {
    const void *x;
    int64_t x_strides[4];
    const void *weights, *bias; /* as packed for the algorithm */
    void *out;
    int64_t out_strides[4];
    uint8_t *broken; /* of each image: a result was not finite, and has to be computed directly; NULL: no matter */
} pc_conv_arrays;

/* One task of a convolution; parameters is the algorithm's struct. */
typedef void (*pc_conv_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch);

/* A direct convolution, cut into tasks. A task is one band of output (rows x cols pixels) of one image and group, for one
 * share of the group's output channels. It first packs the band's input (see conv_pack.kernel.c). */
typedef struct {
    int64_t groups;
    int64_t in_channels, out_channels; /* of one group */
    int64_t in_h, in_w, out_h, out_w;
    int64_t stride_h, stride_w, pad_top, pad_left;

    int64_t rows, cols;            /* output pixels of a band; the last band of an image may have fewer */
    int64_t bands_h, bands_w;      /* bands of an image */
    int64_t shares;                /* tasks that divide one band's output channels between them */
    int64_t band_stays;            /* 1: the band, or a vector of its tiles, stays in the cache while weights pass by;
                                      0: the other way round */
    int64_t by_rows;               /* 1: a tile never runs past the end of a row; 0: a band is one line, with gaps */
    int64_t in_place;              /* 1: nothing is packed, the image is one long row that is read where it lies */
    int64_t phases_h, phases_w;    /* distinct remainders of tap position by stride; or each column of the kernel is one */
    const int32_t *phase_h, *phase_w;
    int64_t packed_rows, pitch;    /* of one phase plane of the packed band */
    int64_t channel_pitch;         /* phases_h * phases_w * packed_rows * pitch */
    int64_t panels;                /* elements of scratch for the band; behind it lie the panels of its tiles, if any */
    int64_t band_size;             /* elements of scratch for both; behind them sums wait for their next taps */
    int64_t taps;                  /* in_channels * kernel height * kernel width */
    int64_t chunk;                 /* taps whose pixels stay in the first level of the cache for all output channels */
    const int32_t *offsets;        /* of each tap, from an output pixel's place in the packed band */
    const int32_t *panel_offsets;  /* of each tap of a chunk in a tile's panel; NULL: there are no panels */

    int64_t full_tile, last_tile;  /* which of pc_kernels.tiles; both of one width */
    int64_t full_tiles;            /* of a group */
    int64_t last_channels;         /* real output channels in the last tile; 0 if there is none */
    int64_t pooled;                /* few_task and winograd_few_task only; 1: the maxima of 2 x 2 pixels are written, 2: those
                                      of their relu; then the output, of which rows and columns are counted as above, is
                                      half as high and wide. 3, winograd_few_task only: the relu of all */
    int64_t tile;                  /* winograd_few_task and winograd_row_task only: outputs of a tile along an axis, of which
                                      rows (of the first alone) and cols are multiples: 7 less the taps of a phase, or 4 */
    int64_t places_pitch;          /* likewise; elements for a place of all tiles of a band, or of a plane of it */
    int64_t work_line;             /* winograd_few_task only: elements for a row of pixels */
    int64_t whole_h, whole_w;      /* likewise; phases with the most taps down and along the kernel, the first ones */

    int64_t phases_down, phases_across; /* direct_task of a long row only: where these are not 0, the output channels
                                    * are [channel][row][column], so many rows and columns, which are put between each
                                    * other's: a pixel of the image is as many of the output */
    int64_t image_w;               /* likewise; of the image whose rows the long one is made of */
} pc_direct;

/* Output pixels of a band that are computed together, because the same taps of theirs lie in the image. */
typedef struct {
    int32_t count;
    int32_t row, end_row, column, end_column; /* the kernel's rows and columns that lie in the image */
    int32_t pixels[8];                        /* counted from the band's first */
} pc_channels_tile;

/* A direct convolution with vectors along output channels. A task is a part of the bands of one image and group, for one
 * share of the blocks of output channels; a band is a run of output pixels. */
typedef struct {
    int64_t groups;
    int64_t in_channels, out_channels; /* of one group */
    int64_t out_h, out_w;
    int64_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
    int64_t chunk, places;         /* input channels, and the kernel's places, whose weights pass a band at a time */
    int64_t blocks, shares;        /* of output channels, as even as they can be; tasks that divide them */
    int64_t bands, parts;          /* of an image; tasks that divide them */
    int64_t band_stays;            /* while the weights of all blocks pass it; else those of one block pass all bands */
    int64_t spreads;               /* fetching the weights that come next over all tiles of a band, not its first few */
    int64_t pixels;                /* of a band; the last may have fewer */
    int64_t most_tiles;            /* of a band */
    int64_t squares;               /* of a 1x1 that are turned, if the arrays allow; 1: of sums; 2: of pixels, before; 3: of
                                    * sums, the last channels in pairs of input channels, on AVX-512 and of one block only */
    const pc_channels_tile *tiles;
    const int64_t *band_tiles;     /* the first tile of each band, and the end */
} pc_channels;

/* The rows or columns of a kernel that meet the image; and of the first of these rows its slot among those at hand. */
typedef struct {
    int32_t first, end, slot;
} pc_depthwise_taps;

/* A convolution whose groups have one input channel; in blocks, also of few, which are as many output channels. A task is
 * a band of rows of a part of the output planes, or of a part of the blocks of a vector of planes. Where kernels are columns times rows, row_size counts the elements of a line, and
 * tile the output columns of a strip. */
typedef struct {
    int64_t units;                    /* planes, or blocks, of all images */
    int64_t out_channels, multiplier; /* output channels in all; and of one input channel */
    int64_t group;                    /* input channels of a group; where they are several, it divides the lanes */
    int64_t in_h, in_w, out_h, out_w;
    int64_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
    int64_t parts;                    /* of the units */
    int64_t bands;                    /* of a plane */

    /* of blocks, and of planes whose rows are at hand, which are those of channels-last images */
    int64_t together;                 /* blocks or input channels that are read together, which are a unit; of planes, or 0 */
    int64_t rows;                     /* output rows that are computed while the same rows are at hand */
    int64_t slots;                    /* input rows at hand, of row_size vectors each; of planes, elements */
    int64_t row_size;

    /* of blocks only */
    int64_t tile;                     /* output pixels that are computed together, at most */
    const pc_depthwise_taps *row_taps, *column_taps; /* of each output row; of each tile in a row */
    const int32_t *places;            /* of the image's columns in a row at hand, in vectors */
    const int32_t *offsets;           /* of the kernel's columns, likewise */
} pc_depthwise;

/* A 3x3 convolution of stride 1 by Winograd's F(m x m, 3 x 3): output tiles of m x m pixels from input tiles two larger.
 * A task is a grid of tiles of one image and group, for one share of the blocks of output channels. */
typedef struct {
    int64_t groups;
    int64_t in_channels, out_channels; /* of one group */
    int64_t in_h, in_w, out_h, out_w;
    int64_t pad_top, pad_left;
    int64_t tile;                  /* m: 2, 4 or 6 */
    int64_t tiles_h, tiles_w;      /* of an image */
    int64_t bands_h, bands_w;      /* of an image, as even as they can be */
    int64_t shares;                /* tasks that divide one band's blocks of output channels between them */
    int64_t block_vectors;         /* vectors of output channels in a full block */
    int64_t blocks;                /* the last one may have fewer vectors */
    int64_t chunk;                 /* input channels whose weights pass the tiles at a time */
    int64_t spreads;               /* all tiles of a chunk fetch a little of the weights that come next */
    int64_t tile_pitch;            /* places for the input channels of one tile, in the transformed input */
    int64_t plane_pitch;           /* places for the inputs of one of the (m + 2)^2 products */
} pc_winograd;

/* The windows of a pooling along one axis. */
typedef struct {
    int64_t in, out;
    int64_t kernel, stride, dilation;
    int64_t before, after;  /* padding */
    int64_t count_padding;  /* an average counts the padding too */
    int64_t adaptive;       /* windows divide the input evenly among the outputs; kernel, stride and padding say nothing */
} pc_pool_axis;

/* A pooling. A task is a run of output rows of one plane, or of a block of planes whose channels are neighbours in memory;
 * or several such planes or blocks as a whole. */
typedef struct {
    int64_t channels;
    pc_pool_axis h, w;
    int64_t rows, per_plane;     /* output rows of a task; tasks of a plane */
    int64_t block, blocks;       /* channels of a task: 1, or some that are neighbours in memory; blocks of an image */
    int64_t planes, units;       /* planes, or blocks, of a task, which is more than 1 if per_plane is 1; and in all */
    int64_t line;                /* elements of scratch: a row of input with its padding and slack (with indices two), or the
                                    results of a row of a vector of channels; 0: window by window, no scratch */
    int64_t flat;                /* each plane is one window; the planes lie one after the other */
    int64_t small;               /* windows of a few columns in steps of 1 or 2, which are taken in registers */
    int64_t running;             /* a running maximum, which takes as many lines as the window is high, and three */
    int64_t squares;             /* of sums: the squares are summed, and the root is taken */
    double divisor;              /* of sums: in place of the number of elements, if it is not 0 */
    double area;                 /* of sums: that number is relative to this */
    int64_t far;                 /* elements by which small windows in steps of 2 fetch ahead of what they read, into the
                                    second level of the cache; 0: they do not */
    int64_t near;                /* the same into the first level, and in its place; where far is 0, of those of 2 x 2
                                    alone */
    int64_t streams;             /* what windows in steps of 2 find is written past the caches, where its rows follow
                                    one another and are long enough */
} pc_pool;

typedef struct {
    const void *x;
    int64_t x_strides[4];
    void *out;
    int64_t out_strides[4];
    int64_t *indices; /* NULL: there are none */
    int64_t index_strides[4];
} pc_pool_arrays;

typedef void (*pc_pool_task)(const pc_pool *pool, const pc_pool_arrays *arrays, int64_t task, void *scratch);

/* A max unpooling; a task is a plane, of out, which is contiguous. */
typedef struct {
    int64_t channels, in_h, in_w;
    int64_t plane; /* elements of an output plane */
} pc_unpool;

/* The register tile of a convolution: the sum over the taps of some output channels x some vectors of pixels,
 * to[k * to_stride + pixel] = start + sum over t of band[offsets[t] + pixel] * weights[t * channels + k],
 * where start is bias[k], or sums[k * pixels + pixel] if sums is not NULL. Meanwhile the cache lines at
 * next[next_offsets[t]] are fetched. */
typedef struct {
    int64_t channels, vectors;
    void (*run)(const void *band, const int32_t *offsets, int64_t taps, const void *weights, const void *bias,
                const void *sums, void *to, int64_t to_stride, const void *next, const int32_t *next_offsets);
    /* The same; the pixels of tap t are written to panel[t * pitch ...] besides. */
    void (*run_copying)(const void *band, const int32_t *offsets, int64_t taps, const void *weights, const void *bias,
                        const void *sums, void *to, int64_t to_stride, const void *next, const int32_t *next_offsets,
                        void *panel, int64_t pitch);
} pc_tile;

typedef struct {
    const char *name;
    void (*run)(const void *x, void *out, int64_t count, const double *parameters); /* two parameters; out may be x */
    /* the same; of light ones for what is in no core's own cache: x is fetched ahead */
    void (*run_fetching)(const void *x, void *out, int64_t count, const double *parameters);
} pc_activation;

/* The softmax family along one axis: inner lines of length elements each, inner apart. */
typedef struct {
    int64_t length, inner;
    int negative;  /* of -x */
    int logarithm; /* the logarithm of the result */
} pc_axis;

/* A multiply-add with numbers of its own for each channel; elements lie as [..][channel][inner]. */
typedef struct {
    int64_t channels, inner;
    const void *scale, *shift; /* of every channel */
} pc_affine;

/* A row to be added to others: at[i] belongs to element i of the sum, for begin <= i < end. */
typedef struct {
    const void *at;
    int64_t begin, end;
} pc_row;

typedef struct {
    int64_t lanes;          /* elements of a vector */
    const pc_tile *tiles;
    const int64_t *tile_count;

    pc_conv_task direct_task;
    int64_t block_vectors, block_pixels; /* of the tile with vectors along output channels */
    pc_conv_task channels_task;
    const int64_t *few_columns; /* of the widest tile for few input channels, which is two rows high */
    pc_conv_task few_task;
    pc_conv_task depthwise_task;
    int64_t depthwise_pixels; /* of the largest tile with vectors along channels */
    pc_conv_task depthwise_channels_task;
    pc_conv_task separable_task; /* it takes a pc_depthwise too */
    pc_conv_task winograd_task;
    int64_t winograd_few_channels; /* output channels of a block of its packed weights */
    pc_conv_task winograd_few_task; /* it takes a pc_direct */
    pc_conv_task winograd_row_task; /* likewise */
    pc_pool_task max_pool_task;
    pc_pool_task max_places_task;
    pc_pool_task sum_pool_task;
    void (*max_unpool_task)(const pc_unpool *unpool, const pc_pool_arrays *arrays, int64_t task);
    const pc_activation *activations; /* ended by one without a name */
    void (*add)(const void *x, void *out, int64_t count); /* out += x */
    void (*gather)(const void *x, int64_t step, void *out, int64_t count); /* elements that lie apart, side by side */
    void (*interleave)(const void *const *rows, int64_t step, int64_t length, const void *rest, void *out);
    void (*interleave_band)(const void *const *starts, const int64_t *steps, int64_t down, int64_t across,
                            int64_t count, int64_t length, void *out);
    void (*add_rows)(const pc_row *rows, int64_t count, int64_t length, const void *start, void *out);
    void (*prelu)(const void *x, const void *weight, void *out, int64_t count); /* a weight for each element */
    /* lines begin .. end of one outer index; out may be x */
    void (*softmax)(const pc_axis *axis, int64_t begin, int64_t end, const void *x, void *out);
    void (*glu)(const void *x, const void *gate, void *out, int64_t count); /* x * sigmoid(gate) */
    void (*affine)(const pc_affine *affine, int64_t begin, int64_t end, const void *x, void *out); /* out may be x */
    double (*multiply_add_loop)(int64_t rounds);                   /* returns the flops it did; measures the peak */
} pc_kernels;

/* dispatch.c */
int pc_isa_count(void);
const char *pc_isa_name(int isa);       /* in ascending order, the baseline first */
int pc_isa_usable(int isa);             /* the processor and the operating system have it */
int pc_multiply_adds(int isa);          /* of whole vectors, that a core begins in a cycle; by the processor's name */
int pc_second_level(void);              /* bytes that a core gets from there in a cycle, about; by the processor's name */
const pc_kernels *pc_kernels_of(int isa, int is_double);

/* One build's name of a function: pc_f32_direct_task__x86_64_v3 */
#ifdef PC_ISA
#define PC_JOIN_(dtype, name, isa) pc_##dtype##_##name##__##isa
#define PC_JOIN(dtype, name, isa) PC_JOIN_(dtype, name, isa)
#define PC_NAME(name) PC_JOIN(PC_DTYPE, name, PC_ISA)
#endif

#endif
