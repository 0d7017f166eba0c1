/* Rows whose elements are put between each other's: the phases of a transposed convolution. And rows added up, where a
 * phase is the sum of several. */
#include "kernels.h"
#include "deal.h"
#include "vector.h"

/* out[i * step + j] = rows[j][i], below `length`; *rest where there is no row j */
void PC_NAME(interleave)(const void *const *rows_, int64_t step, int64_t length, const void *rest_, void *out_)
{
    const real *const *rows = (const real *const *)rows_;
    const real rest = *(const real *)rest_;
    real *out = out_;
    int missing = 0;
    for (int64_t j = 0; j < step; j++) missing |= !rows[j];
    if (!missing && step <= 4) {
        if (step == 1) memcpy(out, rows[0], length * sizeof(real));
        if (step == 2) rows_by_turns(rows, 2, length, out);
        if (step == 3) rows_by_turns(rows, 3, length, out);
        if (step == 4) rows_by_turns(rows, 4, length, out);
        return;
    }
    for (int64_t j = 0; j < step; j++)
        for (int64_t i = 0; i * step + j < length; i++) out[i * step + j] = rows[j] ? rows[j][i] : rest;
}

/* The rows of a band of a channel: of each of `count` rows of phases `down` rows of the output, one after the other,
 * each of which is `across` rows by turns. `starts` has the first of them, `steps` how far on the next row is. */
INLINE void band_by_turns(const void *const *starts, const int64_t *steps, int64_t down, int across, int64_t count,
                          int64_t length, real *out)
{
    for (int64_t row = 0; row < count; row++) {
        for (int64_t below = 0; below < down; below++, out += length) {
            const real *rows[4];
            UNROLL for (int j = 0; j < across; j++)
            {
                rows[j] = (const real *)starts[below * across + j] + row * steps[below * across + j];
            }
            rows_by_turns(rows, across, length, out);
        }
    }
}

/* Of 2 or 4 columns, as strides of networks are; with others `interleave` is asked for each row. */
void PC_NAME(interleave_band)(const void *const *starts, const int64_t *steps, int64_t down, int64_t across,
                              int64_t count, int64_t length, void *out)
{
    if (across == 2) band_by_turns(starts, steps, down, 2, count, length, out);
    if (across == 4) band_by_turns(starts, steps, down, 4, count, length, out);
}

/* out[i] = *start + the rows that have an element i, in their order; out takes whole vectors */
void PC_NAME(add_rows)(const pc_row *rows, int64_t count, int64_t length, const void *start, void *out_)
{
    const vec first = splat(*(const real *)start);
    real *out = out_;
    for (int64_t i = 0; i < length; i += LANES) {
        vec sum = first;
        for (const pc_row *row = rows; row < rows + count; row++) {
            const real *from = (const real *)row->at + i;
            const int64_t begin = row->begin - i, end = row->end - i;
            sum += begin <= 0 && end >= LANES ? load(from) : load_part(from, begin, end);
        }
        store(out + i, sum);
    }
}
