/* SPDX-License-Identifier: Apache-2.0 */
/* Every test that hashes does it once for each way that this CPU has, and against OpenSSL's EVP. */
#include "tests/unit/test.h"

#include "base/sha256.h"

#include <errno.h>
#include <openssl/evp.h>

#define MOST 20000u

static uint8_t one[MOST], two[MOST];

static int fill(void **state) {
        struct test_rng rng = test_rng_new("sha256");

        (void)state;
        for (size_t i = 0; i < MOST; i++) {
                one[i] = (uint8_t)test_rng_next(&rng);
                two[i] = (uint8_t)test_rng_next(&rng);
        }
        return 0;
}

static void expect_evp(const struct sha256 *s, const void *data, size_t len) {
        struct digest want, got;

        assert_int_equal(EVP_Digest(data, len, want.bytes, NULL, EVP_sha256(), NULL), 1);
        sha256_final(s, &got);
        assert_memory_equal(got.bytes, want.bytes, sizeof want.bytes);
}

/* for_each_way(way): SHA256_OPENSSL always, SHA256_LANES where there is SHA-NI; the last one stays chosen. */
#define for_each_way(way) \
        for (enum sha256_way way = SHA256_OPENSSL; way < _SHA256_WAY_MAX && sha256_choose(way) == 0; way++)

