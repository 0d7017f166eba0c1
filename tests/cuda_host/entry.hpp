// What run.cpp knows of the kernel that it is linked to. Included behind a kernel's source, where ENTRY is its name.
#pragma once

struct HostKernel {
    unsigned long bytes;  // of its struct Arguments
    bool flushes;         // subnormal numbers
    void (*call)(const void *arguments);
};

extern "C" const __attribute__((visibility("hidden"))) HostKernel pyconv_kernel;

#ifdef ENTRY
static void call_entry(const void *arguments)
{
    ENTRY(*(const Arguments *)arguments);
}

const HostKernel pyconv_kernel = {sizeof(Arguments), DTYPE != FLOAT64, call_entry};
#endif
