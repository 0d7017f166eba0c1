/* Direct convolution: one task packs one band of input, then walks it tile by tile.
 *
 * With panels, the first tile of output channels that reads some pixels, in the band or in the image itself, copies them
 * while it computes, one tap behind the other: for the others they lie in few pages, at whole lines of the cache. Pixels
 * of flat channels-last images are turned into panels just before the first tile reads them, and no band is packed.
 */
#include "conv.h"
#include "deal.h"

enum {
    LINE = 64 / sizeof(real), /* elements of a cache line */
    FEW_TAPS = 16,            /* of which a tile takes about as long to store its sums as to compute them */
    FETCHERS = 8              /* tiles that fetch the next panel's pixels between them, as in bands.py */
};

typedef struct {
    int64_t from, to, count; /* places in the tile and in the band's output, in pixels */
} segment;

/* The runs of real output pixels among the tile's places q, q + 1, ...: the packed line has kernel - 1 places between
 * two rows that are nobody's output. Returns their number. */
static int find_segments(segment *segments, int64_t q, int64_t width, int64_t pitch, int64_t rows, int64_t cols,
                         int64_t out_pitch)
{
    int count = 0;
    const int64_t end = least(q + width, (rows - 1) * pitch + cols);
    int64_t row = q / pitch, col = q % pitch;
    for (int64_t at = q; at < end; row++, col = 0) {
        if (col < cols) {
            const int64_t run = least(cols - col, end - at);
            segment next = {at - q, row * out_pitch + col, run};
            segment *last = segments + count - 1;
            if (count && last->from + last->count == next.from && last->to + last->count == next.to) {
                last->count += run; /* rows that touch, here and there: a 1x1 kernel */
            } else {
                segments[count++] = next;
            }
        }
        at += pitch - col;
    }
    return count;
}

/* One task at work. */
typedef struct {
    const pc_direct *conv;
    const real *band, *weights, *bias; /* of the group */
    real *panels;                      /* where the tiles' pixels are copied to, or NULL */
    const real *turned;                /* the pixels of a channels-last image that are turned into panels, or NULL */
    int64_t pixel_step;                /* from one of them to the next */
    int64_t width, first_tile;         /* of the widest tile; of output channels, which fills the panels */
    real *sums;                        /* that wait for more taps, or to be copied to where they belong */
    real *out;                         /* of the band's first pixel and the group's first channel */
    const int64_t *out_strides;
    int64_t rows, cols; /* of this line */
    int64_t start;      /* of a long row: the place in it that the band begins with */
    int64_t line, end;  /* the packed line's real places, and the end of what may be read */
    int gaps;           /* between the places of two rows, or between the rows of the output */
} job;

/* The tiles of some pixels of a line: of most output channels, and of the last ones. Passed by its place: two pointers in
 * registers, put down one by one and taken up as one vector, would be waited for. */
typedef struct {
    const pc_tile *full, *last;
} stretch;

/* A tile's sums, as [channel][width], to the places of the output that its pixels are. */
static void write_segments(const segment *segments, int count, const real *sums, int64_t width, int64_t channels,
                           real *to, int64_t channel_stride)
{
    for (int64_t k = 0; k < channels; k++, sums += width, to += channel_stride) {
        for (int s = 0; s < count; s++) {
            const real *from = sums + segments[s].from;
            real *at = to + segments[s].to;
            const int64_t run = segments[s].count, whole = run / LANES * LANES;
            for (int64_t i = 0; i < whole; i += LANES) store(at + i, load(from + i));
            if (whole < run) store_part(at + whole, load_part(from + whole, 0, run - whole), run - whole);
        }
    }
}

/* Where the phases of a tile go to: those of the image's pixels from a row and column on, and the next channel of a
 * tile is row `below` of those of a channel of the output. */
typedef struct {
    int64_t row, column, below;
    real *channel;
} phase_place;

/* The same of the pixels at place q, for the channels from `first` on. */
static phase_place find_phases(const job *at, int64_t q, int64_t first)
{
    const pc_direct *conv = at->conv;
    const int64_t place = at->start + q, line = first / conv->phases_across;
    real *channel = at->out + line / conv->phases_down * at->out_strides[1];
    return (phase_place){place / conv->image_w, place % conv->image_w, line % conv->phases_down, channel};
}

