// The twins of wgmma.cuh: barriers with phases, copies that land some time later, and products of four warps that are done
// only when they are waited for.
//
// What has not landed is NaN, sums of a product that is on its way too; which of several copies lands first, and when, is
// drawn. Columns are addresses here, swizzled by their bits as the hardware does it.

namespace {

struct Phases {
    int arrivals, left;
    long long bytes;
    unsigned ended;
};

// A bulk copy, or a thread's copies that a barrier has to hear of
struct Flight {
    std::vector<Pending> copies;
    Barrier *barrier;
    int bytes;  // that it tells the barrier of; 0: it arrives
    unsigned thread;
};

struct Product {
    Kind kind;
    unsigned words[32][4];
    float *sums[32];
    std::vector<float> before;  // of the sums, or empty where another product on its way gives them
    Columns columns;
    bool added, committed;
};

std::map<const Barrier *, Phases> barriers;
std::vector<Flight> flights;
std::map<const Lane *, std::vector<Product>> products;  // of each warp, by its first lane
std::map<const Lane *, bool> begun;

bool is_product(Kind kind)
{
    return kind == WGMMA_TF32 || kind == WGMMA_F16 || kind == WGMMA_BF16;
}

void begin_phases()
{
    barriers.clear();
    flights.clear();
    products.clear();
    begun.clear();
}

Phases &phases_of(const Barrier *barrier)
{
    static Phases none;
    auto found = barriers.find(barrier);
    if (found != barriers.end())
        return found->second;
    complain("a barrier that was not begun");
    return none = {1, 1, 0, 0};
}

bool phase_ended(const Barrier *barrier, int parity)
{
    return (int)(phases_of(barrier).ended & 1) != parity;
}

void count_down(const Barrier *barrier, int arrivals, long long bytes)
{
    Phases &phases = phases_of(barrier);
    phases.left -= arrivals;
    phases.bytes -= bytes;
    if (phases.left < 0)
        complain("more threads arrive than a barrier waits for");
    if (phases.left == 0 && phases.bytes == 0) {
        phases.left = phases.arrivals;
        phases.ended++;
    }
}

void land(const Pending &copy)
{
    if (copy.there)
        std::memcpy(copy.to, copy.from, copy.bytes);
    else
        std::memset(copy.to, 0, copy.bytes);
}

void land(const Flight &flight)
{
    for (const Pending &copy : flight.copies)
        land(copy);
    count_down(flight.barrier, flight.bytes == 0, flight.bytes);
}

// Some of what is on its way, at least one if nothing else goes on; whether any
bool land_some(bool one_at_least)
{
    std::vector<Flight> later;
    std::vector<unsigned> order(flights.size());
    for (unsigned i = 0; i < order.size(); i++)
        order[i] = i;
    shuffle(order);
    bool landed = false;
    for (unsigned i : order)
        if (draw(2) || (one_at_least && !landed)) {
            land(flights[i]);
            landed = true;
        } else {
            later.push_back(flights[i]);
        }
    flights.swap(later);
    return landed;
}

// All of a thread's
void land_flights_of(unsigned thread)
{
    std::vector<Flight> later;
    for (const Flight &flight : flights)
        if (flight.thread == thread)
            land(flight);
        else
            later.push_back(flight);
    flights.swap(later);
}

unsigned word_of(Columns columns, int column, int k)
{
    unsigned long place = columns + column / 8 * 1024 + column % 8 * 128 + k * 4;
    unsigned word;
    std::memcpy(&word, (const void *)(place ^ (place >> 7 & 7) << 4), 4);
    return word;
}

void begin_product(Lane *warp, Kind kind)
{
    std::vector<Product> &pending = products[warp];
    Product product = {kind, {}, {}, {}, warp[0].asked.columns, warp[0].asked.added, false};
    if (!begun[warp])
        complain("a product without begin_products");
    bool chained = false;
    for (const Product &other : pending)
        chained = chained || other.sums[0] == warp[0].asked.c;
    for (int lane = 0; lane < 32; lane++) {
        const Together &asked = warp[lane].asked;
        if (asked.columns != product.columns || asked.added != product.added)
            complain("the lanes of a warp multiply by different columns");
        std::memcpy(product.words[lane], asked.a, sizeof product.words[lane]);
        product.sums[lane] = asked.c;
        if (!chained)
            product.before.insert(product.before.end(), asked.c, asked.c + 32);
        std::memset(asked.c, 0xff, 32 * sizeof(float));
    }
    pending.push_back(product);
}

void finish_product(const Product &product)
{
    int each = product.kind == WGMMA_TF32 ? 1 : 2;
    Rows16 a(product.kind, product.words, each);
    for (int lane = 0; lane < 32 && !product.before.empty(); lane++)
        std::memcpy(product.sums[lane], &product.before[lane * 32], 32 * sizeof(float));
    for (int j = 0; j < 8; j++) {
        double b[16][8], numbers[2];
        float *c[32];
        for (int column = 0; column < 8; column++)
            for (int k = 0; k < 8; k++) {
                numbers_of(product.kind, word_of(product.columns, j * 8 + column, k), numbers);
                for (int n = 0; n < each; n++)
                    b[k * each + n][column] = numbers[n];
            }
        for (int lane = 0; lane < 32; lane++)
            c[lane] = product.sums[lane] + 4 * j;
        add_product(c, a, b, 8 * each, product.added);
    }
}

bool perform_products(Lane *warp, Kind kind)
{
    std::vector<Product> &pending = products[warp], left;
    if (is_product(kind)) {
        begin_product(warp, kind);
    } else if (kind == BEGIN_PRODUCTS) {
        begun[warp] = true;
    } else if (kind == COMMIT_PRODUCTS) {
        for (Product &product : pending)
            product.committed = true;
        begun[warp] = false;
    } else {
        for (const Product &product : pending)
            if (product.committed)
                finish_product(product);
            else
                left.push_back(product);
        pending.swap(left);
    }
    return true;
}

void product_together(Kind kind, float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added)
{
    together({kind, c[0], a, nullptr, nullptr, nullptr, 0, b, added});
}

void warp_together(Kind kind)
{
    together({kind, nullptr, nullptr, nullptr, nullptr, nullptr, 0, 0, true});
}

}  // namespace

