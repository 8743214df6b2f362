/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's format, and that its end is found wherever it was torn or changed. */
#include "tests/unit/test.h"

#include "stager/journal.h"

#include <limits.h>
#include <string.h>

#define CAP ((size_t)16 << 20)

static struct sha256 state_at(uint64_t len) {
        struct sha256 s;

        sha256_init(&s);
        s.len = len;
        return s;
}

static void test_a_head_is_read_as_it_was_written(void **state) {
        struct journal_head h = { .size = UINT64_C(1) << 41, .packing = PLAN_TAR, .codec = PLAN_CODEC_ZSTD };
        char data[JOURNAL_HEAD_SIZE];
        struct journal_head got;

        (void)state;
        assert_int_equal(digest_of(&h.digest, "x", 1), 0);
        journal_print_head(data, &h);
        assert_true(journal_parse_head(&got, data));
        assert_true(journal_head_equal(&h, &got));
        for (size_t i = 0; i < sizeof data; i++) {
                data[i] ^= 1;
                assert_false(journal_parse_head(&got, data));
                data[i] ^= 1;
        }
}

static void test_heads_differ_by_each_of_their_parts(void **state) {
        struct journal_head a = { .size = 1, .packing = PLAN_TAR }, b = a;

        (void)state;
        assert_true(journal_head_equal(&a, &b));
        b.size = 2;
        assert_false(journal_head_equal(&a, &b));
        b = a;
        b.packing = PLAN_RAW;
        assert_false(journal_head_equal(&a, &b));
        b = a;
        b.codec = PLAN_CODEC_GZIP;
        assert_false(journal_head_equal(&a, &b));
        b = a;
        b.digest.bytes[31] = 1;
        assert_false(journal_head_equal(&a, &b));
}

/* A batch of the bytes [from, to) with what @entries has. */
static void print_batch(struct buf *out, uint64_t from, uint64_t to, const struct buf *entries) {
        assert_int_equal(journal_print_batch(out, &(struct journal_batch){ .from = from,
                                                                           .to = to,
                                                                           .state = state_at(to),
                                                                           .entries = entries->data,
                                                                           .len = entries->len }),
                         0);
}

static void print_entry(struct buf *out, struct journal_entry entry) {
        assert_int_equal(journal_print_entry(out, &entry), 0);
}

static void test_entries_are_read_as_they_were_written(void **state) {
        _cleanup_buf_ struct buf entries = BUF_INIT(CAP), out = BUF_INIT(CAP);
        struct journal_batch b;
        struct journal_entry entry;

        (void)state;
        print_entry(&entries, (struct journal_entry){
                                  .kind = JOURNAL_FILE, .len = 10, .offset = 7, .name = "tree/a/b" });
        print_entry(&entries, (struct journal_entry){ .kind = JOURNAL_BYTES, .len = 3, .data = "xyz" });
        print_entry(&entries, (struct journal_entry){ .kind = JOURNAL_ZEROS, .len = 1000 });
        print_batch(&out, 5, 1018, &entries);
        assert_int_equal(journal_batch_size(out.data), out.len);
        assert_true(journal_parse_batch(&b, out.data, out.len));
        assert_int_equal(b.from, 5);
        assert_int_equal(b.to, 1018);
        assert_int_equal(b.state.len, 1018);
        assert_true(journal_next(&b, &entry));
        assert_int_equal(entry.kind, JOURNAL_FILE);
        assert_int_equal(entry.len, 10);
        assert_int_equal(entry.offset, 7);
        assert_string_equal(entry.name, "tree/a/b");
        assert_true(journal_next(&b, &entry));
        assert_int_equal(entry.kind, JOURNAL_BYTES);
        assert_int_equal(entry.len, 3);
        assert_memory_equal(entry.data, "xyz", 3);
        assert_true(journal_next(&b, &entry));
        assert_int_equal(entry.kind, JOURNAL_ZEROS);
        assert_int_equal(entry.len, 1000);
        assert_false(journal_next(&b, &entry));
}

