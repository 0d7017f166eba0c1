// The twins of mma.cuh: what a warp does together, and copies that land only when they are waited for.
//
// A thread that comes to an instruction of the whole warp leaves its operands and waits; when all 32 have come to the
// same one, the launcher computes it by PTX's tables of fragments. The destination of a copy is NaN until it lands.

namespace {

enum Kind {
    MMA_TF32, MMA_F16, MMA_BF16, LOAD_MATRICES, FROM_LANE,
    // of warpgroup.hpp
    WGMMA_TF32, WGMMA_F16, WGMMA_BF16, BEGIN_PRODUCTS, COMMIT_PRODUCTS, WAIT_FOR_PRODUCTS
};

struct Together {
    Kind kind;
    float *c;
    const unsigned *a, *b;
    unsigned *words;
    const void *row;
    int apart;
    Columns columns;
    bool added;
};

struct Pending {
    void *to;
    const void *from;
    int bytes;
    bool there;
    unsigned group;
};

struct Access {
    unsigned long address;
    unsigned bytes;
};

struct Lane {
    Together asked;
    std::vector<Pending> copies;
    unsigned groups;
    std::vector<Access> accesses;
    const Barrier *barrier;  // whose phase it waits for
    int parity;
};

std::vector<Lane> lanes;
bool counting;
unsigned long long conflicts;
char complaint[200];

void complain(const char *what)
{
    if (!*complaint)
        std::snprintf(complaint, sizeof complaint, "thread %u: %s", threadIdx.x, what);
}

void note_access(const void *place, unsigned bytes)
{
    if ((unsigned long)place % bytes)
        complain("an access to shared memory that is not aligned");
    if (counting)
        lanes[threadIdx.x].accesses.push_back({(unsigned long)place, bytes});
}

// the numbers of a word: one of TF32, whose low bits the hardware ignores, or two of 16 bits, the lower half first
int numbers_of(Kind kind, unsigned word, double (&numbers)[2])
{
    if (kind == MMA_TF32 || kind == WGMMA_TF32) {
        numbers[0] = __int_as_float((int)(word & ~0x1fffu));
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        unsigned short half = (unsigned short)(word >> (16 * i));
        numbers[i] = kind == MMA_F16 || kind == WGMMA_F16 ? float_of_half(half) : __int_as_float((int)((unsigned)half << 16));
    }
    return 2;
}

// towards zero, as tensor cores are known to add
float truncated(double value)
{
    float nearest = (float)value;
    return std::isfinite(nearest) && std::fabs((double)nearest) > std::fabs(value) ? std::nextafterf(nearest, 0) : nearest;
}

// What a warp holds of a product's rows: 16 of them, and `depth` numbers of each
struct Rows16 {
    double at[16][16];

    Rows16(Kind kind, const unsigned (&words)[32][4], int each)
    {
        for (int lane = 0; lane < 32; lane++)
            for (int i = 0; i < 4; i++) {
                double numbers[2];
                numbers_of(kind, words[lane][i], numbers);
                for (int n = 0; n < each; n++)
                    at[lane / 4 + i % 2 * 8][(lane % 4 + i / 2 * 4) * each + n] = numbers[n];
            }
    }
};

// c + a b for 16 rows and 8 columns, c[lane][i] as mma.cuh has them
void add_product(float *(&c)[32], const Rows16 &a, const double (&b)[16][8], int depth, bool added = true)
{
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            double sum = 0;
            for (int k = 0; k < depth; k++)
                sum += a.at[lane / 4 + i / 2 * 8][k] * b[k][lane % 4 * 2 + i % 2];
            c[lane][i] = truncated((added ? (double)c[lane][i] : 0.0) + sum);
        }
}

void multiply(Lane *warp, Kind kind)
{
    double b[16][8];
    unsigned words[32][4];
    float *c[32];
    int depth = kind == MMA_TF32 ? 8 : 16, each = depth / 8;
    for (int lane = 0; lane < 32; lane++) {
        double numbers[2];
        std::memcpy(words[lane], warp[lane].asked.a, sizeof words[lane]);
        c[lane] = warp[lane].asked.c;
        for (int i = 0; i < 2; i++) {
            numbers_of(kind, warp[lane].asked.b[i], numbers);
            for (int n = 0; n < each; n++)
                b[(lane % 4 + i * 4) * each + n][lane / 4] = numbers[n];
        }
    }
    add_product(c, Rows16(kind, words, each), b, depth);
}

