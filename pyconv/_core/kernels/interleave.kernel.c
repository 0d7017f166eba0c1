/* Rows whose elements are put between each other's: the phases of a transposed convolution. And rows added up, where a
 * phase is the sum of several. */
#include "kernels.h"
#include "vector.h"

/* Vectors are zipped; the last ones are loaded and stored in part. */
static void by_two(const real *const *rows, int64_t length, real *out)
{
    for (int64_t i = 0; 2 * i < length; i += LANES, out += 2 * LANES) {
        const int64_t left = length - 2 * i;
        const vec a = load_part(rows[0] + i, 0, (left + 1) / 2), b = load_part(rows[1] + i, 0, left / 2);
        store_part(out, SHUFFLE(a, b, ZIP_LOW), left);
        if (left > LANES) store_part(out + LANES, SHUFFLE(a, b, ZIP_HIGH), left - LANES);
    }
}

static void by_four(const real *const *rows, int64_t length, real *out)
{
    for (int64_t i = 0; 4 * i < length; i += LANES, out += 4 * LANES) {
        const int64_t left = length - 4 * i;
        vec row[4];
        UNROLL for (int j = 0; j < 4; j++) row[j] = load_part(rows[j] + i, 0, (left + 3 - j) / 4);
        const vec low[2] = {SHUFFLE(row[0], row[2], ZIP_LOW), SHUFFLE(row[1], row[3], ZIP_LOW)};
        const vec high[2] = {SHUFFLE(row[0], row[2], ZIP_HIGH), SHUFFLE(row[1], row[3], ZIP_HIGH)};
        const vec all[4] = {SHUFFLE(low[0], low[1], ZIP_LOW), SHUFFLE(low[0], low[1], ZIP_HIGH),
                            SHUFFLE(high[0], high[1], ZIP_LOW), SHUFFLE(high[0], high[1], ZIP_HIGH)};
        UNROLL for (int j = 0; j < 4; j++)
        {
            if (left > j * LANES) store_part(out + j * LANES, all[j], left - j * LANES);
        }
    }
}

/* A loop for this step, so that the compiler shuffles vectors in place of storing elements. */
static void by_three(const real *restrict a, const real *restrict b, const real *restrict c, int64_t count,
                     real *restrict out)
{
    for (int64_t i = 0; i < count; i++) {
        out[3 * i] = a[i];
        out[3 * i + 1] = b[i];
        out[3 * i + 2] = c[i];
    }
}

/* out[i * step + j] = rows[j][i], below `length`; *rest where there is no row j */
void PC_NAME(interleave)(const void *const *rows_, int64_t step, int64_t length, const void *rest_, void *out_)
{
    const real *const *rows = (const real *const *)rows_;
    const real rest = *(const real *)rest_;
    real *out = out_;
    int64_t done = 0;
    int missing = 0;
    for (int64_t j = 0; j < step; j++) missing |= !rows[j];
    if (!missing && (step == 1 || step == 2 || step == 4)) {
        if (step == 1) memcpy(out, rows[0], length * sizeof(real));
        if (step == 2) by_two(rows, length, out);
        if (step == 4) by_four(rows, length, out);
        return;
    }
    if (!missing && step == 3) {
        done = length / step;
        by_three(rows[0], rows[1], rows[2], done, out);
    }
    for (int64_t j = 0; j < step; j++)
        for (int64_t i = done; i * step + j < length; i++) out[i * step + j] = rows[j] ? rows[j][i] : rest;
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
