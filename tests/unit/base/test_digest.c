/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/digest.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void test_known_answers(void **state) {
        char hex[DIGEST_HEX_SIZE], text[DIGEST_TEXT_SIZE];
        struct digest d;

        (void)state;
        assert_int_equal(digest_of(&d, "", 0), 0);
        assert_string_equal(digest_hex(&d, hex), EMPTY);
        assert_int_equal(digest_of(&d, "abc", 3), 0);
        assert_string_equal(digest_format(&d, text), "sha256:" ABC);
}

static void test_a_stream_is_its_bytes_however_they_come(void **state) {
        struct test_rng rng = test_rng_new("stream");
        uint8_t data[10000];
        struct digest whole, pieces;

        (void)state;
        for (size_t i = 0; i < sizeof data; i++)
                data[i] = (uint8_t)test_rng_next(&rng);
        assert_int_equal(digest_of(&whole, data, sizeof data), 0);
        for (int round = 0; round < 20; round++) {
                struct digest_stream *s = NULL;
                size_t done = 0;

                assert_int_equal(digest_stream_new(&s), 0);
                while (done < sizeof data) {
                        size_t n = test_rng_next(&rng) % 777;
                        n = n < sizeof data - done ? n : sizeof data - done;
                        assert_int_equal(digest_stream_update(s, data + done, n), 0);
                        done += n;
                }
                assert_int_equal(digest_stream_final(s, &pieces), 0);
                digest_stream_free(s);
                assert_true(digest_equal(&whole, &pieces));
        }
        digest_stream_free(NULL);
}

static void test_parse_takes_only_what_is_canonical(void **state) {
        static const struct {
                const char *text;
                int r;
        } cases[] = {
                { "sha256:" ABC, 0 },
                { "sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", -EINVAL },
                { "sha256:" ABC "0", -EINVAL },
                { "sha256:ba7816", -EINVAL },
                { "sha256:", -EINVAL },
                { "sha256", -EINVAL },
                { "", -EINVAL },
                { ":" ABC, -EINVAL },
                { " sha256:" ABC, -EINVAL },
                { "sha256:../../../../../../../../../../../../../../../../../../../../../etc", -EINVAL },
                { "SHA256:" ABC, -EINVAL },
                { "sha512:" ABC ABC, -EOPNOTSUPP },
                { "sha256+b64:LCa0a2j=", -EOPNOTSUPP },
                { "sha512:a/b", -EINVAL },
                { "+sha:abc", -EINVAL },
                { "sha-:abc", -EINVAL },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct digest d = { .bytes = { 42 } };
                char text[DIGEST_TEXT_SIZE];
                int r = digest_parse(&d, cases[i].text, strlen(cases[i].text));

                if (r != cases[i].r)
                        fail_msg("\"%s\": %d, not %d", cases[i].text, r, cases[i].r);
                if (r == 0)
                        assert_string_equal(digest_format(&d, text), cases[i].text);
                else
                        assert_int_equal(d.bytes[0], 42); /* untouched */
        }
}

static void test_a_nul_inside_is_not_the_end(void **state) {
        char text[] = "sha256:" ABC;
        struct digest d;

        (void)state;
        text[20] = '\0';
        assert_int_equal(digest_parse(&d, text, sizeof text - 1), -EINVAL);
        assert_int_equal(digest_parse(&d, "a\0:b", 4), -EINVAL);
}

static void test_hex_is_exactly_64_characters(void **state) {
        struct digest d;
        char hex[DIGEST_HEX_SIZE];

        (void)state;
        assert_int_equal(digest_parse_hex(&d, ABC), 0);
        assert_string_equal(digest_hex(&d, hex), ABC);
        assert_int_equal(digest_parse_hex(&d, ABC "a"), -EINVAL);
        assert_int_equal(digest_parse_hex(&d, ""), -EINVAL);
        hex[63] = 'g';
        assert_int_equal(digest_parse_hex(&d, hex), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_answers),
                cmocka_unit_test(test_a_stream_is_its_bytes_however_they_come),
                cmocka_unit_test(test_parse_takes_only_what_is_canonical),
                cmocka_unit_test(test_a_nul_inside_is_not_the_end),
                cmocka_unit_test(test_hex_is_exactly_64_characters),
        };
        return cmocka_run_group_tests_name("base/digest", tests, NULL, NULL);
}
