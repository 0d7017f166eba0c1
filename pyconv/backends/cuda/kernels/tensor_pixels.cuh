// How pixels come into shared memory: one Pixels for each -DFETCH. `issue` sends copies for a stage on their way, and
// `settle` stores what was fetched into registers. The sum runs tap by tap over `in_padded` channels.

struct Output {
    void *out;                             // elements, or with several parts of the sum floats
    const element *bias;                   // or null
    Parameter parameters[2];               // of the activation
    long long image, channel, pixel;       // strides of out
    long long part;                        // floats of a part
    long long pixels;                      // of all images together
    long long plane;                       // of one output channel
    int channels;                          // of a group
    int groups;
    int tiles_m;
    int parts;                             // of the sum, which other blocks compute
    int pairs;                             // two neighbouring pixels can be written at once
};

struct Arguments {
    const element *x;
    const element *weights;  // [group][padded channel][element of the sum]
    Output output;
    long long x_image, x_channel, x_row, x_column;  // strides of x, in elements
    int in_channels;                                // of a group
    int in_height, in_width;
    int out_width;
    int kernel_height, kernel_width;
    int stride_height, stride_width;
    int dilation_height, dilation_width;
    int top, left;
    int steps;          // of the whole sum
    int part_steps;     // of a part
    int padded_channels;
    int in_padded;
    int aligned;        // 16 bytes can be copied at once
    Divisor by_padded, by_kernel_width;
};
static_assert(sizeof(Arguments) == ARGUMENTS_BYTES, "the struct in Python is another one");

// What an output pixel sees
struct Window {
    enum { NOWHERE = -2147483647 - 1 };  // a top from which no row of the window is in the image
    const element *image;
    int top, left;

    __device__ __forceinline__ void open(const Arguments &a, int group, long long pixel)
    {
        bool wanted = pixel < a.output.pixels;
        if (!wanted)
            pixel = 0;
        long long which = pixel / a.output.plane;
        int place = (int)(pixel - which * a.output.plane);
        int y = place / a.out_width, x = place - y * a.out_width;
        top = wanted ? y * a.stride_height - a.top : NOWHERE;
        left = x * a.stride_width - a.left;
        image = a.x + which * a.x_image + (long long)group * a.in_channels * a.x_channel;
    }

    // whether the pixel seen at (row, column) of the window lies in the image
    __device__ __forceinline__ bool sees(const Arguments &a, int row, int column) const
    {
        return (unsigned)(top + row) < (unsigned)a.in_height && (unsigned)(left + column) < (unsigned)a.in_width;
    }

    __device__ __forceinline__ const element *at(const Arguments &a, int row, int column, int channel) const
    {
        return image + ((top + row) * (int)a.x_row + (left + column) * (int)a.x_column + channel * (int)a.x_channel);
    }
};

// Where row `k` of the sum looks: a channel, and rows and columns from the window's corner
struct Term {
    int channel, row, column;
    bool real;

    __device__ __forceinline__ Term(const Arguments &a, int k)
    {
        int tap = divide(k, a.by_padded), r = divide(tap, a.by_kernel_width);
        channel = k - tap * a.in_padded;
        row = r * a.dilation_height;
        column = (tap - r * a.kernel_width) * a.dilation_width;
        real = r < a.kernel_height && channel < a.in_channels;
    }
};

#if FETCH == TAPS

struct Pixels {
    enum { AT_ONCE = THREADS / BLOCK_N, EACH = STEP / AT_ONCE };
    const Arguments &of;
    Window window;
    int begin, tap_row, tap_column;

    __device__ __forceinline__ Pixels(const Arguments &a, int group, long long first, int k) : of(a)
    {
        window.open(a, group, first + threadIdx.x % BLOCK_N);
        int tap = k / a.in_padded;
        begin = k - tap * a.in_padded;
        tap_row = tap / a.kernel_width;
        tap_column = tap - tap_row * a.kernel_width;
    }

    __device__ __forceinline__ void issue(unsigned *panel)
    {
        int y = tap_row * of.dilation_height, x = tap_column * of.dilation_width, row = threadIdx.x / BLOCK_N;
        bool there = window.sees(of, y, x);
        const element *from = there ? window.at(of, y, x, begin + row) : of.x;
        long long stride = AT_ONCE * of.x_channel;
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            bool real = there && begin + row + i * AT_ONCE < of.in_channels;
            copy_async<4>(panel + pixel_place(row + i * AT_ONCE, threadIdx.x % BLOCK_N), real ? from : of.x, real);
            from += stride;
        }
        begin += STEP;
        if (begin == of.in_padded) {
            begin = 0;
            if (++tap_column == of.kernel_width) {
                tap_column = 0;
                tap_row++;
            }
        }
    }

    __device__ __forceinline__ void settle(unsigned *) {}
};

#elif FETCH == MIXED

