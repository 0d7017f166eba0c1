/* Rows whose elements are put between each other's: the phases of a transposed convolution. */
#include <string.h>

#include "kernels.h"
#include "vector.h"

/* A loop for each small step, so that the compiler shuffles vectors in place of storing elements. */
static void by_two(const real *restrict a, const real *restrict b, int64_t count, real *restrict out)
{
    for (int64_t i = 0; i < count; i++) {
        out[2 * i] = a[i];
        out[2 * i + 1] = b[i];
    }
}

static void by_three(const real *restrict a, const real *restrict b, const real *restrict c, int64_t count,
                     real *restrict out)
{
    for (int64_t i = 0; i < count; i++) {
        out[3 * i] = a[i];
        out[3 * i + 1] = b[i];
        out[3 * i + 2] = c[i];
    }
}

static void by_four(const real *restrict a, const real *restrict b, const real *restrict c, const real *restrict d,
                    int64_t count, real *restrict out)
{
    for (int64_t i = 0; i < count; i++) {
        out[4 * i] = a[i];
        out[4 * i + 1] = b[i];
        out[4 * i + 2] = c[i];
        out[4 * i + 3] = d[i];
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
    if (!missing && step <= 4) {
        done = length / step;
        if (step == 1) memcpy(out, rows[0], length * sizeof(real));
        if (step == 2) by_two(rows[0], rows[1], done, out);
        if (step == 3) by_three(rows[0], rows[1], rows[2], done, out);
        if (step == 4) by_four(rows[0], rows[1], rows[2], rows[3], done, out);
    }
    for (int64_t j = 0; j < step; j++)
        for (int64_t i = done; i * step + j < length; i++) out[i * step + j] = rows[j] ? rows[j][i] : rest;
}
