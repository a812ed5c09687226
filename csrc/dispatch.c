/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which instruction set is in use. Chosen when the library is loaded, so that reading it needs no lock.
 */
#include "fastloss.h"
#include "kernels.h"
#include "parallel.h"

#define FL_ISA_ROW(suffix, name, supported)                                                                  \
    extern fl_table const fl_table_f32_##suffix, fl_table_f64_##suffix;
#include "isa.def"
#undef FL_ISA_ROW

#define FL_ISA_ROW(suffix, name, supported) {&fl_table_f32_##suffix, &fl_table_f64_##suffix},
static fl_table const *const tables[][2] = {
#include "isa.def"
};
#undef FL_ISA_ROW

#define FL_ISA_ROW(suffix, name, supported) name,
static char const *const names[] = {
#include "isa.def"
};
#undef FL_ISA_ROW

static int active;

int fl_isa_count(void) { return sizeof names / sizeof *names; }

char const *fl_isa_name(int isa) { return names[isa]; }

int fl_isa_is_supported(int isa) {
    int const supported[] = {
#define FL_ISA_ROW(suffix, name, supported) supported,
#include "isa.def"
#undef FL_ISA_ROW
    };
    return supported[isa];
}

__attribute__((constructor)) static void initialize(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    while (!fl_isa_is_supported(active))
        active++;
    fl_parallel_initialize();
}

void fl_set_isa(int isa) { __atomic_store_n(&active, isa, __ATOMIC_RELAXED); }

int fl_get_isa(void) { return __atomic_load_n(&active, __ATOMIC_RELAXED); }

fl_table const *fl_active_table(int dtype) { return tables[fl_get_isa()][dtype == FL_FLOAT64]; }

char const *fl_compiler(void) {
#ifdef __clang__
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}
