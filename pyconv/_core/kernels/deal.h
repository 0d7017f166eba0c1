/* Vectors taken apart into every second, third, fourth or fifth element, and put together of them. */
#ifndef PYCONV_DEAL_H
#define PYCONV_DEAL_H

#include "vector.h"

/* F(lane, p) of each lane. */
#if VECTOR_BYTES == 64 && !PC_F64
#define LANE_BY_LANE(F, p) \
    F(0, p), F(1, p), F(2, p), F(3, p), F(4, p), F(5, p), F(6, p), F(7, p), \
    F(8, p), F(9, p), F(10, p), F(11, p), F(12, p), F(13, p), F(14, p), F(15, p)
#elif VECTOR_BYTES == 64 || (VECTOR_BYTES == 32 && !PC_F64)
#define LANE_BY_LANE(F, p) F(0, p), F(1, p), F(2, p), F(3, p), F(4, p), F(5, p), F(6, p), F(7, p)
#elif VECTOR_BYTES == 32 || !PC_F64
#define LANE_BY_LANE(F, p) F(0, p), F(1, p), F(2, p), F(3, p)
#else
#define LANE_BY_LANE(F, p) F(0, p), F(1, p)
#endif

/* Elements p, p + 3 ... of three vectors: those of the first two, and then the third's behind them. */
enum { COUNT = VECTOR_BYTES / sizeof(real) };
#define THIRD(k, p) 3 * (k) + (p) < 2 * COUNT ? 3 * (k) + (p) : 0
#define LAST_THIRD(k, p) 3 * (k) + (p) < 2 * COUNT ? (k) : 3 * (k) + (p) - COUNT
#define THIRDS_OF(part, p) \
    SHUFFLE(SHUFFLE((part)[0], (part)[1], LANE_BY_LANE(THIRD, p)), (part)[2], LANE_BY_LANE(LAST_THIRD, p))

/* Of five vectors, elements p, p + 5 ... lie in lanes that differ (5 and the number of lanes have no common divisor): they
 * are blended, and then put in order. BLEND takes the lanes of vector n / 5 whose elements are n % 5, n % 5 + 5 ... */
#define BLENDED(k, n) ((n) / 5 * COUNT + (k)) % 5 == (n) % 5 ? COUNT + (k) : (k)
#define BLEND(a, b, n) SHUFFLE(a, b, LANE_BY_LANE(BLENDED, n))
#define FIFTH(k, p) (5 * (k) + (p)) % COUNT
#define FIFTHS_OF(part, p) \
    FIFTHS_IN_ORDER(BLEND(BLEND(BLEND(BLEND((part)[0], (part)[1], 5 + (p)), (part)[2], 10 + (p)), (part)[3], 15 + (p)), (part)[4], \
                   20 + (p)), p)
#define FIFTHS_IN_ORDER(a, p) SHUFFLE(a, a, LANE_BY_LANE(FIFTH, p))

/* Elements p, p + step ... of step vectors that follow one another; step is 2, 3, 4 or 5. */
INLINE vec every(const vec *part, int step, int p)
{
    if (step == 5) {
        return p == 0   ? FIFTHS_OF(part, 0)
               : p == 1 ? FIFTHS_OF(part, 1)
               : p == 2 ? FIFTHS_OF(part, 2)
               : p == 3 ? FIFTHS_OF(part, 3)
                        : FIFTHS_OF(part, 4);
    }
    if (step == 3) return p == 0 ? THIRDS_OF(part, 0) : p == 1 ? THIRDS_OF(part, 1) : THIRDS_OF(part, 2);
    if (step == 2) return p == 0 ? even_of(part[0], part[1]) : odd_of(part[0], part[1]);
    const vec first = p % 2 == 0 ? even_of(part[0], part[1]) : odd_of(part[0], part[1]);
    const vec second = p % 2 == 0 ? even_of(part[2], part[3]) : odd_of(part[2], part[3]);
    return p < 2 ? even_of(first, second) : odd_of(first, second);
}

