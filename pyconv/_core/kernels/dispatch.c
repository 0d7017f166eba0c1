/* Which instruction sets were built, which of them this machine has. */
#include <stddef.h>
#ifdef PC_X86_64
#include <cpuid.h>
#endif

#include "kernels.h"

#define DECLARE(isa) extern const pc_kernels pc_f32_kernels__##isa, pc_f64_kernels__##isa;
DECLARE(baseline)
#ifdef PC_X86_64
DECLARE(x86_64_v3)
DECLARE(x86_64_v4)
#endif

static const struct {
    const char *name;
    const pc_kernels *f32, *f64;
} builds[] = {
    {"baseline", &pc_f32_kernels__baseline, &pc_f64_kernels__baseline},
#ifdef PC_X86_64
    {"x86-64-v3", &pc_f32_kernels__x86_64_v3, &pc_f64_kernels__x86_64_v3},
    {"x86-64-v4", &pc_f32_kernels__x86_64_v4, &pc_f64_kernels__x86_64_v4},
#endif
};

int pc_isa_count(void) { return sizeof builds / sizeof builds[0]; }

const char *pc_isa_name(int isa) { return builds[isa].name; }

int pc_isa_usable(int isa)
{
    (void)isa;
#ifdef PC_X86_64
    /* the compiler's run-time support reads CPUID, and XGETBV for what the operating system saves */
    __builtin_cpu_init();
    if (isa >= 1 && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))) {
        return 0;
    }
    if (isa >= 2 && !(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl"))) {
        return 0;
    }
#endif
    return 1;
}

#ifdef PC_X86_64
/* Zen 5, whose name GCC 12 does not know: 1 where its units and the way to its first level have 64 bytes, 2 where, in
 * models for laptops (as AMD and those who measured them say; none has been measured here), 32. */
static int zen_5(void)
{
    unsigned signature, b, c, d;
    if (!__builtin_cpu_is("amd") || !__get_cpuid(1, &signature, &b, &c, &d)) return 0;
    const unsigned family = (signature >> 8 & 0xf) + (signature >> 20 & 0xff), model = signature >> 12 & 0xf0;
    return family != 0x1a ? 0 : model == 0x20 || model == 0x60 ? 2 : 1;
}
#endif

int pc_multiply_adds(int isa)
{
    (void)isa;
#ifdef PC_X86_64
    __builtin_cpu_init();
    if (isa >= 2 && (__builtin_cpu_is("amdfam19h") || zen_5() == 2)) {
        return 1; /* of family 19h Zen 3 and 4, of which the latter has AVX-512, on units of 32 bytes */
    }
#endif
    return 2;
}

int pc_second_level(void)
{
#ifdef PC_X86_64
    __builtin_cpu_init();
    if (zen_5() == 1) return 64;
#endif
    return 32;
}

const pc_kernels *pc_kernels_of(int isa, int is_double) { return is_double ? builds[isa].f64 : builds[isa].f32; }
