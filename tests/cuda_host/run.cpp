// Runs a grid of the kernel that it is linked to, `pyconv_kernel` of entry.hpp; and the twins of what it calls.
//
// Blocks run one after another and threads in turns, both in an order that a seed shuffles; shared memory begins every
// block as NaN. An access outside of mapped memory (tensors lie between guard pages) ends the run with a message
// instead of the process.

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#include "host.hpp"

#include "entry.hpp"

Triple threadIdx, blockIdx, blockDim, gridDim;

// -ftz=true, where the processor can do it: subnormal float results and operands count as zero
static unsigned flush_subnormals(bool flush)
{
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(flush ? before | 0x8040u : before & ~0x8040u);
    return before;
#else
    (void)flush;
    return 0;
#endif
}

static void restore_subnormals(unsigned before)
{
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
}

// The twins of the PTX in common.cuh
float multiply_unflushed(float a, float b)
{
    unsigned before = flush_subnormals(false);
    volatile float left = a, right = b;
    volatile float product = left * right;
    restore_subnormals(before);
    return product;
}

float add_unflushed(float a, float b)
{
    unsigned before = flush_subnormals(false);
    volatile float left = a, right = b;
    volatile float sum = left + right;
    restore_subnormals(before);
    return sum;
}

float multiply_add_unflushed(float a, float b, float c)
{
    unsigned before = flush_subnormals(false);
    volatile float left = a, right = b, more = c;
    volatile float sum = std::fmaf(left, right, more);
    restore_subnormals(before);
    return sum;
}

float float_of_half(unsigned short half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    unsigned sign = (unsigned)(half >> 15) << 31;
    if (exponent == 31)
        return __int_as_float((int)(sign | 0x7f800000u | (unsigned)fraction << 13));
    double size = exponent ? std::ldexp(1024.0 + fraction, exponent - 25) : std::ldexp((double)fraction, -24);
    return (float)(sign ? -size : size);
}

unsigned short half_of_float(float value)
{
    unsigned bits = (unsigned)__float_as_int(value);
    unsigned short sign = (unsigned short)(bits >> 16 & 0x8000u);
    unsigned magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (unsigned short)(sign | 0x7fffu);
    double size = std::fabs((double)value);
    if (size >= 65520.0)
        return (unsigned short)(sign | 0x7c00u);
    // numbers below the smallest normal one are whole multiples of 2**-24, others of 2**(exponent - 10)
    int exponent = size < std::ldexp(1.0, -14) ? -14 : std::ilogb(size);
    double units = std::nearbyint(std::ldexp(size, 10 - exponent));
    return (unsigned short)(sign | (unsigned)((exponent + 14) * 1024 + (int)units));
}

extern "C" char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));

namespace {

enum { STACK = 64 * 1024 };

struct Fiber {
    ucontext_t context;
    jmp_buf place;
    char *stack;
    bool begun;  // then it goes on at its place
    enum State { READY, AT_BARRIER, AT_WARP, AT_PHASE, DONE } state;
};

std::vector<Fiber> fibers;
ucontext_t launcher;
jmp_buf launcher_place;
Fiber *running;
const void *arguments;
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

// From one stack to another. swapcontext asks the kernel for signal masks each time, so that only a fiber's first turn,
// which needs its stack made, goes by it; the sanitizer knows no jump between stacks. C leaves a longjmp to another stack
// undefined: it works where it only restores registers. It does not with _FORTIFY_SOURCE, which stand_in.py turns off,
// nor where the processor keeps a shadow stack that is in use (x86's user shadow stacks, off unless asked for).
void change(ucontext_t &from, jmp_buf &from_place, const ucontext_t &to, jmp_buf &to_place, bool first)
{
#if defined(__SANITIZE_ADDRESS__)
    (void)from_place, (void)to_place, (void)first;
    swapcontext(&from, &to);
#else
    (void)from;
    if (_setjmp(from_place) == 0) {
        if (first)
            setcontext(&to);
        else
            _longjmp(to_place, 1);
    }
#endif
}

void to_launcher()
{
#if defined(__SANITIZE_ADDRESS__)
    void *kept = nullptr;
    __sanitizer_start_switch_fiber(&kept, launcher_stack, launcher_size);
#endif
    change(running->context, running->place, launcher, launcher_place, false);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(kept, &launcher_stack, &launcher_size);
#endif
}

// A thread of every block: when one has ended, the same stack serves the next
void thread_main()
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &launcher_stack, &launcher_size);
#endif
    for (;;) {
        pyconv_kernel.call(arguments);
        running->state = Fiber::DONE;
        to_launcher();
    }
}

void resume(Fiber &fiber, unsigned index)
{
    running = &fiber;
    threadIdx = {index, 0, 0};
    bool first = !fiber.begun;
    fiber.begun = true;
#if defined(__SANITIZE_ADDRESS__)
    void *kept = nullptr;
    __sanitizer_start_switch_fiber(&kept, fiber.stack, STACK);
#endif
    change(launcher, launcher_place, fiber.context, fiber.place, first);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(kept, nullptr, nullptr);
#endif
}

void wait_as(Fiber::State state)
{
    unsigned index = threadIdx.x;
    running->state = state;
    to_launcher();
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
__attribute__((noinline)) void make_context(Fiber &fiber)
{
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, thread_main, 0);
    fiber.begun = false;
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
        fiber.state = Fiber::READY;
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

void __syncthreads()
{
    wait_as(Fiber::AT_BARRIER);
}

int __syncthreads_or(int predicate)
{
    any_so_far |= predicate != 0;
    wait_as(Fiber::AT_BARRIER);
    return any_of_block;
}

// 0, or 1 with what went wrong in `message`
extern "C" __attribute__((visibility("default"))) int pyconv_run(unsigned grid, unsigned block, const void *packed,
                                                                 size_t bytes, unsigned long long seed, char *message,
                                                                 size_t length)
{
    if (bytes != pyconv_kernel.bytes) {
        std::snprintf(message, length, "the arguments take %zu bytes, got %zu", pyconv_kernel.bytes, bytes);
        return 1;
    }
    arguments = packed;
    noise = seed * 2 + 1;
    *complaint = 0;
    if (!reserve(block)) {
        std::snprintf(message, length, "no memory for %u stacks", block);
        return 1;
    }
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    const unsigned before = flush_subnormals(pyconv_kernel.flushes);  // which contexts take with them
    for (Fiber &fiber : fibers)
        make_context(fiber);
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