void begin_barrier(Barrier *barrier, int arrivals)
{
    if ((unsigned long)barrier % sizeof(Barrier))
        complain("a barrier that is not aligned");
    barriers[barrier] = {arrivals, arrivals, 0, 0};
}

void publish_shared() {}

void arrive(Barrier *barrier)
{
    count_down(barrier, 1, 0);
}

void arrive_expecting(Barrier *barrier, int bytes)
{
    phases_of(barrier).bytes += bytes;
    arrive(barrier);
}

void arrive_after_copies(Barrier *barrier)
{
    Lane &lane = lanes[threadIdx.x];
    flights.push_back({lane.copies, barrier, 0, threadIdx.x});
    lane.copies.clear();
}

bool has_ended(Barrier *barrier, int parity)
{
    if (!phase_ended(barrier, parity)) {
        lanes[threadIdx.x].barrier = barrier;
        lanes[threadIdx.x].parity = parity;
        wait_as(Fiber::AT_PHASE);
    }
    return true;
}

void copy_bulk(void *to, const void *from, int bytes, Barrier *barrier)
{
    if (((unsigned long)to | (unsigned long)from | (unsigned long)bytes) % 16)
        complain("a bulk copy that is not aligned");
    std::memset(to, 0xff, bytes);
    flights.push_back({{{to, from, bytes, true, 0}}, barrier, bytes, threadIdx.x});
}

Columns columns_at(const void *panel)
{
    if ((unsigned long)panel % 1024)
        complain("columns that do not begin at a multiple of 1024 bytes");
    return (Columns)panel;
}

Columns words_of(Columns columns, int part)
{
    return columns + part * 32;
}

void begin_products()
{
    warp_together(BEGIN_PRODUCTS);
}

void commit_products()
{
    warp_together(COMMIT_PRODUCTS);
}

void wait_for_products()
{
    warp_together(WAIT_FOR_PRODUCTS);
}

void wgmma_tf32(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added)
{
    product_together(WGMMA_TF32, c, a, b, added);
}

void wgmma_f16(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added)
{
    product_together(WGMMA_F16, c, a, b, added);
}

void wgmma_bf16(float (&c)[8][4], const unsigned (&a)[4], Columns b, bool added)
{
    product_together(WGMMA_BF16, c, a, b, added);
}
