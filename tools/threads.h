/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Stands for omp.h where ThreadSanitizer looks at the library: it knows the order that pthreads give, but not
 * that of libgomp, which is not built for it. Tasks are handed out without any order between them.
 */
#ifndef FL_THREADS_H
#define FL_THREADS_H

#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

typedef struct {
    void (*task)(void *, ptrdiff_t);
    void *context;
    ptrdiff_t count, next;
} pthread_team;

static void *pthread_tasks(void *argument) {
    pthread_team *const team = argument;
    ptrdiff_t i;
    while ((i = __atomic_fetch_add(&team->next, 1, __ATOMIC_RELAXED)) < team->count)
        team->task(team->context, i);
    return NULL;
}

static void pthread_for(ptrdiff_t count, int threads, void (*task)(void *, ptrdiff_t), void *context) {
    pthread_team team = {task, context, count, 0};
    pthread_t member[64];
    int started = 0;
    while (started < threads - 1 && started < 64 &&
           pthread_create(&member[started], NULL, pthread_tasks, &team) == 0)
        started++;
    pthread_tasks(&team);
    while (started > 0)
        pthread_join(member[--started], NULL);
}

static inline int omp_in_parallel(void) { return 0; }
static inline int omp_get_thread_limit(void) { return 64; }
static inline int omp_get_num_procs(void) { return (int)sysconf(_SC_NPROCESSORS_ONLN); }
static inline int omp_get_max_threads(void) { return omp_get_num_procs(); }

#endif
