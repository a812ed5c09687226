/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef FL_PARALLEL_H
#define FL_PARALLEL_H

#include <stddef.h>

typedef void (*fl_task)(void *context, ptrdiff_t index);

/* Looks at the machine, and prepares for a fork of the process; called when the library is loaded. */
void fl_parallel_initialize(void);

/* Runs tasks 0 .. count-1 on at most `threads` threads, in no particular order. */
void fl_parallel_for(ptrdiff_t count, int threads, fl_task task, void *context);

/* Of the last-level cache. */
extern ptrdiff_t fl_cache_bytes;

/* Completes what a task has written past the caches. */
void fl_fence(void);

#endif
