/* The softmax family: exp(x - largest) / sum of exp(x - largest), or x - largest - log(sum).
 *
 * Three passes: the largest, the sum, the result. Differences and sums are carried with what their rounding loses: exp
 * magnifies an error of its argument, and a long sum collects them. So the result's error does not grow with the length
 * or with the distance to the largest element. Vectors run across lines, of which several are neighbours in memory; or,
 * where the elements of a line are neighbours, along each, and then the lanes of LANES lines are put together for all
 * at once, and three groups of lines are in one of the passes each. Short lines are turned first, so that vectors run
 * across them too.
 */
#include <math.h>

#include "kernels.h"
#include "softmax.h"

#if defined(__AVX2__) && !defined(__AVX512F__)
#define VECTORS_OF_A_LINE 2 /* for 16 registers; the baseline is quicker with 4 all the same (measured) */
#else
#define VECTORS_OF_A_LINE 4
#endif

enum {
    TOGETHER = 16,            /* vectors of neighbouring lines that pass together: whole pieces of memory pages */
    LINES = 2,                /* neighbouring vectors of lines, of which SIDE_BY_SIDE exponentials are computed at once */
    ROWS = 8,                 /* of a line, that are in the first level of the cache meanwhile */
    SHORT = 3,                /* up to so many vectors, lines are turned, and vectors run across them */
    ELEMENTS_AT_ONCE = 32768, /* of lines along which vectors run: they stay in the second level of the cache */
};

/* The lanes of LANES lines put together two by two, until a lane is left of each: a[0], its lanes in the order of the
 * lines. Vectors are zipped, so that every operation works on full ones. */
#define MERGE(name, type, operation, ZIPPED)                                                                        \
    static inline type name(type a[LANES])                                                                          \
    {                                                                                                               \
        UNROLL for (int step = LANES / 2; step > 0; step /= 2)                                                      \
        {                                                                                                           \
            UNROLL for (int i = 0; i < step; i++)                                                                   \
            {                                                                                                       \
                a[i] = operation(ZIPPED(a, i, step, ZIP_LOW), ZIPPED(a, i, step, ZIP_HIGH));                        \
            }                                                                                                       \
        }                                                                                                           \
        return a[0];                                                                                                \
    }
#define ZIPPED_VEC(a, i, step, ORDER) SHUFFLE(a[i], a[i + step], ORDER)
#define ZIPPED_SUM(a, i, step, ORDER)                                                                                 \
    (line_sum){SHUFFLE(a[i].high, a[i + step].high, ORDER), SHUFFLE(a[i].low, a[i + step].low, ORDER),               \
               (ivec)SHUFFLE((vec)a[i].largest, (vec)a[i + step].largest, ORDER)}
MERGE(largest_of_each, vec, greater_of, ZIPPED_VEC)
MERGE(sum_of_each, line_sum, both, ZIPPED_SUM)

/* How elements are read */
typedef struct {
    vec sign;        /* -1 where elements are taken negative, else 1 */
    ivec sign_bit;
    int64_t part;    /* lanes of a vector that is not full */
    lane_mask lanes; /* these */
    vec none;        /* what becomes -infinity by the sign: no largest one and no sum sees it */
} reading;

static inline reading reading_of(const pc_axis *axis, int64_t part)
{
    return (reading){
        .sign = splat(axis->negative ? -1 : 1),
        .sign_bit = axis->negative ? (ivec)splat((real)-0.0) : (ivec){0},
        .part = part,
        .lanes = lanes_between(0, part),
        .none = splat(axis->negative ? INFINITY : -INFINITY),
    };
}

static inline vec numbers(const reading *how, int partly, const real *x)
{
    return partly ? load_lanes_or(x, how->lanes, how->none) : load(x);
}

static inline vec elements(const reading *how, int partly, const real *x)
{
    return (vec)((ivec)numbers(how, partly, x) ^ how->sign_bit);
}