/* The sums of `count` pixels, as [channel][width], to where they go; every `across` channels are columns of phases. */
INLINE void write_phases(const job *at, int across, phase_place *place, int64_t count, const real *sums, int64_t width,
                         int64_t channels)
{
    const int64_t image_w = at->conv->image_w, down = at->conv->phases_down, pitch = at->out_strides[2];
    int64_t row = place->row, column = place->column, below = place->below;
    real *channel = place->channel;
    for (int64_t done = 0, run; done < count; done += run, row++, column = 0) {
        run = least(image_w - column, count - done);
        below = place->below, channel = place->channel;
        for (int64_t k = 0; k < channels; k += across) {
            const real *rows[4];
            UNROLL for (int j = 0; j < across; j++) rows[j] = sums + (k + j) * width + done;
            rows_by_turns(rows, across, run * across, channel + (row * down + below) * pitch + column * across);
            if (++below == down) below = 0, channel += at->out_strides[1];
        }
    }
    place->below = below, place->channel = channel;
}

/* The narrowest tile of as many channels that has so many vectors; alike for both tiles of a line (conv_tile.kernel.c). */
static const pc_tile *with_vectors(const pc_tile *tile, int64_t vectors)
{
    const pc_tile *best = tile;
    for (int64_t i = 0; i < PC_NAME(conv_tile_count); i++) {
        const pc_tile *other = PC_NAME(conv_tiles) + i;
        if (other->channels == tile->channels && other->vectors >= vectors && other->vectors < best->vectors) best = other;
    }
    return best;
}

/* How a line of so many vectors ends behind tiles of the full width: narrower by one or two tiles, whose number is
 * returned. Two of about one size, where one would be so narrow that its loads, or sums that wait for each other, took
 * longer than its multiply-adds. */
static int find_ends(stretch *ends, stretch widest, int64_t vectors)
{
    const int64_t most = widest.full->vectors, left = vectors % most;
    if (left == 0) return 0;
    if (vectors > most && 2 * left <= most) {
        const int64_t two = most + left;
        const pc_tile *first = with_vectors(widest.full, (two + 1) / 2);
        const pc_tile *second = with_vectors(widest.full, two - first->vectors);
        if (first->vectors + second->vectors == two) {
            ends[0] = (stretch){first, with_vectors(widest.last, first->vectors)};
            ends[1] = (stretch){second, with_vectors(widest.last, second->vectors)};
            return 2;
        }
    }
    ends[0] = (stretch){with_vectors(widest.full, left), with_vectors(widest.last, left)};
    return 1;
}

/* The panel of the tile of pixels at place q; one for all, where none is met again; NULL: pixels are read where they lie. */
static real *panel_of(const job *at, int64_t q)
{
    if (!at->panels || !at->conv->band_stays) return at->panels;
    return at->panels + (q + at->width - 1) / at->width * at->width * at->conv->taps;
}

/* The pixels at place q, for taps t, t + 1, ... and the tiles of output channels from one on: into their panel, if it is
 * this tile that needs them first and does not copy them itself. */
static void fill_panel(const job *at, int64_t tile, int64_t q, int64_t width, int64_t t, int64_t taps, real *panel)
{
    if (!at->turned || tile != at->first_tile) return;
    const int64_t count = least(width, at->line - q);
    PC_NAME(conv_pack_panel)(at->turned + q * at->pixel_step + t, at->pixel_step, count, taps, width, panel, at->width);
}

/* One tile: taps t, t + 1, ... of its pixels, which the first tile of output channels copies into their panel, if they have
 * one, for the others. */
INLINE void run_tile(const job *at, const pc_tile *run, int64_t tile, const real *pixels, real *panel, int64_t t,
                     int64_t taps, const real *weights, const real *bias, const real *sums, real *to, int64_t to_stride,
                     const real *next, const int32_t *next_offsets)
{
    const pc_direct *conv = at->conv;
    const int32_t *offsets = conv->offsets + t, *copied = conv->panel_offsets;
    const int64_t turn = tile - at->first_tile; /* 0: it copies */
    const int spread = conv->in_place && !conv->band_stays; /* the next panel's pixels over the tiles that read this one */
    if (!panel) {
        run->run(pixels, offsets, taps, weights, bias, sums, to, to_stride, next, next_offsets);
    } else if (turn == 0 && !at->turned) {
        run->run_copying(pixels, offsets, taps, weights, bias, sums, to, to_stride, spread ? panel : next,
                         spread ? copied : next_offsets, panel, at->width);
    } else if (spread && turn <= FETCHERS) {
        /* the line that the panel's last pixel is in: the one before was read for this panel */
        run->run(panel, copied, taps, weights, bias, sums, to, to_stride, next + next_offsets[0] + at->width - 1,
                 copied + turn * conv->chunk);
    } else {
        run->run(panel, copied, taps, weights, bias, sums, to, to_stride, panel, copied);
    }
}

/* One row of register tiles: output channels first .. end (in tiles) at places q, q + 1, ... of the packed line. The taps
 * pass in chunks, whose pixels stay in the first level of the cache while all tiles read them; each tile fetches one
 * line of each tap's pixels for the chunk that comes next. */