bool perform_products(Lane *warp, Kind kind);
void land_flights_of(unsigned thread);

bool perform(Lane *warp)
{
    Kind kind = warp[0].asked.kind;
    for (int lane = 1; lane < 32; lane++)
        if (warp[lane].asked.kind != kind)
            return false;
    if (kind == FROM_LANE) {
        for (int lane = 0; lane < 32; lane++)
            std::memcpy(warp[lane].asked.words, warp[lane ^ warp[lane].asked.apart].asked.row, 4);
        return true;
    }
    if (kind >= WGMMA_TF32)
        return perform_products(warp, kind);
    if (kind != LOAD_MATRICES) {
        multiply(warp, kind);
        return true;
    }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++)
            std::memcpy(&warp[lane].asked.words[i], (const char *)warp[8 * i + lane / 4].asked.row + lane % 4 * 4, 4);
    return true;
}

// Extra turns that shared memory needs because words of one turn lie in the same of its 32 banks
void count_conflicts(unsigned threads)
{
    for (unsigned first = 0; first + 32 <= threads; first += 32) {
        size_t shortest = lanes[first].accesses.size();
        for (unsigned lane = 1; lane < 32; lane++)
            shortest = std::min(shortest, lanes[first + lane].accesses.size());
        for (size_t i = 0; i < shortest; i++) {
            unsigned bytes = lanes[first].accesses[i].bytes, together = 128 / bytes;
            for (unsigned begin = 0; begin < 32; begin += together) {
                unsigned long held[32];
                for (unsigned lane = begin; lane < begin + together; lane++) {
                    unsigned long word = lanes[first + lane].accesses[i].address / bytes, place = word % together;
                    bool again = false;
                    for (unsigned before = begin; before < lane && !again; before++)
                        again = held[before - begin] != word && held[before - begin] % together == place;
                    conflicts += again;
                    held[lane - begin] = word;
                }
            }
        }
    }
}

void begin_lanes(unsigned threads)
{
    if (counting)
        count_conflicts((unsigned)lanes.size());
    lanes.resize(threads);
    for (Lane &lane : lanes) {
        lane.copies.clear();
        lane.accesses.clear();
        lane.groups = 0;
    }
}

void together(const Together &asked)
{
    lanes[threadIdx.x].asked = asked;
    wait_as(Fiber::AT_WARP);
}

}  // namespace

void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    together({MMA_TF32, c, a, b, nullptr, nullptr, 0, 0, true});
}

void mma_f16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    together({MMA_F16, c, a, b, nullptr, nullptr, 0, 0, true});
}

void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    together({MMA_BF16, c, a, b, nullptr, nullptr, 0, 0, true});
}

void load_matrices(unsigned (&words)[4], const void *row)
{
    note_access(row, 16);
    together({LOAD_MATRICES, nullptr, nullptr, nullptr, words, row, 0, 0, true});
}

float from_lane_apart(float value, int apart)
{
    unsigned word;
    together({FROM_LANE, nullptr, nullptr, nullptr, &word, &value, apart, 0, true});
    return __int_as_float((int)word);
}

unsigned load_word(const unsigned *shared)
{
    note_access(shared, 4);
    return *shared;
}

void copy_bytes(void *to, const void *from, int bytes, bool there)
{
    note_access(to, bytes);
    if (there && (unsigned long)from % bytes)
        complain("an asynchronous copy from memory that is not aligned");
    std::memset(to, 0xff, bytes);
    Lane &lane = lanes[threadIdx.x];
    lane.copies.push_back({to, from, bytes, there, lane.groups});
}

void commit_copies()
{
    lanes[threadIdx.x].groups++;
}

void land_copies(unsigned pending)
{
    land_flights_of(threadIdx.x);
    Lane &lane = lanes[threadIdx.x];
    std::vector<Pending> later;
    for (const Pending &copy : lane.copies) {
        if (copy.group + pending >= lane.groups)
            later.push_back(copy);
        else if (copy.there)
            std::memcpy(copy.to, copy.from, copy.bytes);
        else
            std::memset(copy.to, 0, copy.bytes);
    }
    lane.copies.swap(later);
}

// Whether shared memory's accesses are watched from now on, and the conflicts that were counted until now
extern "C" __attribute__((visibility("default"))) unsigned long long pyconv_count_conflicts(int on)
{
    begin_lanes(0);
    unsigned long long found = conflicts;
    counting = on;
    conflicts = 0;
    return found;
}