/* Elements less something, which is one multiply-add. */
static inline vec elements_less(const reading *how, int partly, const real *x, vec something)
{
    if (FUSES) return multiply_subtract(numbers(how, partly, x), how->sign, something);
    return elements(how, partly, x) - something;
}

static inline void put(const reading *how, int partly, real *out, vec v)
{
    if (partly) {
        store_part(out, v, how->part);
    } else {
        store(out, v);
    }
}

/* Exponentials of `each` vectors of some lines that are neighbours, added to the sums. step: from a vector to the line's
 * next. For a logarithm they are added two by two: half the work, for a quarter of a unit of the sum. */
INLINE void exps_at_once(const reading *how, int partly, int logarithm, int lines, int each, int64_t step, const real *x,
                         real *out, const line_top *tops, line_sum *sums)
{
    const int count = lines * each;
    vec v[SIDE_BY_SIDE];
    mask nothing[SIDE_BY_SIDE]; /* to be added */
    EACH v[k] = elements_less(how, partly, x + k / each * LANES + k % each * step, tops[k / each].origin);
    EACH nothing[k] = below(v[k], tops[k / each].least);
    if (logarithm) {
        EACH
        {
            const mask is_largest = equal(v[k], tops[k / each].near);
            line_sum *sum = sums + k / each;
            sum->largest = (ivec)pick(is_largest, (vec)(sum->largest + 1), (vec)sum->largest);
            nothing[k] |= is_largest;
        }
    }
    exponentials(v, count, tops, each);
    EACH v[k] = pick(nothing[k], splat(0), v[k]);
    EACH
    {
        const int in_line = k % each, first_of_two = in_line % 2 == 0 && in_line + 1 < each;
        if (logarithm && first_of_two) continue;
        const vec more = logarithm && in_line % 2 == 1 ? v[k - 1] + v[k] : v[k];
        sums[k / each] = added(logarithm, sums[k / each], more);
    }
    if (logarithm) return;
    EACH put(how, partly, out + k / each * LANES + k % each * step, v[k]);
}

/* The same of up to ROWS vectors of each of 1 or LINES lines that are neighbours. The order of a line's sums is the same. */
INLINE void exps(const reading *how, int partly, int logarithm, int lines, int64_t rows, int64_t step, const real *x,
                 real *out, const line_top *tops, line_sum *sums)
{
    const int each = lines == 1 ? VECTORS_OF_A_LINE : SIDE_BY_SIDE / lines;
    line_sum sum[LINES];
    UNROLL for (int k = 0; k < lines; k++) sum[k] = sums[k];
    int64_t i = 0;
    for (; i + each <= rows; i += each, x += each * step, out += each * step) {
        exps_at_once(how, partly, logarithm, lines, each, step, x, out, tops, sum);
    }
#define REST(few) \
    if (few < each && rows - i == few) exps_at_once(how, partly, logarithm, lines, few, step, x, out, tops, sum)
    REST(1);
    REST(2);
    REST(3);
    UNROLL for (int k = 0; k < lines; k++) sums[k] = settled(sum[k]);
}

/* The last pass: a vector becomes what is asked for. The rounding of a difference to the largest element is no more than
 * half a unit of the result, which is farther from zero. */
INLINE void result(const reading *how, int partly, int logarithm, const real *x, real *out, vec largest, vec factor)
{
    if (logarithm) {
        put(how, partly, out, elements_less(how, partly, x, largest) - factor);
    } else {
        put(how, partly, out, (partly ? load_lanes(out, how->lanes) : load(out)) * factor);
    }
}

/* Lines whose elements are neighbours, of which `several` make a group: LANES, or 1. While exponentials of one group are
 * computed, which keeps the multipliers busy, the largest elements of the next one are looked for and the results of the
 * one before are put down, some vectors of each by turns. */
