/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/text.h"

#include <errno.h>

#define GIB (1ull << 30)

static void test_sizes_are_read_as_people_write_them(void **state) {
        static const struct {
                const char *text;
                int r;
                uint64_t value;
        } cases[] = {
                { "0", 0, 0 },
                { "4096", 0, 4096 },
                { "256MiB", 0, 256 << 20 },
                { "256Mi", 0, 256 << 20 },
                { "1GB", 0, 1000000000 },
                { "1.5GiB", 0, GIB + GIB / 2 },
                { "1.5 GiB", 0, GIB + GIB / 2 },
                { "0.001kB", 0, 1 },
                { "10B", 0, 10 },
                { "18446744073709551615", 0, UINT64_MAX },
                { "18446744073709551616", -ERANGE, 0 },
                { "16384PiB", -ERANGE, 0 },
                { "16383.999999999PiB", 0, 18446744073708425716u },
                { "", -EINVAL, 0 },
                { "-1", -EINVAL, 0 },
                { "+1", -EINVAL, 0 },
                { " 1", -EINVAL, 0 },
                { "1 ", 0, 1 },
                { "1  MiB", -EINVAL, 0 },
                { "1.", -EINVAL, 0 },
                { ".5GiB", -EINVAL, 0 },
                { "0.5", -EINVAL, 0 },
                { "1.0000000001GiB", -EINVAL, 0 },
                { "1mib", -EINVAL, 0 },
                { "1MiBx", -EINVAL, 0 },
                { "1MiB 2", -EINVAL, 0 },
                { "0x10", -EINVAL, 0 },
                { "1e3", -EINVAL, 0 },
                { "10%", -EINVAL, 0 },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                uint64_t value = 42;
                int r = text_parse_size(&value, cases[i].text);

                if (r != cases[i].r || value != (r == 0 ? cases[i].value : 42))
                        fail_msg("\"%s\": %d, %llu", cases[i].text, r, (unsigned long long)value);
        }
}

static void test_durations_are_read_as_people_write_them(void **state) {
        static const struct {
                const char *text;
                int r;
                int64_t value;
        } cases[] = {
                { "0", 0, 0 },
                { "24h", 0, 86400000 },
                { "1h30m", 0, 5400000 },
                { "10s", 0, 10000 },
                { "250ms", 0, 250 },
                { "1.5h", 0, 5400000 },
                { "7d", 0, 604800000 },
                { "0s", 0, 0 },
                { "10", -EINVAL, 0 },
                { "", -EINVAL, 0 },
                { "-1s", -EINVAL, 0 },
                { "h", -EINVAL, 0 },
                { "1hh", -EINVAL, 0 },
                { "1h30", -EINVAL, 0 },
                { "0.5ms", -EINVAL, 0 },
                { "9223372036854775807ms", 0, INT64_MAX },
                { "9223372036854775808ms", -ERANGE, 0 },
                { "9223372036854775807ms1ms", -ERANGE, 0 },
                { "99999999999999999999h", -ERANGE, 0 },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                int64_t value = 42;
                int r = text_parse_duration(&value, cases[i].text);

                if (r != cases[i].r || value != (r == 0 ? cases[i].value : 42))
                        fail_msg("\"%s\": %d, %lld", cases[i].text, r, (long long)value);
        }
}

static void test_sizes_are_written_short(void **state) {
        static const struct {
                uint64_t bytes;
                const char *text;
        } cases[] = {
                { 0, "0 B" },
                { 1023, "1023 B" },
                { 1024, "1.0 KiB" },
                { GIB + GIB / 2, "1.5 GiB" },
                { 812ull << 20, "812 MiB" },
                { GIB - 1, "1.0 GiB" },
                { 1023ull << 20, "1023 MiB" },
                { UINT64_MAX, "16.0 EiB" },
        };
        char text[TEXT_SHORT];

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_string_equal(text_format_size(cases[i].bytes, text), cases[i].text);
        assert_string_equal(text_format_rate(812ull << 20, text), "812 MiB/s");
}

static void test_what_is_written_can_be_read_again(void **state) {
        struct test_rng rng = test_rng_new("round trip");

        (void)state;
        for (int i = 0; i < 10000; i++) {
                uint64_t n = test_rng_next(&rng) >> (4 + test_rng_next(&rng) % 60), value;
                char text[TEXT_SHORT];
                int64_t ms;

                if (n < 1ull << 59) /* EiB is for showing only */
                        assert_int_equal(text_parse_size(&value, text_format_size(n, text)), 0);
                assert_int_equal(text_parse_duration(&ms, text_format_duration((int64_t)n, text)), 0);
                assert_true((uint64_t)ms <= n);
        }
}

