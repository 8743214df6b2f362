/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/content_range.h"
#include "oci/retry_after.h"

#include "tests/unit/test.h"

#include <errno.h>
#include <inttypes.h>

static const struct {
        const char *value;
        struct oci_content_range is;
} accepted[] = {
        { "bytes 0-9/10", { true, true, 0, 10, 10 } },
        { "bytes 5-5/6", { true, true, 5, 6, 6 } },
        { "  Bytes\t8388608-16777215/2147483648 ", { true, true, 8388608, 16777216, 2147483648 } },
        { "bytes 0-9/*", { true, false, 0, 10, 0 } },
        { "bytes */10", { false, true, 0, 0, 10 } },
        { "bytes 0-18446744073709551613/18446744073709551614",
          { true, true, 0, 18446744073709551614u, 18446744073709551614u } },
};

static const char *const refused[] = {
        "",
        "bytes",
        "bytes ",
        "bytes 0-9",
        "bytes0-9/10",
        "bytes=0-9/10",
        "items 0-9/10",
        "bytes 9-0/10",
        "bytes 0-10/10",
        "bytes -9/10",
        "bytes 0-/10",
        "bytes 0-9/",
        "bytes */*",
        "bytes +0-9/10",
        "bytes 0 - 9/10",
        "bytes 0-9/10x",
        "bytes 0-9/10, 20-29/30",
        "bytes 0x0-9/10",
        "bytes 0-9/-1",
        "bytes 0-18446744073709551616/18446744073709551617",
        "bytes 0-18446744073709551615/18446744073709551615",
        "bytes 99999999999999999999999-99999999999999999999999/1",
};

static void test_ranges_become_half_open(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
                struct oci_content_range c;

                if (oci_content_range_parse(&c, accepted[i].value) < 0)
                        fail_msg("%s was refused", accepted[i].value);
                assert_int_equal(c.has_range, accepted[i].is.has_range);
                assert_int_equal(c.has_total, accepted[i].is.has_total);
                assert_true(c.from == accepted[i].is.from && c.to == accepted[i].is.to &&
                            c.total == accepted[i].is.total);
        }
}

static void test_anything_else_is_refused_and_leaves_the_result_alone(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
                struct oci_content_range c = { .total = 42 };

                if (oci_content_range_parse(&c, refused[i]) != -EINVAL)
                        fail_msg("\"%s\" was accepted", refused[i]);
                assert_true(c.total == 42);
        }
}

static void test_what_is_accepted_prints_back(void **state) {
        struct test_rng rng = test_rng_new(__func__);

        (void)state;
        for (unsigned i = 0; i < 20000; i++) {
                uint64_t from = test_rng_next(&rng) >> (test_rng_next(&rng) % 60 + 2),
                         n = test_rng_next(&rng) % 1000 + 1;
                char text[128];
                struct oci_content_range c;

                snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, from, from + n - 1,
                         from + n + i);
                assert_int_equal(oci_content_range_parse(&c, text), 0);
                assert_true(c.from == from && c.to == from + n && c.total == from + n + i);
        }
}

static void test_retry_after_is_seconds_or_a_date_and_is_bounded(void **state) {
        const int64_t now = INT64_C(1700000000000); /* Tue, 14 Nov 2023 22:13:20 GMT */
        static const struct {
                const char *value;
                int r;
                int64_t ms;
        } cases[] = {
                { "0", 0, 0 },
                { " 7 ", 0, 7000 },
                { "120", 0, 120000 },
                { "99999", 0, OCI_RETRY_AFTER_MAX_MS },
                { "99999999999999999999999", 0, OCI_RETRY_AFTER_MAX_MS },
                { "Tue, 14 Nov 2023 22:13:50 GMT", 0, 30000 },
                { "Tuesday, 14-Nov-23 22:13:50 GMT", 0, 30000 },
                { "Tue Nov 14 22:13:50 2023", 0, 30000 },
                { "Tue, 14 Nov 2023 22:13:10 GMT", 0, 0 },
                { "Tue, 14 Nov 2028 22:13:10 GMT", 0, OCI_RETRY_AFTER_MAX_MS },
                { "Tue, 14 Nov 1940733522 22:13:10 GMT", 0, OCI_RETRY_AFTER_MAX_MS },
                { "-1", -EINVAL, 0 },
                { "soon", -EINVAL, 0 },
                { "7s", -EINVAL, 0 },
                { "", -EINVAL, 0 },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                int64_t ms = -1;

                if (oci_retry_after_parse(&ms, cases[i].value, now) != cases[i].r)
                        fail_msg("%s", cases[i].value);
                if (cases[i].r == 0)
                        assert_int_equal(ms, cases[i].ms);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ranges_become_half_open),
                cmocka_unit_test(test_anything_else_is_refused_and_leaves_the_result_alone),
                cmocka_unit_test(test_what_is_accepted_prints_back),
                cmocka_unit_test(test_retry_after_is_seconds_or_a_date_and_is_bounded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