/* Element n = q * COUNT + k of a, b and c by turns: those of a and b, and then c's between them. */
#define OF_TWO(k, q) ((q) * COUNT + (k)) % 3 == 1 ? COUNT + ((q) * COUNT + (k)) / 3 : ((q) * COUNT + (k)) / 3
#define OF_THREE(k, q) ((q) * COUNT + (k)) % 3 == 2 ? COUNT + ((q) * COUNT + (k)) / 3 : (k)
#define THIRDS_TO(part, q) \
    SHUFFLE(SHUFFLE((part)[0], (part)[1], LANE_BY_LANE(OF_TWO, q)), (part)[2], LANE_BY_LANE(OF_THREE, q))

/* Element i of a vector goes to where element 5 * i + p of five of them lies in its own: 5 * 13 is 1, modulo COUNT. */
#define FIFTH_PLACE(k, p) 13 * ((k) + 16 - (p)) % COUNT
#define FIFTHS_APART(a, p) SHUFFLE(a, a, LANE_BY_LANE(FIFTH_PLACE, p))
#define FIFTHS_TO(apart, q) \
    BLEND(BLEND(BLEND(BLEND((apart)[0], (apart)[1], 5 * (q) + 1), (apart)[2], 5 * (q) + 2), (apart)[3], 5 * (q) + 3), \
          (apart)[4], 5 * (q) + 4)

/* The other way round: step vectors that follow one another, of whose elements p, p + step ... part[p] has all; step is 2,
 * 3, 4 or 5. */
INLINE void by_turns(const vec *part, int step, vec *joined)
{
    if (step == 2) {
        joined[0] = SHUFFLE(part[0], part[1], ZIP_LOW);
        joined[1] = SHUFFLE(part[0], part[1], ZIP_HIGH);
    } else if (step == 3) {
        joined[0] = THIRDS_TO(part, 0);
        joined[1] = THIRDS_TO(part, 1);
        joined[2] = THIRDS_TO(part, 2);
    } else if (step == 5) {
        const vec apart[] = {FIFTHS_APART(part[0], 0), FIFTHS_APART(part[1], 1), FIFTHS_APART(part[2], 2),
                             FIFTHS_APART(part[3], 3), FIFTHS_APART(part[4], 4)};
        joined[0] = FIFTHS_TO(apart, 0);
        joined[1] = FIFTHS_TO(apart, 1);
        joined[2] = FIFTHS_TO(apart, 2);
        joined[3] = FIFTHS_TO(apart, 3);
        joined[4] = FIFTHS_TO(apart, 4);
    } else {
        const vec even_low = SHUFFLE(part[0], part[2], ZIP_LOW), even_high = SHUFFLE(part[0], part[2], ZIP_HIGH);
        const vec odd_low = SHUFFLE(part[1], part[3], ZIP_LOW), odd_high = SHUFFLE(part[1], part[3], ZIP_HIGH);
        joined[0] = SHUFFLE(even_low, odd_low, ZIP_LOW);
        joined[1] = SHUFFLE(even_low, odd_low, ZIP_HIGH);
        joined[2] = SHUFFLE(even_high, odd_high, ZIP_LOW);
        joined[3] = SHUFFLE(even_high, odd_high, ZIP_HIGH);
    }
}

/* `step` rows of `length` / step elements each, or one more of the first ones, by turns: whole vectors as long as there
 * are such, of the last ones the parts. */
INLINE void rows_by_turns(const real *const *rows, int step, int64_t length, real *out)
{
    vec part[4], joined[4];
    int64_t i = 0;
    for (; (i + LANES) * step <= length; i += LANES, out += step * LANES) {
        UNROLL for (int j = 0; j < step; j++) part[j] = load(rows[j] + i);
        by_turns(part, step, joined);
        UNROLL for (int j = 0; j < step; j++) store(out + j * LANES, joined[j]);
    }
    const int64_t left = length - i * step;
    if (left <= 0) return;
    UNROLL for (int j = 0; j < step; j++) part[j] = load_part(rows[j] + i, 0, (left + step - 1 - j) / step);
    by_turns(part, step, joined);
    UNROLL for (int j = 0; j < step; j++)
    {
        if (left > j * LANES) store_part(out + j * LANES, joined[j], left - j * LANES);
    }
}

#endif