static void run_tiles(const job *at, const stretch *tiles, int64_t q, int64_t first_tile, int64_t end_tile)
{
    const pc_direct *conv = at->conv;
    const pc_tile *full = tiles->full, *last = tiles->last;
    const int64_t channel_stride = at->out_strides[1], left_places = at->line - q, width = full->vectors * LANES;
    const int more = left_places > width;
    /* a tile that would read on past the image begins earlier, and does again what others have done */
    const int64_t place = least(q, at->end - width), skipped = q - place;
    segment segments[MOST_VECTORS * LANES + 1];
    int count = 1;
    segments[0] = (segment){0, q, least(left_places, width)};
    if (at->gaps) count = find_segments(segments, q, width, conv->pitch, at->rows, at->cols, at->out_strides[2]);
    const int direct = count == 1 && segments[0].count == width && !conv->phases_across;
    phase_place phases;
    if (conv->phases_across) phases = find_phases(at, q, first_tile * full->channels);
    real *const panel = panel_of(at, q);
    const int64_t step = conv->chunk < conv->taps ? full->channels * width : 0; /* with one chunk no sums have to wait */
    for (int64_t t = 0; t < conv->taps; t += conv->chunk) {
        const int64_t taps = least(conv->chunk, conv->taps - t), left = conv->taps - t - taps;
        const int ends = left == 0;
        const real *next = at->band + place + (ends && more ? width : 0);
        const int32_t *next_offsets = conv->offsets + (left >= taps ? t + taps : 0);
        real *sums = at->sums;
        int64_t line = 0;
        if (panel) fill_panel(at, first_tile, q, width, t, taps, panel);
        for (int64_t tile = first_tile; tile < end_tile; tile++, sums += step) {
            const pc_tile *run = tile < conv->full_tiles ? full : last;
            const int64_t channels = tile < conv->full_tiles ? full->channels : conv->last_channels;
            const int64_t first = tile * full->channels;
            const real *weights = at->weights + first * conv->taps + t * run->channels, *bias = at->bias + first;
            const int in_place = ends && direct && channels == run->channels;
            real *to = at->out + first * channel_stride;
            run_tile(at, run, tile, at->band + place, panel, t, taps, weights, bias, t ? sums : NULL,
                     in_place ? to + segments[0].to : sums, in_place ? channel_stride : width, next + line, next_offsets);
            if (ends && conv->phases_across == 2) {
                write_phases(at, 2, &phases, segments[0].count, sums + skipped, width, channels);
            } else if (ends && conv->phases_across == 3) {
                write_phases(at, 3, &phases, segments[0].count, sums + skipped, width, channels);
            } else if (ends && conv->phases_across == 4) {
                write_phases(at, 4, &phases, segments[0].count, sums + skipped, width, channels);
            } else if (ends && !in_place) {
                write_segments(segments, count, sums + skipped, width, channels, to, channel_stride);
            }
            if (!panel) line = line < width ? line + LINE : 0;
        }
    }
}

/* Tiles at places q .. end - 1 of the line, for output channels first .. end (in tiles). Those of one block of channels, all
 * of whose places are neighbours in the output, follow one another without more ado: what one of them writes lies behind
 * what the one before wrote, in few planes, which are few pages and few streams. */
static void run_line(const job *at, const stretch *tiles, int64_t q, int64_t end, int64_t first_tile, int64_t end_tile)
{
    const pc_direct *conv = at->conv;
    const int is_full = first_tile < conv->full_tiles, one = end_tile - first_tile == 1 && conv->chunk == conv->taps;
    const pc_tile *run = is_full ? tiles->full : tiles->last;
    const int64_t width = run->vectors * LANES;
    if (one && !at->gaps && !conv->phases_across && (is_full || conv->last_channels == run->channels)) {
        const int64_t first = first_tile * tiles->full->channels, channel_stride = at->out_strides[1];
        const real *weights = at->weights + first * conv->taps, *bias = at->bias + first;
        real *to = at->out + first * channel_stride;
        for (; q < end && q + width <= at->line; q += width) {
            const real *pixels = at->band + q;
            real *const panel = panel_of(at, q);
            if (panel) fill_panel(at, first_tile, q, width, 0, conv->taps, panel);
            run_tile(at, run, first_tile, pixels, panel, 0, conv->taps, weights, bias, NULL, to + q, channel_stride,
                     pixels + width, conv->offsets);
        }
    }
    for (; q < end; q += width) run_tiles(at, tiles, q, first_tile, end_tile);
}

/* Where a line's second tile begins so that it and those behind it store whole cache lines, which takes half as long as
 * vectors of 64 bytes that meet two: some places of the first tile are done again. 0: no matter, or not to be had. */