static void test_durations_and_times_are_written(void **state) {
        char text[TEXT_SHORT];

        (void)state;
        assert_string_equal(text_format_duration(0, text), "0ms");
        assert_string_equal(text_format_duration(-5, text), "0ms");
        assert_string_equal(text_format_duration(3299, text), "3.2s");
        assert_string_equal(text_format_duration(250000, text), "4m10s");
        assert_string_equal(text_format_duration(3900000, text), "1h05m");
        assert_string_equal(text_format_duration(49 * 3600000ll, text), "2d01h");
        assert_string_equal(text_format_duration(INT64_MAX, text), "106751991167d07h");
        assert_string_equal(text_format_time(0, text), "1970-01-01T00:00:00.000Z");
        assert_string_equal(text_format_time(1709210096789, text), "2024-02-29T12:34:56.789Z");
        assert_string_equal(text_format_time(-1, text), "1969-12-31T23:59:59.999Z");
        assert_string_equal(text_format_time(INT64_MAX, text), "-");
        assert_string_equal(text_format_time(INT64_MIN, text), "-");
}

static void test_clocks_run(void **state) {
        int64_t before = time_monotonic_ms();

        (void)state;
        assert_true(time_monotonic_ns() / 1000000 >= (uint64_t)before);
        assert_true(time_now_ms() > 1700000000000);
}

static void test_utf8_is_what_the_standard_says(void **state) {
        static const struct {
                const char *text;
                size_t size;
        } cases[] = {
                { "a", 1 },
                { "\xc3\xa4", 2 },
                { "€", 3 },
                { "\xf0\x9f\x98\x80", 4 },
                { "\xf4\x8f\xbf\xbf", 4 },
                { "\xc0\x80", 0 }, /* overlong */
                { "\xe0\x80\x80", 0 },
                { "\xf0\x80\x80\x80", 0 },
                { "\xed\xa0\x80", 0 },     /* surrogate */
                { "\xf4\x90\x80\x80", 0 }, /* above U+10FFFF */
                { "\x80", 0 },
                { "\xff", 0 },
                { "\xe2\x82", 0 }, /* cut */
                { "\xe2\x82x", 0 },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_int_equal(text_utf8_size(cases[i].text, strlen(cases[i].text)), cases[i].size);
        assert_int_equal(text_utf8_size("", 0), 0);
        assert_int_equal(text_utf8_size("", 1), 1);
        assert_true(text_is_utf8("a€\0b", 6));
        assert_false(text_is_utf8("a\xff", 2));
}

static void test_split_trims_and_drops_what_is_empty(void **state) {
        char **list = text_split(" a , ,b c,,\td\n,", ',');

        (void)state;
        assert_string_equal(list[0], "a");
        assert_string_equal(list[1], "b c");
        assert_string_equal(list[2], "d");
        assert_null(list[3]);
        text_list_free(list);
        list = text_split("", ',');
        assert_null(list[0]);
        text_list_free(list);
        text_list_free(NULL);
}

static void test_starts_and_ends(void **state) {
        (void)state;
        assert_true(text_starts_with("abc", "ab") && text_starts_with("abc", ""));
        assert_false(text_starts_with("ab", "abc"));
        assert_true(text_ends_with("abc", "bc") && text_ends_with("abc", ""));
        assert_false(text_ends_with("bc", "abc"));
}

static void test_names_of_kubernetes_objects_are_known(void **state) {
        static const char *const good[] = { "a", "0", "a-b", "a.b", "pvc-0a.example.com", "a--b" };
        static const char *const bad[] = { "",      "-",    ".",    "..",   "a.",      ".a",  "a..b",
                                           "-a",    "a-",   "a.-b", "a-.b", "A",       "a/b", "a b",
                                           "a%2fb", "../a", "a?b",  "a#b",  "\xc3\xa4" };
        char longest[255];

        (void)state;
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
                if (!text_is_dns_subdomain(good[i], strlen(good[i])))
                        fail_msg("%s is a name", good[i]);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                if (text_is_dns_subdomain(bad[i], strlen(bad[i])))
                        fail_msg("%s is no name", bad[i]);
        memset(longest, 'a', sizeof longest);
        assert_true(text_is_dns_subdomain(longest, 253));
        assert_false(text_is_dns_subdomain(longest, 254));
        assert_false(text_is_dns_subdomain("a\0b", 3));
}

/* random() would give the same sequence to every process. */
static void test_jitter_is_within_its_bounds_and_another_each_time(void **state) {
        int64_t first, second;

        (void)state;
        for (size_t i = 0; i < 1000; i++) {
                int64_t wait = time_jitter(100);

                assert_true(wait >= 50 && wait <= 100);
        }
        assert_int_equal(time_jitter(0), 0);
        srandom(1);
        first = time_jitter(INT64_MAX);
        srandom(1);
        second = time_jitter(INT64_MAX);
        assert_true(first != second);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sizes_are_read_as_people_write_them),
                cmocka_unit_test(test_durations_are_read_as_people_write_them),
                cmocka_unit_test(test_sizes_are_written_short),
                cmocka_unit_test(test_what_is_written_can_be_read_again),
                cmocka_unit_test(test_durations_and_times_are_written),
                cmocka_unit_test(test_clocks_run),
                cmocka_unit_test(test_jitter_is_within_its_bounds_and_another_each_time),
                cmocka_unit_test(test_utf8_is_what_the_standard_says),
                cmocka_unit_test(test_split_trims_and_drops_what_is_empty),
                cmocka_unit_test(test_starts_and_ends),
                cmocka_unit_test(test_names_of_kubernetes_objects_are_known),
        };
        return cmocka_run_group_tests_name("base/text", tests, NULL, NULL);
}
