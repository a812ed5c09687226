/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The only file that knows OpenMP. Work comes as numbered tasks whose partial results the caller
 * combines in order, so that the number of threads never changes a bit.
 */
#include "parallel.h"

#include "fastloss.h"

#include <stdio.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

void fl_fence(void) {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

/* As much as servers have for a few cores, where the system does not say. The processor itself may tell of
 * all that it has, though few of its cores were lent. */
ptrdiff_t fl_cache_bytes = 32 << 20;

static void find_cache(void) {
    FILE *const file = fopen("/sys/devices/system/cpu/cpu0/cache/index3/size", "r");
    long kilobytes;
    if (!file)
        return;
    if (fscanf(file, "%ldK", &kilobytes) == 1 && kilobytes > 0)
        fl_cache_bytes = (ptrdiff_t)kilobytes << 10;
    fclose(file);
}

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>

/* libgomp's pool does not survive fork: a child that starts a team hangs. */
static int forked;

static void mark_forked(void) { forked = 1; }

void fl_parallel_initialize(void) {
    find_cache();
    pthread_atfork(NULL, NULL, mark_forked);
}

int fl_max_threads(void) {
    if (forked || omp_in_parallel())
        return 1;
    int const limits[] = {omp_get_max_threads(), omp_get_thread_limit(), omp_get_num_procs()};
    int least = limits[0];
    for (int i = 1; i < 3; i++)
        least = limits[i] < least ? limits[i] : least;
    return least;
}

char const *fl_parallel_backend(void) { return "OpenMP"; }

void fl_parallel_for(ptrdiff_t count, int threads, fl_task task, void *context) {
    if (threads > count)
        threads = (int)count;
    if (threads > 1 && !forked && !omp_in_parallel()) {
        /* Long runs of tasks first: each thread reads memory in order. */
#pragma omp parallel for num_threads(threads) schedule(guided)
        for (ptrdiff_t i = 0; i < count; i++)
            task(context, i);
        return;
    }
    for (ptrdiff_t i = 0; i < count; i++)
        task(context, i);
}

#else

void fl_parallel_initialize(void) { find_cache(); }

int fl_max_threads(void) { return 1; }

char const *fl_parallel_backend(void) { return "none"; }

void fl_parallel_for(ptrdiff_t count, int threads, fl_task task, void *context) {
    (void)threads;
    for (ptrdiff_t i = 0; i < count; i++)
        task(context, i);
}

#endif
