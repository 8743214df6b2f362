/* SPDX-License-Identifier: Apache-2.0 */
/* The same as test_path.c where the kernel has no openat2(). */
#include "tests/unit/base/path_cases.h"

#include <sys/syscall.h>

/* WRAP: syscall */
long __wrap_syscall(long number, ...);

static unsigned refused, others;

long __wrap_syscall(long number, ...) {
        if (number == SYS_openat2)
                refused++;
        else
                others++;
        errno = ENOSYS;
        return -1;
}

static void test_the_kernel_was_asked_once(void **state) {
        (void)state;
        assert_int_equal(refused, 1);
        assert_int_equal(others, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = { PATH_CASES, cmocka_unit_test(test_the_kernel_was_asked_once) };

        return cmocka_run_group_tests_name("base/path_fallback", tests, NULL, NULL);
}
