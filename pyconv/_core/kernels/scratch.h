/* Memory that a thread reuses from call to call, so that no call pays for fresh pages. */
#ifndef PYCONV_SCRATCH_H
#define PYCONV_SCRATCH_H

#include <stddef.h>

/* At least this many bytes, aligned to 64, good until the thread's next call; NULL if there is no memory. */
void *pc_scratch(size_t bytes);

/* Note that threads were started; pc_must_be_serial says whether this process was forked off after that. */
int pc_watch_forks(void);
void pc_note_parallel(void);
int pc_must_be_serial(void);

#endif
