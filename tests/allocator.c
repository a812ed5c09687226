/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An allocator, loaded with LD_PRELOAD, that fails at a chosen call of those made by the kernels' library, and
 * counts their bytes; test_memory.py says when. Everybody else's calls go through.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static uintptr_t low, high; /* the code of the library */
static long calls, failing = -1;
static long long held, most, blocks;

static int find(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size, (void)data;
    if (!strstr(info->dlpi_name, "libfastloss"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
            low = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            high = low + info->dlpi_phdr[i].p_memsz;
        }
    return 1;
}

/* Finds the library, and counts anew; the call of this number fails, and all later ones if `from`. */
int allocator_start(long number) {
    dl_iterate_phdr(find, NULL);
    calls = held = most = blocks = 0;
    failing = number;
    return high > low;
}

long allocator_calls(void) { return calls; }
long long allocator_most_bytes(void) { return most; }
long long allocator_blocks(void) { return blocks; }

static int is_ours(void *caller) { return (uintptr_t)caller >= low && (uintptr_t)caller < high; }

static int fails(void *caller) {
    if (!is_ours(caller))
        return 0;
    int const number = __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    if (number == failing)
        errno = ENOMEM;
    return number == failing;
}

static void *count(void *memory, void *caller) {
    if (memory && is_ours(caller)) {
        long long const now = __atomic_add_fetch(&held, malloc_usable_size(memory), __ATOMIC_RELAXED);
        long long before = most;
        while (now > before && !__atomic_compare_exchange_n(&most, &before, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            ;
        __atomic_add_fetch(&blocks, 1, __ATOMIC_RELAXED);
    }
    return memory;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size) { return fails(CALLER) ? NULL : count(__libc_malloc(size), CALLER); }

void *calloc(size_t n, size_t size) { return fails(CALLER) ? NULL : count(__libc_calloc(n, size), CALLER); }

void *realloc(void *memory, size_t size) {
    return fails(CALLER) ? NULL : count(__libc_realloc(memory, size), CALLER);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return fails(CALLER) ? NULL : count(__libc_memalign(alignment, size), CALLER);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (fails(CALLER))
        return ENOMEM;
    *memory = count(__libc_memalign(alignment, size), CALLER);
    return *memory ? 0 : ENOMEM;
}

void free(void *memory) {
    if (memory && is_ours(CALLER)) {
        __atomic_sub_fetch(&held, malloc_usable_size(memory), __ATOMIC_RELAXED);
        __atomic_sub_fetch(&blocks, 1, __ATOMIC_RELAXED);
    }
    __libc_free(memory);
}