INLINE void along_lines(const pc_axis *axis, int logarithm, int64_t several, int64_t count, const real *x, real *out)
{
    const int64_t length = axis->length, group = several * length, last = length / LANES * LANES;
    const reading how = reading_of(axis, length - last);
    vec lanes[LANES];
    line_sum sums[LANES];
    line_top tops = {0}, tops_before = {0};
    real factors[LANES] = {0};
    for (int64_t first = -several; first < count + several; first += several) {
        const int64_t next = least(count - first - several, several), now = first < 0 ? 0 : least(count - first, several);
        const int64_t before = first <= 0 ? 0 : least(count - first + several, several);
        for (int64_t k = several; k < LANES; k++) lanes[k] = splat(-INFINITY), sums[k] = empty_sum(logarithm);
        for (int64_t k = 0; k < several; k++) {
            vec largest = splat(-INFINITY);
            line_sum sum = empty_sum(logarithm);
            const line_top top = top_of_lane(&tops, k);
            const vec largest_before = splat(tops_before.largest[k]), factor = splat(factors[k]);
            for (int64_t i = 0; i < length; i += ROWS * LANES) {
                const real *from = x + first * length + k * length + i;
                real *to = out + first * length + k * length + i;
                const int64_t left = length - i, rows = least(ROWS, left / LANES), end = rows * LANES;
                const int ends = left < ROWS * LANES && how.part;
                if (k < now) {
                    exps(&how, 0, logarithm, 1, rows, LANES, from, to, &top, &sum);
                    if (ends) exps(&how, 1, logarithm, 1, 1, 0, from + end, to + end, &top, &sum);
                }
                if (k < next) {
                    const real *ahead = from + group;
                    for (int64_t j = 0; j < end; j += LANES) largest = greater_of(elements(&how, 0, ahead + j), largest);
                    if (ends) largest = greater_of(elements(&how, 1, ahead + end), largest);
                }
                if (k < before) {
                    const real *x_before = from - group;
                    real *put_to = to - group;
                    for (int64_t j = 0; j < end; j += LANES) {
                        result(&how, 0, logarithm, x_before + j, put_to + j, largest_before, factor);
                    }
                    if (ends) result(&how, 1, logarithm, x_before + end, put_to + end, largest_before, factor);
                }
            }
            lanes[k] = largest, sums[k] = sum;
        }
        store(factors, last_factor(logarithm, sum_of_each(sums), LANES, &tops));
        tops_before = tops;
        tops = top_of(largest_of_each(lanes));
    }
}

/* Neighbouring lines: so many vectors, or one of which not all lanes. step: from an element to the next of its line */
INLINE void across_lines(const pc_axis *axis, int logarithm, int64_t step, int partly, int64_t vectors, int64_t lanes,
                         const real *x, real *out)
{
    const int64_t length = axis->length;
    const reading how = reading_of(axis, lanes);
    vec largest[TOGETHER];
    line_top tops[TOGETHER];
    line_sum sums[TOGETHER];
    for (int64_t v = 0; v < vectors; v++) largest[v] = splat(-INFINITY), sums[v] = empty_sum(logarithm);
    for (int64_t i = 0; i < length; i++) {
        for (int64_t v = 0; v < vectors; v++) {
            largest[v] = greater_of(elements(&how, partly, x + i * step + v * LANES), largest[v]);
        }
    }
    for (int64_t v = 0; v < vectors; v++) tops[v] = top_of(largest[v]);
    for (int64_t i = 0; i < length; i += ROWS) {
        const int64_t rows = least(ROWS, length - i);
        const real *from = x + i * step;
        real *to = out + i * step;
        int64_t v = 0;
        for (; v + LINES <= vectors; v += LINES) {
            const int64_t place = v * LANES;
            exps(&how, partly, logarithm, LINES, rows, step, from + place, to + place, tops + v, sums + v);
        }
        for (; v < vectors; v++) {
            exps(&how, partly, logarithm, 1, rows, step, from + v * LANES, to + v * LANES, tops + v, sums + v);
        }
    }
    vec factors[TOGETHER];
    for (int64_t v = 0; v < vectors; v++) factors[v] = last_factor(logarithm, sums[v], 1, tops + v);
    for (int64_t i = 0; i < length; i++) {
        for (int64_t v = 0; v < vectors; v++) {
            const int64_t place = i * step + v * LANES;
            result(&how, partly, logarithm, x + place, out + place, largest[v], factors[v]);
        }
    }
}

