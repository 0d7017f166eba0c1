// The softmax family: exp(x - largest) / sum of exp(x - largest), or x - largest - log(sum), line by line.
//
// Differences and sums are carried with what their rounding loses, as in pyconv/_core/kernels/softmax.kernel.c: so the
// error grows neither with the length nor with the distance to the largest element. Three passes, the largest, the sum,
// the result; the second and the third find most of what they read in the caches.
//
// -DALONG threads work on one line. -DROWS=1: its elements are neighbours in memory, and so are their threads, which
// read vectors where they can; 0: lines lie side by side, as do their threads.

#include "exponential.cuh"

#define THREADS 256
#define LINES (THREADS / ALONG)
#define VECTOR ((int)(16 / sizeof(element)))

#if DTYPE == FLOAT64
#define LEAST_NORMAL_EXP (-708.0)
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdLL
#else
#define LEAST_NORMAL_EXP (-87.25f)
#define SQRT_HALF_BITS 0x3f3504f3
#endif

struct Arguments {
    const element *x;
    element *out;  // may be x
    long long lines, length;
    long long inner;         // elements from one of a line to its next
    int negative, logarithm;
    int whole_vectors;       // lines begin and end on vectors
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

struct alignas(16) Vector {
    element part[VECTOR];
};

// exp(d), zero where that is below the normal numbers
static __device__ __forceinline__ scalar exp_of_difference(Two d)
{
    if (is_nan(d.high))
        return d.high;
    if (d.high < LEAST_NORMAL_EXP)
        return 0;
    Power e = exp_of_sum(d.high, d.low);
    return e.mantissa * power_of_two(e.exponent);
}

static __device__ __forceinline__ Two added(Two sum, Two more)
{
    Two both = exact_difference(sum.high, -more.high);
    both.low += sum.low + more.low;
    return both;
}

// log(sum) for sum >= 1
static __device__ __forceinline__ scalar log_of(Two sum)
{
    if (is_nan(sum.high))
        return sum.high;
    int n = (int)((bits_of(sum.high) - SQRT_HALF_BITS) >> MANTISSA_BITS);
    scalar scale = power_of_two(-n), m = sum.high * scale, f = m - scalar(1);
    scalar rest = multiply_add(scalar(n), LOG2_LOW, sum.low * scale * (scalar(1) / m));
    return multiply_add(scalar(n), LOG2_HIGH, multiply_add(f, log1p_by(f), rest));
}

// This thread's part of its line
struct Line {
    const Arguments &of;
    int along;
    long long begin, length;

    __device__ __forceinline__ explicit Line(const Arguments &a) : of(a)
    {
        int line = ROWS ? threadIdx.x / ALONG : threadIdx.x % LINES;
        along = ROWS ? threadIdx.x % ALONG : threadIdx.x / LINES;
        long long number = (long long)blockIdx.x * LINES + line;
        long long outer = number / a.inner;
        begin = outer * a.length * a.inner + (number - outer * a.inner);
        length = number < a.lines ? a.length : 0;
    }

    __device__ __forceinline__ scalar signed_of(element value) const
    {
        return of.negative ? negative_of(widen(value)) : widen(value);
    }

    // calls for every element, which becomes what `function` returns where `write` is true
    template <bool write, class Function> __device__ __forceinline__ void each(Function function) const
    {
        if (ROWS && of.whole_vectors) {
            for (long long i = along * VECTOR; i < length; i += ALONG * VECTOR) {
                Vector values = *(const Vector *)(of.x + begin + i);
#pragma unroll
                for (int j = 0; j < VECTOR; j++)
                    values.part[j] = narrow(function(signed_of(values.part[j])));
                if (write)
                    *(Vector *)(of.out + begin + i) = values;
            }
            return;
        }
        for (long long i = along; i < length; i += ALONG) {
            long long place = begin + i * of.inner;
            scalar value = function(signed_of(of.x[place]));
            if (write)
                of.out[place] = narrow(value);
        }
    }

    // what `combine` makes of all threads of the line, handed to each of them
    template <class Value, class Function>
    __device__ __forceinline__ Value together(Value *shared, Value own, Function combine) const
    {
        shared[threadIdx.x] = own;
        __syncthreads();
#pragma unroll
        for (int step = ALONG / 2; step; step /= 2) {
            if (along < step) {
                own = combine(own, shared[threadIdx.x + (ROWS ? step : step * LINES)]);
                shared[threadIdx.x] = own;
            }
            __syncthreads();
        }
        Value all = shared[ROWS ? threadIdx.x - along : threadIdx.x % LINES];
        __syncthreads();
        return all;
    }
};

#if DTYPE == FLOAT64 && ALONG <= 32 // with 64 registers none is spilled around divisions; left alone, with 40, some are
#define BOUNDS THREADS, 4
#else
#define BOUNDS THREADS
#endif

extern "C" __global__ void __launch_bounds__(BOUNDS) softmax(const Arguments a)
{
    __shared__ scalar tops[THREADS];
    __shared__ Two sums[THREADS];
    Line line(a);

    scalar top = -infinity();
    line.each<false>([&](scalar x) { return top = larger(x, top); });
    top = line.together(tops, top, [](scalar one, scalar other) { return larger(one, other); });

    Two sum = {0, 0};
    line.each<false>([&](scalar x) {
        sum = added(sum, {exp_of_difference(exact_difference(x, top)), 0});
        return x;
    });
    sum = line.together(sums, sum, [](Two one, Two other) { return added(one, other); });
    sum = exact_sum(sum.high, sum.low);

    if (a.logarithm) {
        scalar log_sum = log_of(sum);
        line.each<true>([&](scalar x) {
            Two d = exact_difference(x, top);
            return d.high - (log_sum - (d.high > -infinity() ? d.low : scalar(0)));
        });
    } else {
        scalar inverse = scalar(1) / sum.high;
        line.each<true>([&](scalar x) { return exp_of_difference(exact_difference(x, top)) * inverse; });
    }
}