static void test_known_answers(void **state) {
        static const struct {
                const char *text, *hex;
        } cases[] = {
                { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
                { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
                { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
                { "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlm"
                  "nopq"
                  "rsmnopqrstnopqrstu",
                  "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
        };

        (void)state;
        for_each_way(way) {
                for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                        char hex[DIGEST_HEX_SIZE];
                        struct sha256 s;
                        struct digest d;

                        sha256_init(&s);
                        sha256_update(&s, cases[i].text, strlen(cases[i].text));
                        sha256_final(&s, &d);
                        assert_string_equal(digest_hex(&d, hex), cases[i].hex);
                }
        }
}

static void test_a_million_letters(void **state) {
        char letters[1000], hex[DIGEST_HEX_SIZE];

        (void)state;
        memset(letters, 'a', sizeof letters);
        for_each_way(way) {
                struct sha256 s;
                struct digest d;

                sha256_init(&s);
                for (int i = 0; i < 1000; i++)
                        sha256_update(&s, letters, sizeof letters);
                sha256_final(&s, &d);
                assert_string_equal(digest_hex(&d, hex),
                                    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
        }
}

static void test_every_length_up_to_300(void **state) {
        (void)state;
        for_each_way(way) {
                for (size_t len = 0; len <= 300; len++) {
                        struct sha256 s;

                        sha256_init(&s);
                        sha256_update(&s, one + 1, len); /* not aligned */
                        expect_evp(&s, one + 1, len);
                }
        }
}

static size_t some(struct test_rng *rng, size_t most) {
        size_t n = (size_t)(test_rng_next(rng) % 4 ? test_rng_next(rng) % 150 : test_rng_next(rng) % 3000);

        return n < most ? n : most;
}

static void test_a_stream_is_its_bytes_however_they_come(void **state) {
        struct test_rng rng = test_rng_new("splits");

        (void)state;
        for_each_way(way) {
                for (int round = 0; round < 100; round++) {
                        struct sha256 s;
                        size_t done = 0;

                        sha256_init(&s);
                        while (done < MOST) {
                                size_t n = some(&rng, MOST - done);
                                sha256_update(&s, one + done, n);
                                done += n;
                                if (round == 0)
                                        expect_evp(&s, one, done); /* a final in between disturbs nothing */
                        }
                        expect_evp(&s, one, MOST);
                }
        }
}

/* Every pair of tails, and lengths that end before, at and after the ends of the blocks. */
static void test_two_lanes_with_all_pairs_of_tails(void **state) {
        (void)state;
        for_each_way(way) {
                for (size_t i = 0; i < (size_t)64 * 64; i++) {
                        size_t a_first = i / 64, b_first = i % 64;

                        for (size_t len = 0; len < 400; len += 1 + i % 53) {
                                struct sha256 a, b;

                                sha256_init(&a);
                                sha256_init(&b);
                                sha256_update(&a, one, a_first);
                                sha256_update(&b, two, b_first);
                                sha256_update_two(&a, one + a_first, &b, two + b_first, len);
                                assert_int_equal(a.len, a_first + len);
                                expect_evp(&a, one, a_first + len);
                                expect_evp(&b, two, b_first + len);
                        }
                }
        }
}

/* Two streams of different lengths: together while both have bytes, alone after that. */
static void test_two_lanes_of_different_lengths(void **state) {
        struct test_rng rng = test_rng_new("lanes");

        (void)state;
        for_each_way(way) {
                for (int round = 0; round < 200; round++) {
                        size_t a_len = (size_t)(test_rng_next(&rng) % MOST), a_done = 0;
                        size_t b_len = (size_t)(test_rng_next(&rng) % MOST), b_done = 0;
                        struct sha256 a, b;

                        sha256_init(&a);
                        sha256_init(&b);
                        while (a_done < a_len || b_done < b_len) {
                                size_t na = some(&rng, a_len - a_done), nb = some(&rng, b_len - b_done);
                                size_t both = na < nb ? na : nb;

                                sha256_update_two(&a, one + a_done, &b, two + b_done, both);
                                sha256_update(&a, one + a_done + both, na - both);
                                sha256_update(&b, two + b_done + both, nb - both);
                                a_done += na;
                                b_done += nb;
                        }
                        expect_evp(&a, one, a_len);
                        expect_evp(&b, two, b_len);
                }
        }
}

static void test_a_saved_state_goes_on(void **state) {
        (void)state;
        for_each_way(way) {
                for (size_t cut = 0; cut < 1000; cut += cut < 130 ? 1 : 37) {
                        uint8_t saved[SHA256_SAVED_SIZE];
                        struct sha256 s, loaded;

                        sha256_init(&s);
                        memset(s.tail, 0xff, sizeof s.tail); /* what is not the tail's is not saved */
                        sha256_update(&s, one, cut);
                        sha256_save(&s, saved);
                        memset(&loaded, 0xee, sizeof loaded);
                        assert_int_equal(sha256_load(&loaded, saved), 0);
                        assert_int_equal(loaded.len, cut);
                        sha256_update(&loaded, one + cut, MOST - cut);
                        expect_evp(&loaded, one, MOST);
                }
        }
}

/* The bytes on disk outlive the program that wrote them. */
static void test_the_layout_on_disk(void **state) {
        struct sha256 s = { .h = { 0x01020304, 5, 6, 7, 8, 9, 10, 0xfffefdfc },
                            .len = ((uint64_t)0x0a0b << 32) + 0x40 + 3,
                            .tail = { 'x', 'y', 'z', 'w' } };
        static const uint8_t want[SHA256_SAVED_SIZE] = {
                1, 2, 3, 4, 0, 0,  0,    5,    0,    0,    0, 6, 0,    0,    0, 7, 0, 0,    0,   8,   0,   0,
                0, 9, 0, 0, 0, 10, 0xff, 0xfe, 0xfd, 0xfc, 0, 0, 0x0a, 0x0b, 0, 0, 0, 0x43, 'x', 'y', 'z',
        };
        uint8_t saved[SHA256_SAVED_SIZE];

        (void)state;
        sha256_save(&s, saved);
        assert_memory_equal(saved, want, sizeof want);
}

static void test_what_is_no_state_is_refused(void **state) {
        struct sha256 s, untouched = { .len = 42 };
        uint8_t saved[SHA256_SAVED_SIZE];

        (void)state;
        sha256_init(&s);
        sha256_update(&s, one, 70);
        sha256_save(&s, saved);
        saved[40 + 6] = 1; /* behind the tail */
        assert_int_equal(sha256_load(&untouched, saved), -EINVAL);
        saved[40 + 6] = 0;
        saved[32] = 0x20; /* more bytes than SHA-256 can count the bits of */
        assert_int_equal(sha256_load(&untouched, saved), -EINVAL);
        assert_int_equal(untouched.len, 42);
        saved[32] = 0x1f;
        assert_int_equal(sha256_load(&untouched, saved), 0);
}

static void test_a_copy_is_a_stream_of_its_own(void **state) {
        struct sha256 s, fork;

        (void)state;
        sha256_init(&s);
        sha256_update(&s, one, 100);
        fork = s;
        sha256_update(&s, one + 100, 500);
        sha256_update(&fork, one + 100, 50);
        expect_evp(&s, one, 600);
        expect_evp(&fork, one, 150);
}

static void test_the_lanes_are_switched_off(void **state) {
        (void)state;
        assert_int_equal(sha256_choose(SHA256_OPENSSL), 0);
        assert_int_equal(sha256_lanes(), 1);
        if (sha256_choose(SHA256_LANES) == 0)
                assert_int_equal(sha256_lanes(), 2);
        else
                assert_int_equal(sha256_lanes(), 1); /* as it was */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_known_answers),
                cmocka_unit_test(test_a_million_letters),
                cmocka_unit_test(test_every_length_up_to_300),
                cmocka_unit_test(test_a_stream_is_its_bytes_however_they_come),
                cmocka_unit_test(test_two_lanes_with_all_pairs_of_tails),
                cmocka_unit_test(test_two_lanes_of_different_lengths),
                cmocka_unit_test(test_a_saved_state_goes_on),
                cmocka_unit_test(test_the_layout_on_disk),
                cmocka_unit_test(test_what_is_no_state_is_refused),
                cmocka_unit_test(test_a_copy_is_a_stream_of_its_own),
                cmocka_unit_test(test_the_lanes_are_switched_off),
        };
        return cmocka_run_group_tests_name("base/sha256", tests, fill, NULL);
}
