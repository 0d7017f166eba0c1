/* What a thread keeps from call to call, and what a fork means for threads. */
#ifndef PYCONV_PROCESS_H
#define PYCONV_PROCESS_H

#include <stddef.h>

/* At least this many bytes, aligned to 64, good until the thread's next call; NULL if there is no memory. A thread
 * reuses its own, so that no call pays for fresh pages. */
void *pc_scratch(size_t bytes);

/* See to it that a forked child can compute; 0 if that could be arranged. */
int pc_watch_forks(void);
/* Note that threads are about to be started. */
void pc_note_parallel(void);
/* Whether this process was forked while another's threads were waiting, which would be waited for here forever. */
int pc_must_be_serial(void);

/* Threads that the calling thread may use of wanted, where OpenMP by itself would use preset. Others (threadpoolctl)
 * limit OpenMP's threads by its own setting for a thread. */
int pc_allowed_threads(int wanted, int preset);

/* Whether the calling thread has stack enough for Python: a helper may have as little as OMP_STACKSIZE says. */
int pc_runs_python(void);

#endif