/* A tar header is mostly zeros. */
static void test_runs_of_zeros_take_no_room(void **state) {
        _cleanup_buf_ struct buf entries = BUF_INIT(CAP), out = BUF_INIT(CAP);
        char data[3000] = { 0 }, got[3000];
        struct journal_batch b;
        struct journal_entry entry;
        size_t n = 0;

        (void)state;
        memset(data, 'a', 10);
        memset(data + 40, 'b', 10); /* not far enough */
        data[2000] = 'c';
        print_entry(&entries,
                    (struct journal_entry){ .kind = JOURNAL_BYTES, .len = sizeof data, .data = data });
        assert_in_range(entries.len, 50, 200);
        print_batch(&out, 0, sizeof data, &entries);
        assert_true(journal_parse_batch(&b, out.data, out.len));
        while (journal_next(&b, &entry)) {
                if (entry.kind == JOURNAL_ZEROS)
                        memset(got + n, 0, entry.len);
                else
                        memcpy(got + n, entry.data, entry.len);
                n += entry.len;
        }
        assert_int_equal(n, sizeof data);
        assert_memory_equal(got, data, sizeof data);
}

static void test_a_torn_or_changed_batch_is_none(void **state) {
        _cleanup_buf_ struct buf entries = BUF_INIT(CAP), out = BUF_INIT(CAP);
        struct journal_batch b;

        (void)state;
        print_entry(&entries, (struct journal_entry){ .kind = JOURNAL_FILE, .len = 10, .name = "blob" });
        print_entry(&entries, (struct journal_entry){ .kind = JOURNAL_BYTES, .len = 5, .data = "bytes" });
        print_batch(&out, 0, 15, &entries);
        for (size_t len = 0; len < out.len; len++)
                assert_false(journal_parse_batch(&b, out.data, len));
        for (size_t i = 0; i < out.len; i++) {
                out.data[i] ^= 0x40;
                assert_false(journal_parse_batch(&b, out.data, out.len));
                out.data[i] ^= 0x40;
        }
        assert_true(journal_parse_batch(&b, out.data, out.len));
}

/* With a right checksum: made by somebody else, or by a mistake. */
static void assert_refused(uint64_t from, uint64_t to, const char *entries, size_t len) {
        _cleanup_buf_ struct buf out = BUF_INIT(CAP);
        struct journal_batch b = {
                .from = from, .to = to, .state = state_at(to), .entries = entries, .len = len
        };

        assert_int_equal(journal_print_batch(&out, &b), 0);
        assert_false(journal_parse_batch(&b, out.data, out.len));
}

static void test_what_makes_no_sense_is_refused(void **state) {
        static const char *const names[] = { "", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a/", "a\nb" };
        const struct journal_entry file = { .kind = JOURNAL_FILE, .len = 10, .name = "blob" };
        _cleanup_buf_ struct buf good = BUF_INIT(CAP);

        (void)state;
        print_entry(&good, file);
        assert_refused(0, 9, good.data, good.len);   /* more than it is for */
        assert_refused(0, 11, good.data, good.len);  /* less */
        assert_refused(10, 10, good.data, good.len); /* nothing */
        assert_refused(0, 10, good.data, good.len - 1);
        assert_refused(0, 10, "", 0);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                _cleanup_buf_ struct buf bad = BUF_INIT(CAP);

                print_entry(&bad,
                            (struct journal_entry){ .kind = JOURNAL_FILE, .len = 10, .name = names[i] });
                assert_refused(0, 10, bad.data, bad.len);
        }
        _cleanup_buf_ struct buf far = BUF_INIT(CAP);
        print_entry(&far, (struct journal_entry){
                              .kind = JOURNAL_FILE, .len = 10, .offset = INT64_MAX - 9, .name = "b" });
        assert_refused(0, 10, far.data, far.len);
        good.data[0] = 'X';
        assert_refused(0, 10, good.data, good.len);
}

static void test_a_state_of_another_place_is_refused(void **state) {
        _cleanup_buf_ struct buf entries = BUF_INIT(CAP), out = BUF_INIT(CAP);
        struct journal_batch b;

        (void)state;
        print_entry(&entries, (struct journal_entry){ .kind = JOURNAL_FILE, .len = 10, .name = "blob" });
        b = (struct journal_batch){
                .to = 10, .state = state_at(11), .entries = entries.data, .len = entries.len
        };
        assert_int_equal(journal_print_batch(&out, &b), 0);
        assert_false(journal_parse_batch(&b, out.data, out.len));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_head_is_read_as_it_was_written),
                cmocka_unit_test(test_heads_differ_by_each_of_their_parts),
                cmocka_unit_test(test_entries_are_read_as_they_were_written),
                cmocka_unit_test(test_runs_of_zeros_take_no_room),
                cmocka_unit_test(test_a_torn_or_changed_batch_is_none),
                cmocka_unit_test(test_what_makes_no_sense_is_refused),
                cmocka_unit_test(test_a_state_of_another_place_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
