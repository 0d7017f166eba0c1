/* Activations over a contiguous run of elements; out may be x. Head and tail go through a full vector too, so that every
 * element is computed alike. The head is what lies before the first whole vector of memory in out: vectors that go over
 * the ends of cache lines cost a tenth of the bandwidth. */
#include "activation.h"

enum { PARAMETERS = 2, AT_ONCE = 4 };
enum { LINE = 64 / sizeof(real), AHEAD = 16 * LINE }; /* elements of a cache line, and from use to fetching */

/* Elements before the first of out that begins a vector of memory, at most count */
static int64_t head_of(const real *out, int64_t count)
{
    const int64_t head = (int64_t)(-(uintptr_t)out % VECTOR_BYTES / sizeof(real));
    return head < count ? head : count;
}

#define RUN(run, name, SEVERAL, fetches)                                                                            \
    static void run##_##name(const void *x_, void *out_, int64_t count, const double *parameters)                   \
    {                                                                                                               \
        const real *x = x_;                                                                                         \
        real *out = out_;                                                                                           \
        const vec p[PARAMETERS] = {splat((real)parameters[0]), splat((real)parameters[1])};                         \
        int64_t i = head_of(out, count);                                                                            \
        if (i) store_part(out, name##_of(load_part(x, 0, i), p), i);                                                \
        for (; i + AT_ONCE * LANES <= count; i += AT_ONCE * LANES) {                                                \
            vec v[AT_ONCE];                                                                                         \
            for (int k = 0; fetches && k < AT_ONCE * LANES; k += LINE) __builtin_prefetch(x + i + AHEAD + k);       \
            UNROLL for (int k = 0; k < AT_ONCE; k++) v[k] = load(x + i + k * LANES);                                \
            SEVERAL(name)                                                                                           \
            UNROLL for (int k = 0; k < AT_ONCE; k++) store(out + i + k * LANES, v[k]);                              \
        }                                                                                                           \
        for (; i + LANES <= count; i += LANES) store(out + i, name##_of(load(x + i), p));                           \
        if (i < count) store_part(out + i, name##_of(load_part(x + i, 0, count - i), p), count - i);                \
    }

#define EACH(name) UNROLL for (int k = 0; k < AT_ONCE; k++) v[k] = name##_of(v[k], p);

/* Without a branch for each of them the compiler lets their chains of operations run side by side. */
#define EACH_QUICK(name)                                                                                            \
    mask rare = rare_##name(v[0]);                                                                                  \
    UNROLL for (int k = 1; k < AT_ONCE; k++) rare |= rare_##name(v[k]);                                             \
    if (__builtin_expect(any(rare), 0)) {                                                                           \
        for (int k = 0; k < AT_ONCE; k++) v[k] = name##_of(v[k], p);                                                \
    } else {                                                                                                        \
        UNROLL for (int k = 0; k < AT_ONCE; k++) v[k] = quick_##name(v[k], p);                                      \
    }

#define ACTIVATION(name) RUN(run, name, EACH, 0)
#define QUICK_ACTIVATION(name) RUN(run, name, EACH_QUICK, 0)
#define LIGHT_ACTIVATION(name) ACTIVATION(name) RUN(fetch, name, EACH, 1)
#define QUICK_LIGHT_ACTIVATION(name) QUICK_ACTIVATION(name) RUN(fetch, name, EACH_QUICK, 1)
PC_ACTIVATIONS(ACTIVATION, QUICK_ACTIVATION)
PC_LIGHT_ACTIVATIONS(LIGHT_ACTIVATION, QUICK_LIGHT_ACTIVATION)

#define ENTRY(name) {#name, run_##name, run_##name},
#define LIGHT_ENTRY(name) {#name, run_##name, fetch_##name},
const pc_activation PC_NAME(activations)[] = {
    PC_ACTIVATIONS(ENTRY, ENTRY) PC_LIGHT_ACTIVATIONS(LIGHT_ENTRY, LIGHT_ENTRY){0, 0, 0},
};

/* out += x, as NumPy adds */
void PC_NAME(add)(const void *x_, void *out_, int64_t count)
{
    const real *x = x_;
    real *out = out_;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) store(out + i, load(out + i) + load(x + i));
    if (i < count) store_part(out + i, load_part(out + i, 0, count - i) + load_part(x + i, 0, count - i), count - i);
}

/* A weight for each element: max(x, 0) + weight min(x, 0). */
void PC_NAME(prelu)(const void *x_, const void *weight_, void *out_, int64_t count)
{
    const real *x = x_, *weight = weight_;
    real *out = out_;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const vec p = load(weight + i);
        store(out + i, leaky_relu_of(load(x + i), &p));
    }
    if (i < count) {
        const vec p = load_part(weight + i, 0, count - i);
        store_part(out + i, leaky_relu_of(load_part(x + i, 0, count - i), &p), count - i);
    }
}

/* x * sigmoid(gate) */
void PC_NAME(glu)(const void *x_, const void *gate_, void *out_, int64_t count)
{
    const real *x = x_, *gate = gate_;
    real *out = out_;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) store(out + i, load(x + i) * sigmoid_of(load(gate + i), 0));
    if (i < count) {
        store_part(out + i, load_part(x + i, 0, count - i) * sigmoid_of(load_part(gate + i, 0, count - i), 0), count - i);
    }
}
