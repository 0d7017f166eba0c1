// What tensor cores and asynchronous copies need of PTX, from compute capability 8.0 on: every wrapper stands for one
// instruction, and a host build brings its own twins (tests/cuda_host/warp.hpp).
//
// A word is 32 bits: a float32 or TF32 number, or two neighbours of 16 bits along the sum. With words in place of
// elements the fragments of m16n8k8 (TF32) and m16n8k16 (16 bits) are the same; lane = 4 * row + column:
// a (16 x 8 words): (row, column), (row + 8, column), (row, column + 4), (row + 8, column + 4)
// b (8 words x 8):  (column, row), (column + 4, row)
// c (16 x 8):       (row, 2 * column), (row, 2 * column + 1), (row + 8, 2 * column), (row + 8, 2 * column + 1)
// (PTX ISA, "Matrix Fragments for mma.m16n8k8", "... m16n8k16").

#ifndef PYCONV_HOST
#define DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

static __device__ __forceinline__ unsigned shared_address(const void *place)
{
    return (unsigned)__cvta_generic_to_shared(place);
}

static __device__ __forceinline__ void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ void mma_f16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four matrices of 8 rows of 16 bytes; lane 8 i + r says where row r of matrix i lies, and gets word (row, column) of
// each into words[i].
static __device__ __forceinline__ void load_matrices(unsigned (&words)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// `value` of the lane whose number differs in the bits of APART
template <int APART> static __device__ __forceinline__ float from_lane(float value)
{
    float other;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=f"(other) : "f"(value), "n"(APART));
    return other;
}

static __device__ __forceinline__ unsigned load_word(const unsigned *shared)
{
    return *shared;
}

// BYTES (4, 8 or 16) from `from` to shared memory, or zeros if they are not `there`: `from` is not read then. They
// have landed for this thread after wait_for_copies, for others after a barrier behind that.
template <int BYTES> static __device__ __forceinline__ void copy_async(void *to, const void *from, bool there)
{
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     :
                     : "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(there ? BYTES : 0)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
                     :
                     : "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "n"(BYTES), "r"(there ? BYTES : 0)
                     : "memory");
}

// Closes a group: the copies since the last one.
static __device__ __forceinline__ void commit_copies()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until no more than the PENDING latest groups are on their way.
template <int PENDING> static __device__ __forceinline__ void wait_for_copies()
{
    asm volatile("cp.async.wait_group %0;" : : "n"(PENDING) : "memory");
}

// To the nearest number of TF32's 11 bits, ties away from zero.
static __device__ __forceinline__ unsigned tf32_of(float value)
{
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}
#endif
