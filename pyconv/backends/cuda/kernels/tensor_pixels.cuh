// How pixels come into shared memory: one Pixels for each -DFETCH. `issue` sends copies for a stage on their way or, where
// they are HELD in registers, loads; `settle` stores what is held. `stores`: all is stored, and no copy is on its way.

#if FETCH == TAPS

struct Pixels {
    enum { HELD = 0, AT_ONCE = FETCHERS / BLOCK_N, EACH = STEP / AT_ONCE };
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
    __device__ __forceinline__ bool stores() const { return false; }
};

#elif FETCH == MIXED

struct Pixels {
    enum { HELD = 0, AT_ONCE = FETCHERS / BLOCK_N, EACH = STEP / AT_ONCE };
    const Arguments &of;
    Window window;
    int begin;

    __device__ __forceinline__ Pixels(const Arguments &a, int group, long long first, int k) : of(a), begin(k)
    {
        window.open(a, group, first + threadIdx.x % BLOCK_N);
    }

    __device__ __forceinline__ void issue(unsigned *panel)
    {
#pragma unroll 8
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
    __device__ __forceinline__ bool stores() const { return false; }
};

#elif FETCH == PLANES

struct Pixels {
    enum { HELD = 0, ROW = BLOCK_N / 4, AT_ONCE = FETCHERS / ROW, EACH = STEP / AT_ONCE };
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
    __device__ __forceinline__ bool stores() const { return false; }
};

#elif FETCH == LAST

struct Pixels {
    enum { HELD = 0, AT_ONCE = FETCHERS / CHUNKS, EACH = BLOCK_N / AT_ONCE };
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
    __device__ __forceinline__ bool stores() const { return DTYPE != FLOAT32 && !of.aligned; }
};

#else

struct alignas(16) Chunk {
    unsigned words[4];
};

struct Pixels {
    enum { HELD = 1, AT_ONCE = FETCHERS / BLOCK_N, EACH = CHUNKS / AT_ONCE };
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

    __device__ __forceinline__ bool stores() const { return true; }
};

#endif
