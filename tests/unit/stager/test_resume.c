/* SPDX-License-Identifier: Apache-2.0 */
/* What a keeper has written is found by resume_check(), as far as the bytes on disk are still those that were
 * hashed. */
#include "tests/unit/test.h"

#include "base/path.h"
#include "cache/cache.h"
#include "stager/resume.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define SIZE (40 * MIB)
#define STEP (4 * MIB) /* between two marks */

struct fixture {
        char dir[64];
        int dir_fd;
        char *data; /* SIZE bytes */
        struct journal_head head;
};

static void assert_ok(int r, const struct error *e) {
        if (r < 0)
                fail_msg("%d: %s", r, e->text);
}

static int setup(void **state) {
        struct fixture *f = calloc(1, sizeof *f);
        struct test_rng rng = { 1 };

        strcpy(f->dir, "/tmp/ms-resume-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        f->data = malloc(SIZE);
        assert_non_null(f->data);
        for (size_t i = 0; i < SIZE; i += sizeof(uint64_t)) {
                uint64_t n = test_rng_next(&rng);
                memcpy(f->data + i, &n, sizeof n);
        }
        f->head = (struct journal_head){ .size = SIZE, .packing = PLAN_RAW };
        assert_int_equal(digest_of(&f->head.digest, f->data, SIZE), 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        struct fixture *f = *state;
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct error e;

        assert_ok(path_remove_tree(tmp, path_base(f->dir), &e), &e);
        close(tmp);
        close(f->dir_fd);
        free(f->data);
        free(f);
        return 0;
}

static void put(const struct fixture *f, const char *name, const void *data, size_t len, size_t offset) {
        int fd = openat(f->dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        assert_return_code(fd, errno);
        assert_int_equal(pwrite(fd, data, len, (off_t)offset), (ssize_t)len);
        close(fd);
}

static size_t size_of(const struct fixture *f, const char *name) {
        struct stat st;

        return fstatat(f->dir_fd, name, &st, 0) == 0 ? (size_t)st.st_size : 0;
}

static struct keeper *begin(const struct fixture *f, const struct keeper_start *start) {
        struct keeper *k;
        struct error e;

        assert_ok(keeper_new(&k, NULL, f->dir_fd, &f->head, start, &e), &e);
        return k;
}

/* Tells of the digest from @from to @to in steps, as a digest reader does. */
static void hash(struct keeper *k, struct sha256 *s, const char *data, size_t from, size_t to) {
        for (size_t n; from < to; from += n) {
                n = MIB / 4 - from % (MIB / 4);
                if (n > to - from)
                        n = to - from;
                sha256_update(s, data + from, n);
                keeper_mark(k, s);
        }
}

static int yes(void *userdata, uint64_t pos, struct error *e) {
        (void)userdata, (void)pos, (void)e;
        return 0;
}

static struct resume check(const struct fixture *f) {
        struct resume r;
        struct error e;

        assert_ok(resume_check(&r, f->dir_fd, &f->head, yes, NULL, &e), &e);
        return r;
}

/* Fetched up to @to: the data, and the journal. */
static uint64_t stage_raw(const struct fixture *f, size_t to) {
        struct keeper *k = begin(f, &(struct keeper_start){ 0 });
        struct sha256 s;

        sha256_init(&s);
        put(f, "blob", f->data, to, 0);
        keeper_file(k, 0, SIZE, "blob", 0);
        hash(k, &s, f->data, 0, to);
        uint64_t pos = keeper_finish(k);
        keeper_free(k);
        return pos;
}

static void test_a_raw_blob_is_gone_on_with_at_its_last_mark(void **state) {
        struct fixture *f = *state;
        struct sha256 s;
        struct digest d;

        assert_int_equal(stage_raw(f, 21 * MIB + 17), 20 * MIB);
        struct resume r = check(f);
        assert_int_equal(r.start.pos, 20 * MIB);
        assert_int_equal(r.start.journal_len, size_of(f, CACHE_JOURNAL));
        assert_in_range(r.start.journal_len, 1, 2000);
        s = r.state;
        sha256_update(&s, f->data + r.start.pos, SIZE - r.start.pos);
        sha256_final(&s, &d);
        assert_true(digest_equal(&d, &f->head.digest));
}

static void test_without_a_mark_nothing_is_written(void **state) {
        struct fixture *f = *state;

        assert_int_equal(stage_raw(f, STEP - 1), 0);
        assert_int_equal(faccessat(f->dir_fd, CACHE_JOURNAL, F_OK, 0), -1);
        assert_int_equal(check(f).start.pos, 0);
}

/* Who may have it is for the registry to say, so that something is always left to be asked for. */
static void test_the_end_is_never_marked(void **state) {
        struct fixture *f = *state;

        assert_int_equal(stage_raw(f, SIZE), SIZE - STEP);
}

static void test_it_goes_on_and_on(void **state) {
        struct fixture *f = *state;

        assert_int_equal(stage_raw(f, 9 * MIB), 8 * MIB);
        for (size_t to = 15 * MIB; to < SIZE; to += 7 * MIB) {
                struct resume r = check(f);
                struct keeper *k = begin(f, &r.start);

                put(f, "blob", f->data + r.start.pos, to - r.start.pos, r.start.pos);
                keeper_file(k, r.start.pos, SIZE, "blob", r.start.pos);
                hash(k, &r.state, f->data, r.start.pos, to);
                uint64_t pos = keeper_finish(k);
                keeper_free(k);
                assert_in_range(pos, to - STEP, to);
                assert_int_equal(check(f).start.pos, pos);
        }
}

static void test_what_changed_on_the_disk_is_found_where_it_begins(void **state) {
        struct fixture *f = *state;

        stage_raw(f, 30 * MIB);
        assert_int_equal(check(f).start.pos, 28 * MIB);
        put(f, "blob", "?", 1, 13 * MIB);
        assert_int_equal(check(f).start.pos, 12 * MIB);
        put(f, "blob", "?", 1, 0);
        assert_int_equal(check(f).start.pos, 0);
}

static void test_what_never_reached_the_disk_is_found(void **state) {
        struct fixture *f = *state;

        stage_raw(f, 30 * MIB);
        assert_int_equal(truncate("/nowhere", 0), -1);
        int fd = openat(f->dir_fd, "blob", O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, 22 * MIB), 0);
        assert_int_equal(check(f).start.pos, 20 * MIB);
        assert_int_equal(ftruncate(fd, SIZE), 0); /* zeros */
        assert_int_equal(check(f).start.pos, 20 * MIB);
        close(fd);
        assert_int_equal(unlinkat(f->dir_fd, "blob", 0), 0);
        assert_int_equal(check(f).start.pos, 0);
        assert_int_equal(mkdirat(f->dir_fd, "blob", 0700), 0);
        assert_int_equal(check(f).start.pos, 0);
        assert_int_equal(unlinkat(f->dir_fd, "blob", AT_REMOVEDIR), 0);
        assert_int_equal(symlinkat("/dev/zero", f->dir_fd, "blob"), 0);
        assert_int_equal(check(f).start.pos, 0);
}

/* Wherever the journal was torn, what is before is used, and a keeper goes on from there. */
static void test_a_torn_journal_is_used_up_to_its_last_whole_batch(void **state) {
        struct fixture *f = *state;
        size_t len, seen = 0;
        uint64_t last = UINT64_MAX;

        stage_raw(f, 13 * MIB);
        len = size_of(f, CACHE_JOURNAL);
        int fd = openat(f->dir_fd, CACHE_JOURNAL, O_WRONLY | O_CLOEXEC);
        while (len-- > 0) {
                assert_int_equal(ftruncate(fd, (off_t)len), 0);
                struct resume r = check(f);
                assert_true(r.start.pos <= last && r.start.journal_len <= len);
                seen += r.start.pos != last;
                last = r.start.pos;
        }
        assert_int_equal(seen, 3); /* at 8, at 4, at 0; the batch of 12 was torn at once */
        close(fd);
}

static void test_a_journal_that_was_changed_is_used_up_to_there(void **state) {
        struct fixture *f = *state;
        size_t len;
        char c;

        stage_raw(f, 13 * MIB);
        len = size_of(f, CACHE_JOURNAL);
        int fd = openat(f->dir_fd, CACHE_JOURNAL, O_RDWR | O_CLOEXEC);
        for (size_t i = 0; i < len; i += 7) {
                assert_int_equal(pread(fd, &c, 1, (off_t)i), 1);
                c ^= 8;
                assert_int_equal(pwrite(fd, &c, 1, (off_t)i), 1);
                assert_in_range(check(f).start.pos, 0, 8 * MIB);
                c ^= 8;
                assert_int_equal(pwrite(fd, &c, 1, (off_t)i), 1);
        }
        close(fd);
        assert_int_equal(check(f).start.pos, 12 * MIB);
}

static void test_a_torn_batch_is_cut_off_before_the_next(void **state) {
        struct fixture *f = *state;

        stage_raw(f, 9 * MIB);
        put(f, CACHE_JOURNAL, f->data, 5000, size_of(f, CACHE_JOURNAL));
        struct resume r = check(f);
        assert_int_equal(r.start.pos, 8 * MIB);
        struct keeper *k = begin(f, &r.start);
        put(f, "blob", f->data, 20 * MIB, 0);
        keeper_file(k, r.start.pos, SIZE, "blob", r.start.pos);
        hash(k, &r.state, f->data, r.start.pos, 17 * MIB);
        keeper_free(k);
        assert_int_equal(check(f).start.pos, 16 * MIB);
}

static void test_another_blob_or_form_has_no_use_for_it(void **state) {
        struct fixture *f = *state;
        const struct journal_head head = f->head;

        stage_raw(f, 9 * MIB);
        f->head.digest.bytes[0] ^= 1;
        assert_int_equal(check(f).start.pos, 0);
        f->head = head;
        f->head.codec = PLAN_CODEC_GZIP;
        assert_int_equal(check(f).start.pos, 0);
        f->head = head;
        f->head.packing = PLAN_TAR;
        assert_int_equal(check(f).start.pos, 0);
        f->head = head;
        f->head.size--;
        assert_int_equal(check(f).start.pos, 0);
}

static int no(void *userdata, uint64_t pos, struct error *e) {
        (void)pos;
        return ++*(int *)userdata == 3 ? error_set(e, ERROR_CANCELLED, "enough") : 0;
}

static void test_the_check_can_be_ended(void **state) {
        struct fixture *f = *state;
        struct resume r;
        struct error e;
        int asked = 0;

        stage_raw(f, 9 * MIB);
        assert_true(resume_check(&r, f->dir_fd, &f->head, no, &asked, &e) < 0);
        assert_int_equal(e.kind, ERROR_CANCELLED);
        assert_int_equal(asked, 3);
}

/* ---- an archive: files of many sizes, and bytes between them ---- */

/* Tells of members of @member bytes up to @to, and makes their files. */
static void tell_archive(const struct fixture *f, struct keeper *k, size_t from, size_t to, size_t member) {
        char name[32];

        for (size_t at = from; at < to; at += 512 + member) {
                size_t data = at + 512, end = data + member < SIZE ? data + member : SIZE;

                snprintf(name, sizeof name, "m%zu", at);
                keeper_bytes(k, at, f->data + at, 512);
                put(f, name, f->data + data, end - data, 0);
                keeper_file(k, data, end, name, 0);
        }
}

static void test_an_archive_is_had_again_from_its_files(void **state) {
        static const size_t members[] = { 100000, 3 * MIB, 30 * MIB };
        struct fixture *f = *state;

        f->head.packing = PLAN_TAR;
        for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
                struct keeper *k = begin(f, &(struct keeper_start){ 0 });
                _cleanup_(resume_reader_freep) struct resume_reader *reader = NULL;
                struct journal_entry entry;
                struct sha256 s;
                struct error e;
                uint64_t pos = 0;
                int r;

                sha256_init(&s);
                tell_archive(f, k, 0, 25 * MIB, members[i]);
                hash(k, &s, f->data, 0, 22 * MIB);
                uint64_t upto = keeper_finish(k);
                keeper_free(k);
                assert_in_range(upto, 22 * MIB - STEP, 22 * MIB);
                assert_int_equal(check(f).start.pos, upto);

                assert_ok(resume_reader_new(&reader, f->dir_fd, upto, &e), &e);
                while ((r = resume_reader_next(reader, &entry, &e)) > 0) {
                        if (entry.kind == JOURNAL_BYTES)
                                assert_memory_equal(entry.data, f->data + pos, entry.len);
                        pos += entry.len;
                }
                assert_ok(r, &e);
                assert_int_equal(pos, upto);
                assert_int_equal(unlinkat(f->dir_fd, "m0", 0), 0);
                assert_int_equal(check(f).start.pos, 0);
                assert_int_equal(unlinkat(f->dir_fd, CACHE_JOURNAL, 0), 0);
        }
}

static void test_the_digest_may_be_ahead_of_the_content(void **state) {
        struct fixture *f = *state;
        struct keeper *k = begin(f, &(struct keeper_start){ 0 });
        struct sha256 s;

        sha256_init(&s);
        f->head.packing = PLAN_TAR;
        put(f, "m", f->data, SIZE, 0);
        keeper_file(k, 0, 10 * MIB, "m", 0);
        hash(k, &s, f->data, 0, 21 * MIB);
        assert_int_equal(check(f).start.pos, 0); /* raw was begun */
        f->head.packing = PLAN_RAW;
        assert_int_equal(check(f).start.pos, 8 * MIB);
        keeper_file(k, 10 * MIB, SIZE, "m", 10 * MIB);
        keeper_free(k);
        assert_int_equal(check(f).start.pos, 20 * MIB);
}

static void test_a_gap_ends_the_journal_and_what_it_has_said_stays(void **state) {
        struct fixture *f = *state;
        struct keeper *k = begin(f, &(struct keeper_start){ 0 });
        struct sha256 s;

        sha256_init(&s);
        put(f, "m", f->data, SIZE, 0);
        keeper_file(k, 0, 10 * MIB, "m", 0);
        hash(k, &s, f->data, 0, 9 * MIB);
        keeper_file(k, 10 * MIB + 1, SIZE, "m", 10 * MIB + 1);
        hash(k, &s, f->data, 9 * MIB, 30 * MIB);
        keeper_free(k);
        assert_int_equal(check(f).start.pos, 8 * MIB);
}

static void test_a_journal_of_tiny_files_ends_before_it_is_large(void **state) {
        struct fixture *f = *state;
        struct keeper *k = begin(f, &(struct keeper_start){ 0 });
        struct sha256 s;

        sha256_init(&s);
        f->head.packing = PLAN_TAR;
        put(f, "m", f->data, SIZE, 0);
        keeper_file(k, 0, 5 * MIB, "m", 0);
        hash(k, &s, f->data, 0, 5 * MIB);
        for (size_t at = 5 * MIB; at < SIZE; at += MIB) {
                for (size_t i = at; i < at + MIB; i += 1024) {
                        keeper_bytes(k, i, f->data + i, 512);
                        keeper_file(k, i + 512, i + 1024, "m", i + 512);
                }
                hash(k, &s, f->data, at, at + MIB);
        }
        keeper_free(k);
        assert_in_range(size_of(f, CACHE_JOURNAL), 1, MIB + SIZE / 16);
        f->head.packing = PLAN_RAW; /* as it was begun */
        assert_int_equal(check(f).start.pos, 8 * MIB);
}

/* How far a journal comes of the first @told bytes of a plain tar of @size, of files of @member bytes. */
static uint64_t covered(struct fixture *f, uint64_t size, uint64_t told, size_t member) {
        size_t padding = (512 - member % 512) % 512, before = 512;
        char gap[2 * 512] = { 0 };
        struct sha256 s;

        f->head = (struct journal_head){ .size = size, .packing = PLAN_TAR };
        struct keeper *k = begin(f, &(struct keeper_start){ 0 });
        sha256_init(&s);
        for (uint64_t i = 0, at = 0; at + before + member <= told; i++, before = padding + 512) {
                char *header = gap + before - 512, name[64];

                memset(gap, 0, sizeof gap);
                snprintf(name, sizeof name, "tree/models/model-%06u.safetensors", (unsigned)i);
                memcpy(header, name + 5, strlen(name) - 5);
                memset(header + 100, '0', 56); /* mode, owner, group, size, time, checksum */
                memcpy(header + 257, "ustar", 5);
                keeper_bytes(k, at, gap, before);
                at += before;
                keeper_file(k, at, at + member, name, 0);
                s.len = at + member / 2;
                keeper_mark(k, &s);
                at += member;
        }
        uint64_t ret = keeper_finish(k);
        keeper_free(k);
        return ret;
}

static void test_a_journal_of_small_files_comes_to_their_end(void **state) {
        assert_true(covered(*state, 256 * MIB, 256 * MIB, 6700) >= 256 * MIB - 2 * STEP);
}

static void test_a_journal_of_a_huge_archive_of_small_files_begins(void **state) {
        assert_true(covered(*state, (uint64_t)1 << 40, 128 * MIB, 4096) >= 128 * MIB - 2 * STEP);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_a_raw_blob_is_gone_on_with_at_its_last_mark),
                TEST(test_without_a_mark_nothing_is_written),
                TEST(test_the_end_is_never_marked),
                TEST(test_it_goes_on_and_on),
                TEST(test_what_changed_on_the_disk_is_found_where_it_begins),
                TEST(test_what_never_reached_the_disk_is_found),
                TEST(test_a_torn_journal_is_used_up_to_its_last_whole_batch),
                TEST(test_a_journal_that_was_changed_is_used_up_to_there),
                TEST(test_a_torn_batch_is_cut_off_before_the_next),
                TEST(test_another_blob_or_form_has_no_use_for_it),
                TEST(test_the_check_can_be_ended),
                TEST(test_an_archive_is_had_again_from_its_files),
                TEST(test_the_digest_may_be_ahead_of_the_content),
                TEST(test_a_gap_ends_the_journal_and_what_it_has_said_stays),
                TEST(test_a_journal_of_tiny_files_ends_before_it_is_large),
                TEST(test_a_journal_of_small_files_comes_to_their_end),
                TEST(test_a_journal_of_a_huge_archive_of_small_files_begins),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