struct Pixels {
    enum { AT_ONCE = THREADS / BLOCK_N, EACH = STEP / AT_ONCE };
    const Arguments &of;
    Window window;
    int begin;

    __device__ __forceinline__ Pixels(const Arguments &a, int group, long long first, int k) : of(a), begin(k)
    {
        window.open(a, group, first + threadIdx.x % BLOCK_N);
    }

    __device__ __forceinline__ void issue(unsigned *panel)
    {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int row = threadIdx.x / BLOCK_N + i * AT_ONCE;
            Term term(of, begin + row);
            bool real = term.real && window.sees(of, term.row, term.column);
            copy_async<4>(panel + pixel_place(row, threadIdx.x % BLOCK_N),
                          real ? window.at(of, term.row, term.column, term.channel) : of.x, real);
        }
        begin += STEP;
    }

    __device__ __forceinline__ void settle(unsigned *) {}
};

#elif FETCH == PLANES

struct Pixels {
    enum { ROW = BLOCK_N / 4, AT_ONCE = THREADS / ROW, EACH = STEP / AT_ONCE };
    const Arguments &of;
    Window window;
    int begin;

    __device__ __forceinline__ Pixels(const Arguments &a, int group, long long first, int k) : of(a), begin(k)
    {
        window.open(a, group, first + threadIdx.x % ROW * 4);
    }

    __device__ __forceinline__ void issue(unsigned *panel)
    {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int row = threadIdx.x / ROW + i * AT_ONCE;
            bool real = window.top >= 0 && begin + row < of.in_channels;
            const element *from = real ? window.at(of, 0, 0, begin + row) : of.x;
            unsigned *to = panel + pixel_place(row, threadIdx.x % ROW * 4);
            if (of.aligned)
                copy_async<16>(to, from, real);
            else
#pragma unroll
                for (int j = 0; j < 4; j++)
                    copy_async<4>(to + j, real ? from + j : of.x, real);
        }
        begin += STEP;
    }

    __device__ __forceinline__ void settle(unsigned *) {}
};

#elif FETCH == LAST

struct Pixels {
    enum { AT_ONCE = THREADS / CHUNKS, EACH = BLOCK_N / AT_ONCE };
    const Arguments &of;
    Window windows[EACH];
    int begin;

    __device__ __forceinline__ Pixels(const Arguments &a, int group, long long first, int k)
        : of(a), begin(k + threadIdx.x % CHUNKS * CHUNK)
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
            windows[i].open(a, group, first + threadIdx.x / CHUNKS + i * AT_ONCE);
    }

    __device__ __forceinline__ void issue(unsigned *panel)
    {
        Term term(of, begin);
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            bool real = term.real && windows[i].sees(of, term.row, term.column);
            const element *from = real ? windows[i].at(of, term.row, term.column, term.channel) : of.x;
            unsigned *to = panel + chunk_place(threadIdx.x / CHUNKS + i * AT_ONCE, threadIdx.x % CHUNKS);
            if (of.aligned)
                copy_async<16>(to, from, real);
            else
#pragma unroll
                for (int j = 0; j < 4; j++) {
#if DTYPE == FLOAT32
                    copy_async<4>(to + j, real ? from + j : of.x, real);
#else
                    to[j] = real ? from[2 * j] | (unsigned)from[2 * j + 1] << 16 : 0;
#endif
                }
        }
        begin += STEP;
    }

    __device__ __forceinline__ void settle(unsigned *) {}
};

#else

struct alignas(16) Chunk {
    unsigned words[4];
};

struct Pixels {
    enum { AT_ONCE = THREADS / BLOCK_N, EACH = CHUNKS / AT_ONCE };
    const Arguments &of;
    Window window;
    int begin;
    Chunk held[EACH];

    __device__ __forceinline__ Pixels(const Arguments &a, int group, long long first, int k) : of(a), begin(k)
    {
        window.open(a, group, first + threadIdx.x % BLOCK_N);
    }

    __device__ __forceinline__ void issue(unsigned *)
    {
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            Term term(of, begin + (threadIdx.x / BLOCK_N + i * AT_ONCE) * CHUNK);
            bool real = term.real && window.sees(of, term.row, term.column);
            const element *from = real ? window.at(of, term.row, term.column, term.channel) : of.x;
            int left = of.in_channels - term.channel;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                unsigned low = real && 2 * j < left ? from[2 * j * of.x_channel] : 0;
                unsigned high = real && 2 * j + 1 < left ? from[(2 * j + 1) * of.x_channel] : 0;
                held[i].words[j] = low | high << 16;
            }
        }
        begin += STEP;
    }

    __device__ __forceinline__ void settle(unsigned *panel)
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
            *(Chunk *)(panel + chunk_place(threadIdx.x % BLOCK_N, threadIdx.x / BLOCK_N + i * AT_ONCE)) = held[i];
    }
};

#endif