/* Up to LANES lines whose elements are neighbours, of at most SHORT vectors: turned, so that vectors run across them.
 * Results are turned back, or those of elements that are read once more, where squares are large. */
INLINE void along_short_lines(const pc_axis *axis, int logarithm, int64_t count, const real *x, real *out)
{
    const int64_t length = axis->length;
    const reading turned_how = reading_of(axis, LANES);
    vec turned[SHORT * LANES], square[LANES], largest = splat(-INFINITY);
    for (int64_t i = 0; i < length; i += LANES) {
        const lane_mask lanes = lanes_between(0, length - i);
        for (int64_t k = 0; k < count; k++) square[k] = load_lanes_or(x + k * length + i, lanes, turned_how.none);
        for (int64_t k = count; k < LANES; k++) square[k] = splat(0);
        turn_square(square);
        UNROLL for (int64_t k = 0; k < LANES; k++)
        {
            largest = greater_of(elements(&turned_how, 0, (const real *)(square + k)), largest);
            turned[i + k] = square[k];
        }
    }
    const line_top top = top_of(largest);
    line_sum sum = empty_sum(logarithm);
    for (int64_t i = 0; i < length; i += ROWS) {
        real *rows = (real *)(turned + i);
        exps(&turned_how, 0, logarithm, 1, least(ROWS, length - i), LANES, rows, rows, &top, &sum);
    }
    const vec factor = last_factor(logarithm, sum, 1, &top);
    for (int64_t i = 0; i < length; i += LANES) {
        if (logarithm && LANES == 16) {
            const reading how = reading_of(axis, length - i);
            for (int64_t k = 0; k < count; k++) {
                const int64_t place = k * length + i;
                result(&how, 1, logarithm, x + place, out + place, splat(top.largest[k]), splat(factor[k]));
            }
            continue;
        }
        UNROLL for (int64_t k = 0; k < LANES; k++)
        {
            const real *from = (const real *)(turned + i + k);
            square[k] = logarithm ? elements_less(&turned_how, 0, from, top.largest) - factor : load(from) * factor;
        }
        turn_square(square);
        for (int64_t k = 0; k < count; k++) store_part(out + k * length + i, square[k], length - i);
    }
}

INLINE void lines(const pc_axis *axis, int logarithm, int64_t begin, int64_t end, const real *x, real *out)
{
    const int64_t length = axis->length, inner = axis->inner;
    const int64_t several = length * LANES <= ELEMENTS_AT_ONCE ? LANES : 1;
    if (inner == 1 && length > SHORT * LANES) {
        along_lines(axis, logarithm, several, end - begin, x + begin * length, out + begin * length);
        return;
    }
    for (int64_t i = begin; i < end;) {
        const int64_t outer = i / inner, first = i % inner, left = least(inner - first, end - i);
        const int64_t base = outer * length * inner + first, vectors = least(left / LANES, TOGETHER);
        int64_t count = vectors ? vectors * LANES : left;
        if (inner == 1) {
            count = least(LANES, end - i);
            along_short_lines(axis, logarithm, count, x + base, out + base);
        } else if (vectors) {
            across_lines(axis, logarithm, inner, 0, vectors, LANES, x + base, out + base);
        } else {
            across_lines(axis, logarithm, inner, 1, 1, left, x + base, out + base);
        }
        i += count;
    }
}

void PC_NAME(softmax)(const pc_axis *axis, int64_t begin, int64_t end, const void *x, void *out)
{
    if (axis->logarithm) {
        lines(axis, 1, begin, end, x, out);
    } else {
        lines(axis, 0, begin, end, x, out);
    }
}
