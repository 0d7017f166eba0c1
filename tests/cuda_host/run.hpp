// Runs a grid of the kernel in front of it: ENTRY, over `struct Arguments`.
//
// Blocks run one after another and threads in turns, both in an order that a seed shuffles; shared memory begins every
// block as NaN. An access outside of mapped memory (tensors lie between guard pages) ends the run with a message
// instead of the process.

extern "C" char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));

namespace {

enum { STACK = 64 * 1024 };

struct Fiber {
    ucontext_t context;
    char *stack;
    enum State { READY, AT_BARRIER, AT_WARP, AT_PHASE, DONE } state;
};

std::vector<Fiber> fibers;
ucontext_t launcher;
Fiber *running;
const Arguments *arguments;
unsigned long long noise;
sigjmp_buf fault;
volatile unsigned long fault_address;
int any_so_far, any_of_block;  // of __syncthreads_or

unsigned draw(unsigned below)
{
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    return (unsigned)(noise % below);
}

void shuffle(std::vector<unsigned> &order)
{
    for (unsigned i = (unsigned)order.size(); i > 1; i--)
        std::swap(order[i - 1], order[draw(i)]);
}

#if defined(__SANITIZE_ADDRESS__)
const void *launcher_stack;
size_t launcher_size;
#endif

void to_launcher(bool done)
{
#if defined(__SANITIZE_ADDRESS__)
    void *kept = nullptr;
    __sanitizer_start_switch_fiber(done ? nullptr : &kept, launcher_stack, launcher_size);
#else
    (void)done;
#endif
    swapcontext(&running->context, &launcher);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(kept, &launcher_stack, &launcher_size);
#endif
}

void thread_main()
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &launcher_stack, &launcher_size);
#endif
    ENTRY(*arguments);
    running->state = Fiber::DONE;
    to_launcher(true);
}

void resume(Fiber &fiber, unsigned index)
{
    running = &fiber;
    threadIdx = {index, 0, 0};
#if defined(__SANITIZE_ADDRESS__)
    void *kept = nullptr;
    __sanitizer_start_switch_fiber(&kept, fiber.stack, STACK);
#endif
    swapcontext(&launcher, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(kept, nullptr, nullptr);
#endif
}

void wait_as(Fiber::State state)
{
    unsigned index = threadIdx.x;
    running->state = state;
    to_launcher(false);
    threadIdx.x = index;
}

}  // namespace

#include "warp.hpp"
#include "warpgroup.hpp"

namespace {

__attribute__((no_sanitize_address)) void poison()
{
    volatile char *end = __stop_cuda_shared;
    for (volatile char *byte = __start_cuda_shared; byte && byte < end; byte++)
        *byte = (char)0xff;
}

// on its own: what getcontext returns to must hold no variable that changes
__attribute__((noinline)) void begin(Fiber &fiber)
{
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, thread_main, 0);
    fiber.state = Fiber::READY;
}

// Has whole warps, or warpgroups, that wait together go on, after doing what they wait for; false if the lanes of one
// differ
bool go_on_together(unsigned count)
{
    for (unsigned first = 0; first + 32 <= count; first += 32) {
        if (fibers[first].state != Fiber::AT_WARP)
            continue;
        unsigned size = is_product(lanes[first].asked.kind) ? 128 : 32;
        if (first % size || first + size > count)
            continue;
        bool all = true;
        for (unsigned i = first; i < first + size; i++)
            all = all && fibers[i].state == Fiber::AT_WARP;
        if (!all)
            continue;
        for (unsigned warp = first; warp < first + size; warp += 32)
            if (lanes[warp].asked.kind != lanes[first].asked.kind || !perform(&lanes[warp]))
                return false;
        for (unsigned i = first; i < first + size; i++)
            fibers[i].state = Fiber::READY;
    }
    return true;
}

// Has those go on whose phase has ended
void go_on_after_phases()
{
    for (unsigned i = 0; i < fibers.size(); i++)
        if (fibers[i].state == Fiber::AT_PHASE && phase_ended(lanes[i].barrier, lanes[i].parity))
            fibers[i].state = Fiber::READY;
}

unsigned threads_in(Fiber::State state)
{
    unsigned found = 0;
    for (const Fiber &fiber : fibers)
        found += fiber.state == state;
    return found;
}