static int64_t second_tile(const job *at, int64_t width)
{
    const int64_t over = (int64_t)((uintptr_t)at->out / sizeof(real) % LINE);
    if (VECTOR_BYTES < 64 || at->panels || at->conv->taps > FEW_TAPS || at->conv->phases_across ||
        at->line <= 4 * width) {
        return 0;
    }
    return over && at->out_strides[1] % LINE == 0 ? width - over : 0;
}

void PC_NAME(direct_task)(const void *parameters, const pc_conv_arrays *arrays, int64_t task, void *scratch)
{
    const pc_direct *conv = parameters;
    const int64_t *x_strides = arrays->x_strides, *out_strides = arrays->out_strides;
    /* task = (((image * groups + group) * bands_h + band row) * bands_w + band column) * shares + share */
    const int64_t share = task % conv->shares;
    int64_t rest = task / conv->shares;
    const int64_t first_col = rest % conv->bands_w * conv->cols;
    rest /= conv->bands_w;
    const int64_t first_row = rest % conv->bands_h * conv->rows;
    rest /= conv->bands_h;
    const int64_t group = rest % conv->groups, image = rest / conv->groups;
    const int64_t rows = least(conv->rows, conv->out_h - first_row);
    const int64_t cols = least(conv->cols, conv->out_w - first_col);

    const real *x = (const real *)arrays->x + image * x_strides[0] + group * conv->in_channels * x_strides[1];
    const pc_tile *full = PC_NAME(conv_tiles) + conv->full_tile, *last = PC_NAME(conv_tiles) + conv->last_tile;
    const int64_t tiles = conv->full_tiles + (conv->last_channels > 0);
    const int64_t packed_channels = conv->full_tiles * full->channels + (conv->last_channels > 0) * last->channels;
    const int64_t lines = conv->by_rows ? rows : 1, rows_of_line = conv->by_rows ? 1 : rows;
    const int64_t width = full->vectors * LANES, line = (rows_of_line - 1) * conv->pitch + cols;
    const int turned = conv->panel_offsets && !conv->in_place && conv->panels == 0; /* there is no band */
    const int64_t phases = conv->phases_across ? conv->phases_down * conv->phases_across : 1;
    const int64_t out_channels = conv->out_channels / phases;
    const job at = {
        .conv = conv,
        .band = conv->in_place ? x + first_col : scratch,
        .weights = (const real *)arrays->weights + group * packed_channels * conv->taps,
        .bias = (const real *)arrays->bias + group * packed_channels,
        .panels = conv->panel_offsets ? (real *)scratch + conv->panels : NULL,
        .width = width,
        .first_tile = tiles * share / conv->shares,
        .turned = turned ? x + first_col * x_strides[3] : NULL,
        .pixel_step = x_strides[3],
        .sums = (real *)scratch + conv->band_size,
        .out = (real *)arrays->out + image * out_strides[0] + group * out_channels * out_strides[1] +
               first_row * out_strides[2] + (conv->phases_across ? 0 : first_col),
        .out_strides = out_strides,
        .rows = rows_of_line,
        .cols = cols,
        .start = first_col,
        .line = line,
        .end = conv->in_place ? conv->in_w - first_col : line + width,
        .gaps = rows_of_line > 1 && (conv->pitch != cols || out_strides[2] != cols),
    };
    const int64_t begin = lines == 1 && !at.gaps ? second_tile(&at, width) : 0;
    const stretch widest = {full, last};
    const int64_t vectors = (line - begin + LANES - 1) / LANES;
    stretch ends[2];
    const int count = find_ends(ends, widest, vectors);
    int64_t wide = vectors; /* of which tiles of the full width take care; an end may have more than are left */
    for (int i = 0; i < count; i++) wide -= ends[i].full->vectors;
    if (wide < 0) wide = 0;

    const __auto_type mode = flush_denormals();
    if (!conv->in_place && !turned) PC_NAME(conv_pack)(conv, x, x_strides, first_row, rows, first_col, scratch);

    const int64_t first_tile = tiles * share / conv->shares, end_tile = tiles * (share + 1) / conv->shares;
    /* the band stays while the weights of one tile after the other pass, or all weights pass one row of tiles */
    const int64_t step = conv->band_stays ? 1 : end_tile - first_tile;
    for (int64_t tile = first_tile; tile < end_tile; tile += step) {
        job row = at;
        for (int64_t i = 0; i < lines; i++, row.band += conv->pitch, row.out += out_strides[2]) {
            int64_t q = begin + wide * LANES;
            if (begin) run_tiles(&row, &widest, 0, tile, tile + step);
            run_line(&row, &widest, begin, q, tile, tile + step);
            for (int e = 0; e < count; e++) {
                const int64_t end = q + ends[e].full->vectors * LANES;
                run_line(&row, ends + e, q, end, tile, tile + step);
                q = end;
            }
        }
    }
    restore_denormals(mode);
}
