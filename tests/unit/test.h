/* SPDX-License-Identifier: Apache-2.0 */
/* Include this instead of <cmocka.h>: cmocka needs these four before it. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PROGRAM PATTERN runs the tests whose names match. glibc gives constructors the arguments of main(). */
__attribute__((constructor)) static void test_take_filter(int argc, char **argv) {
        if (argc > 1)
                cmocka_set_test_filter(argv[1]);
}

/* Property tests: one reproducible stream of numbers a test. TEST_SEED=n repeats a failure. */
struct test_rng {
        uint64_t s;
};

static inline struct test_rng test_rng_new(const char *test) {
        const char *env = getenv("TEST_SEED");
        uint64_t seed = env ? strtoull(env, NULL, 0) : 0x9e3779b97f4a7c15u;

        print_message("%s: TEST_SEED=%#llx\n", test, (unsigned long long)seed);
        return (struct test_rng){ seed };
}

static inline uint64_t test_rng_next(struct test_rng *r) { /* splitmix64 */
        uint64_t z = (r->s += 0x9e3779b97f4a7c15u);

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
}
