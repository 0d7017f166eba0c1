/* Results that follow one another in memory, written past the caches: nobody reads their lines first, and what the
 * caches hold stays there. Only whole lines can be written so. What does not begin and end where lines do is put down
 * in a stage, which is in the first level, and its lines are passed on; the first and the last one, of which others may
 * have a part, are written as always. */
#ifndef PYCONV_STREAM_H
#define PYCONV_STREAM_H

#include "vector.h"

enum { LINE = 64 / sizeof(real) };

typedef struct {
    real *stage; /* begins where a line does */
    real *out;   /* where what comes next belongs */
    int64_t kept; /* elements of the stage in front of what comes next: its line's */
    int64_t begun; /* those of them that others have written, or will */
} stream;

INLINE stream stream_to(real *out, real *stage)
{
    const int64_t begun = (int64_t)((uintptr_t)out % 64 / sizeof(real));
    return (stream){stage, out, begun, begun};
}

/* A vector to where a vector may begin, past the caches */
INLINE void store_past(real *p, vec v)
{
    touch_first(p, LANES);
#if defined(__AVX512F__) && PC_F64
    _mm512_stream_pd(p, v);
#elif defined(__AVX512F__)
    _mm512_stream_ps(p, v);
#elif defined(__AVX2__) && PC_F64
    _mm256_stream_pd(p, v);
#elif defined(__AVX2__)
    _mm256_stream_ps(p, v);
#elif defined(__SSE2__) && PC_F64
    _mm_stream_pd(p, v);
#elif defined(__SSE2__)
    _mm_stream_ps(p, v);
#else
    store(p, v);
#endif
}

/* What is kept and count elements behind it: whole lines leave, the rest moves to the front. Up to two lines behind
 * them are read of the stage. */
INLINE void pass_on(stream *s, int64_t count)
{
    const int64_t filled = s->kept + count, whole = filled & -(int64_t)LINE;
    int64_t i = 0;
    if (s->begun && whole) {
        memcpy(s->out, s->stage + s->begun, (size_t)(LINE - s->begun) * sizeof(real));
        s->out += LINE - s->begun, s->begun = 0, i = LINE;
    }
    for (; i < whole; i += LANES, s->out += LANES) store_past(s->out, load(s->stage + i));
    UNROLL for (i = 0; i < LINE; i += LANES) store(s->stage + i, load(s->stage + whole + i));
    s->kept = filled - whole;
}

/* The last line; and none of them is written later than what follows. */
INLINE void end_stream(const stream *s)
{
    memcpy(s->out, s->stage + s->begun, (size_t)(s->kept - s->begun) * sizeof(real));
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

#endif
