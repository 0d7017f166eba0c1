/* A thread's scratch memory and stack, and what a fork means for threads. */
#define _GNU_SOURCE /* pthread_getattr_np */
#include "process.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

enum { ALIGNMENT = 64, KEPT = 64 << 20 /* bytes a thread keeps; more is given back at its next call */ };

typedef struct {
    void *memory;
    size_t size;
} scratch;

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int key_failed;

static void release(void *value)
{
    free(((scratch *)value)->memory);
    free(value);
}

/* The memory, as a task gets it. In a sanitizer's build no byte beyond what was asked for may be touched, and what the
 * task has not written is NaN. */
static void *lend(const scratch *own, size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(own->memory, bytes);
    ASAN_POISON_MEMORY_REGION((char *)own->memory + bytes, own->size - bytes);
    memset(own->memory, 0xff, bytes);
#else
    (void)bytes;
#endif
    return own->memory;
}

static void make_key(void) { key_failed = pthread_key_create(&key, release); }

void *pc_scratch(size_t bytes)
{
    pthread_once(&once, make_key);
    if (key_failed) return NULL;
    scratch *own = pthread_getspecific(key);
    if (!own) {
        own = calloc(1, sizeof *own);
        if (!own) return NULL;
        if (pthread_setspecific(key, own)) {
            free(own);
            return NULL;
        }
    }
    if (own->size < bytes || (own->size > KEPT && bytes <= KEPT)) {
        free(own->memory);
        own->size = 0;
        /* a little more than asked for, so that slowly growing images do not allocate every time */
        size_t size = (bytes + bytes / 8 + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
        own->memory = bytes > (size_t)-1 / 2 ? NULL : aligned_alloc(ALIGNMENT, size);
        if (!own->memory) return NULL;
        own->size = size;
    }
    return lend(own, bytes);
}

/* GNU OpenMP keeps a thread's helpers waiting for its next parallel region. They do not live on in a forked child, which
 * would wait for them forever - whoever started them: the runtime is shared by all libraries that link to it. So before
 * a fork the forking thread's helpers are sent home; they are started anew when they are next needed, on both sides.
 * Where the runtime cannot do that (it is new in OpenMP 5.0), a child of a process that ran in parallel stays serial. */
extern int omp_pause_resource_all(int kind) __attribute__((weak));
enum { PAUSE_SOFT = 1 }; /* omp_pause_soft: settings are kept */

static volatile int ran_parallel, forked;

static void before(void)
{
    if (omp_pause_resource_all && omp_pause_resource_all(PAUSE_SOFT) == 0) ran_parallel = 0;
}

static void in_child(void) { forked = ran_parallel; }

int pc_watch_forks(void) { return pthread_atfork(before, NULL, in_child); }
void pc_note_parallel(void) { ran_parallel = 1; }
int pc_must_be_serial(void) { return forked; }

extern int omp_get_max_threads(void);

/* The setting is read, never raised: the caller's other libraries go by it too. So where more than preset are wanted, a
 * limit of just preset cannot be told from no limit, and is none. */
int pc_allowed_threads(int wanted, int preset)
{
    if (wanted <= 1 || forked) return 1;
    const int limit = omp_get_max_threads();
    if (limit >= wanted || limit == preset) return wanted;
    return limit > 1 ? limit : 1;
}

enum { PYTHON_STACK = 256 << 10 }; /* bytes; 48 KiB have been enough */

static int stack_has_room(void)
{
#ifdef __linux__
    pthread_attr_t attributes;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes)) return 0;
    const int known = !pthread_attr_getstacksize(&attributes, &size);
    pthread_attr_destroy(&attributes);
    return known && size >= PYTHON_STACK;
#else
    return 1;
#endif
}

int pc_runs_python(void)
{
    static __thread int asked, answer; /* asking takes a while */
    if (!asked) {
        answer = stack_has_room();
        asked = 1;
    }
    return answer;
}
