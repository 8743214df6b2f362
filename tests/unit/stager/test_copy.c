/* SPDX-License-Identifier: Apache-2.0 */
/* Copies past the caches are exact, wherever they begin and end. */
#include "stager/copy.h"
#include "tests/unit/test.h"

#define AREA ((size_t)1 << 15)
#define AROUND ((size_t)128) /* of the target, which is to stay as it is */

static char from[AREA], to[AREA], wanted[AREA];

static void check(size_t from_at, size_t to_at, size_t len) {
        memset(to, 0x55, sizeof to);
        memset(wanted, 0x55, sizeof wanted);
        memcpy(wanted + to_at, from + from_at, len);
        copy_streaming(to + to_at, from + from_at, len);
        assert_memory_equal(to, wanted, sizeof to);
}

static void fill(struct test_rng *r) {
        for (size_t i = 0; i < sizeof from; i++)
                from[i] = (char)test_rng_next(r);
}

static void test_each_beginning_and_end_in_a_line_is_exact(void **state) {
        struct test_rng r = test_rng_new(__func__);

        (void)state;
        fill(&r);
        for (size_t begin = 0; begin < 64; begin++)
                for (size_t end = 0; end < 64; end++)
                        check(end, AROUND + begin, COPY_SHORT + 64 + end - begin);
}

/* A sanitizer sees what is read beyond it. */
static void test_nothing_beyond_the_source_is_read(void **state) {
        (void)state;
        for (size_t len = COPY_SHORT - 1; len <= COPY_SHORT + 130; len++) {
                char *source = malloc(len);

                assert_non_null(source);
                memset(source, 7, len);
                copy_streaming(to + AROUND + 1, source, len);
                assert_memory_equal(to + AROUND + 1, source, len);
                free(source);
        }
}

static void test_any_length_is_exact(void **state) {
        struct test_rng r = test_rng_new(__func__);

        (void)state;
        fill(&r);
        check(0, AROUND, 0);
        for (unsigned i = 0; i < 2000; i++) {
                size_t from_at = test_rng_next(&r) % 200, to_at = AROUND + test_rng_next(&r) % 200;
                size_t most = AREA - AROUND - (from_at > to_at ? from_at : to_at);

                check(from_at, to_at, test_rng_next(&r) % most);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_beginning_and_end_in_a_line_is_exact),
                cmocka_unit_test(test_nothing_beyond_the_source_is_read),
                cmocka_unit_test(test_any_length_is_exact),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