bool run_block(unsigned block, std::vector<unsigned> &order, char *message, size_t length)
{
    unsigned count = blockDim.x;
    blockIdx = {block, 0, 0};
    poison();
    begin_lanes(count);
    begin_phases();
    any_so_far = 0;
    for (Fiber &fiber : fibers)
        begin(fiber);
    for (;;) {
        shuffle(order);
        for (unsigned i : order)
            if (fibers[i].state == Fiber::READY)
                resume(fibers[i], i);
        bool returned = threads_in(Fiber::DONE) == count;
        if (returned && !flights.empty())
            complain("the block has returned while copies are on their way");
        bool alike = go_on_together(count), landed = land_some(threads_in(Fiber::READY) == 0);
        go_on_after_phases();
        if (*complaint) {
            std::snprintf(message, length, "block %u, %s", block, complaint);
            return false;
        }
        if (returned)
            return true;
        if (alike && (threads_in(Fiber::READY) || landed))
            continue;
        unsigned done = threads_in(Fiber::DONE), waiting = threads_in(Fiber::AT_BARRIER);
        if (unsigned stuck = threads_in(Fiber::AT_PHASE)) {
            std::snprintf(message, length, "block %u: %u threads wait for the end of a phase that does not come", block,
                          stuck);
            return false;
        }
        if (!alike || threads_in(Fiber::AT_WARP)) {
            std::snprintf(message, length, "block %u: not all threads of a warp come to the same instruction", block);
            return false;
        }
        if (done) {
            std::snprintf(message, length, "block %u: %u threads wait at __syncthreads, %u have returned", block,
                          waiting, done);
            return false;
        }
        any_of_block = any_so_far;
        any_so_far = 0;
        for (Fiber &fiber : fibers)
            fiber.state = Fiber::READY;
    }
}

// not inlined, so that none of its variables lives where siglongjmp returns to
__attribute__((noinline)) bool run_blocks(unsigned grid, unsigned block, char *message, size_t length)
{
    std::vector<unsigned> blocks(grid), order(block);
    for (unsigned i = 0; i < grid; i++)
        blocks[i] = i;
    for (unsigned i = 0; i < block; i++)
        order[i] = i;
    shuffle(blocks);
    for (unsigned number : blocks)
        if (!run_block(number, order, message, length))
            return false;
    return true;
}

void on_fault(int, siginfo_t *info, void *)
{
    fault_address = (unsigned long)info->si_addr;
    siglongjmp(fault, 1);
}

bool reserve(unsigned count)
{
    while (fibers.size() > count) {
        munmap(fibers.back().stack, STACK);
        fibers.pop_back();
    }
    while (fibers.size() < count) {
        void *stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED)
            return false;
        fibers.emplace_back();
        fibers.back().stack = (char *)stack;
    }
    return true;
}

}  // namespace

static void __syncthreads()
{
    wait_as(Fiber::AT_BARRIER);
}

static int __syncthreads_or(int predicate)
{
    any_so_far |= predicate != 0;
    wait_as(Fiber::AT_BARRIER);
    return any_of_block;
}

// 0, or 1 with what went wrong in `message`
extern "C" int pyconv_run(unsigned grid, unsigned block, const void *packed, size_t bytes, unsigned long long seed,
                          char *message, size_t length)
{
    static Arguments copy;
    if (bytes != sizeof copy) {
        std::snprintf(message, length, "the arguments take %zu bytes, got %zu", sizeof copy, bytes);
        return 1;
    }
    std::memcpy((void *)&copy, packed, bytes);
    arguments = &copy;
    noise = seed * 2 + 1;
    *complaint = 0;
    if (!reserve(block)) {
        std::snprintf(message, length, "no memory for %u stacks", block);
        return 1;
    }
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    const unsigned before = flush_subnormals(DTYPE != FLOAT64);
    bool right;
#if !defined(__SANITIZE_ADDRESS__)
    static char handler_stack[64 * 1024];
    stack_t other = {}, old_stack;
    other.ss_sp = handler_stack;
    other.ss_size = sizeof handler_stack;
    sigaltstack(&other, &old_stack);
    struct sigaction action = {}, old_segv, old_bus;
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGBUS, &action, &old_bus);
    if (sigsetjmp(fault, 1)) {
        std::snprintf(message, length, "block %u, thread %u: access to %#lx, outside of every array", blockIdx.x,
                      threadIdx.x, (unsigned long)fault_address);
        right = false;
    } else
#endif
        right = run_blocks(grid, block, message, length);
#if !defined(__SANITIZE_ADDRESS__)
    sigaction(SIGSEGV, &old_segv, nullptr);
    sigaction(SIGBUS, &old_bus, nullptr);
    sigaltstack(&old_stack, nullptr);
#endif
    restore_subnormals(before);
    return right ? 0 : 1;
}
