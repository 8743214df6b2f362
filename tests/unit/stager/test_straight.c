/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: survey_adopt place_write */
/* Plain archives whose large members go from the window straight to their files, seen through whole transfers:
 * every byte is right, and what can go straight does. */
#include "tests/unit/stager/tar_builder.h"

#include "stager/survey.h"
#include "tests/unit/stager/engine_world.h"

static atomic_uint adopted;         /* members whose file was made ahead */
static atomic_uint_fast64_t copied; /* bytes that took the other way */
static atomic_bool adopt_no_more = false;
static atomic_uint most_open; /* files at once */

int __real_survey_adopt(struct place_file **ret, uint64_t *ret_from, struct survey *s, uint64_t data,
                        uint64_t size, int parent_fd, const char *name, struct error *e);
int __wrap_survey_adopt(struct place_file **ret, uint64_t *ret_from, struct survey *s, uint64_t data,
                        uint64_t size, int parent_fd, const char *name, struct error *e);
int __real_place_write(struct place_file *f, const void *data, size_t len, uint64_t offset, struct error *e);
int __wrap_place_write(struct place_file *f, const void *data, size_t len, uint64_t offset, struct error *e);

int __wrap_survey_adopt(struct place_file **ret, uint64_t *ret_from, struct survey *s, uint64_t data,
                        uint64_t size, int parent_fd, const char *name, struct error *e) {
        if (adopt_no_more)
                return 0;
        int r = __real_survey_adopt(ret, ret_from, s, data, size, parent_fd, name, e);

        adopted += r == 1;
        if (most_open < s->placer->n_files)
                most_open = s->placer->n_files;
        return r;
}

int __wrap_place_write(struct place_file *f, const void *data, size_t len, uint64_t offset, struct error *e) {
        copied += len;
        return __real_place_write(f, data, len, offset, e);
}

struct member {
        const char *name;
        size_t size, from; /* of its content in the contents */
};

struct archive_plan {
        struct buf contents;
        struct member members[64];
        size_t n;
};

static void plan_free(struct archive_plan *p) {
        buf_free(&p->contents);
}

static void add(struct world *w, struct archive_plan *p, const char *name, size_t size) {
        struct member *m = &p->members[p->n++];

        *m = (struct member){ name, size, p->contents.len };
        append_random(&p->contents, size, UINT64_MAX);
        if (strlen(name) > 99)
                tar_gnu_long(&w->data, 'L', name);
        tar_header(&w->data, '0', strlen(name) > 99 ? "long" : name, NULL, size, 0644);
        tar_data(&w->data, p->contents.data + m->from, size);
}

static struct delivery *fetch(struct world *w) {
        adopted = 0;
        copied = 0;
        most_open = 0;
        struct delivery *d = start(w, PLAN_TAR, PLAN_CODEC_NONE);
        go(d);
        return d;
}

static void assert_files(struct delivery *d, const struct archive_plan *p) {
        _cleanup_free_ char *path = NULL;
        unsigned left_over = 0;

        assert_done(d);
        for (size_t i = 0; i < p->n; i++) {
                free(path);
                assert_true(asprintf(&path, "tree/%s", p->members[i].name) > 0);
                assert_content(d, path, p->contents.data + p->members[i].from, p->members[i].size);
        }
        assert_int_equal(d->placed.files, p->n);
        assert_int_equal(d->placed.bytes, p->contents.len);
        for (unsigned i = 0; i < 64; i++) {
                char name[32];
                struct stat st;

                snprintf(name, sizeof name, "region.%u", i);
                left_over += fstatat(d->order.dir_fd, name, &st, 0) == 0;
        }
        assert_int_equal(left_over, 0);
}

static void assert_members(struct delivery *d, const struct archive_plan *p) {
        assert_files(d, p);
        assert_int_equal(d->wrote, p->contents.len);
}

static struct archive_plan plan_new(void) {
        return (struct archive_plan){ .contents = BUF_INIT(256 * MIB) };
}

#define LONG_NAME \
        "a/very/long/name/" \
        "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567" \
        "89/big"

static void test_large_members_go_straight_to_their_files(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();

        add(w, &p, "config.json", 700);
        add(w, &p, "one", 9 * MIB + 1234);
        add(w, &p, "small", 5000);
        add(w, &p, LONG_NAME, 7 * MIB);
        add(w, &p, "two", 12 * MIB + 4095);
        add(w, &p, "empty", 0);
        tar_end(&w->data);
        serve(w);
        assert_members(fetch(w), &p);
        assert_int_equal(adopted, 3);
        assert_true(copied <= 5700 + MIB); /* the first segment is here before anything is known */
        plan_free(&p);
}

static void test_member_that_is_found_late_is_half_copied(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();
        static char names[40][16];

        for (unsigned i = 0; i < 40; i++) { /* no probe is worth these */
                snprintf(names[i], sizeof names[i], "f%u", i);
                add(w, &p, names[i], MIB / 2);
        }
        add(w, &p, "big", 80 * MIB + 77);
        tar_end(&w->data);
        serve(w);
        assert_members(fetch(w), &p);
        assert_int_equal(adopted, 1);
        assert_true(copied < 60 * MIB);
        plan_free(&p);
}

static void test_archive_may_end_with_the_last_byte_of_a_file(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();

        add(w, &p, "small", 10);
        add(w, &p, "big", 9 * MIB + 10);
        w->data.len -= TAR_BLOCK - 10; /* not even padding */
        serve(w);
        assert_members(fetch(w), &p);
        assert_int_equal(adopted, 1);
        plan_free(&p);
}

static void test_last_member_of_a_name_wins_and_links_follow(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();
        struct stat a, b;

        add(w, &p, "big", 9 * MIB);
        tar_header(&w->data, '1', "link", "big", 0, 0644);
        add(w, &p, "big", 10 * MIB + 1);
        tar_end(&w->data);
        serve(w);
        struct delivery *d = fetch(w);
        assert_done(d);
        assert_content(d, "tree/link", p.contents.data, 9 * MIB);
        assert_content(d, "tree/big", p.contents.data + 9 * MIB, 10 * MIB + 1);
        assert_int_equal(fstatat(d->order.dir_fd, "tree/link", &a, 0), 0);
        assert_int_equal(fstatat(d->order.dir_fd, "tree/big", &b, 0), 0);
        assert_true(a.st_ino != b.st_ino);
        assert_int_equal(adopted, 2);
        plan_free(&p);
}

static void test_member_that_is_not_taken_is_copied(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();

        add(w, &p, "one", 9 * MIB);
        add(w, &p, "two", 9 * MIB);
        tar_end(&w->data);
        serve(w);
        adopt_no_more = true;
        struct delivery *d = fetch(w);
        assert_done(d);
        adopt_no_more = false;
        assert_content(d, "tree/one", p.contents.data, 9 * MIB);
        assert_content(d, "tree/two", p.contents.data + 9 * MIB, 9 * MIB);
        assert_int_equal(copied, 18 * MIB);
        plan_free(&p);
}

static void test_server_without_ranges_is_read_straight_too(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();

        add(w, &p, "one", 60 * MIB + 1);
        add(w, &p, "two", 40 * MIB);
        tar_end(&w->data);
        w->server.ignore_range = true;
        serve(w);
        assert_members(fetch(w), &p);
        assert_int_equal(adopted, 2);
        plan_free(&p);
}

static void test_connections_that_break_do_not_matter(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();

        add(w, &p, "one", 30 * MIB + 1);
        add(w, &p, "two", 20 * MIB);
        tar_end(&w->data);
        w->server.cut = 5;
        serve(w);
        assert_members(fetch(w), &p);
        assert_int_equal(adopted, 2);
        plan_free(&p);
}

static void test_wrong_byte_in_a_straight_file_is_data_loss(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();

        add(w, &p, "one", 30 * MIB + 1);
        tar_end(&w->data);
        serve(w);
        struct delivery *d = start(w, PLAN_TAR, PLAN_CODEC_NONE);
        w->data.data[20 * MIB] ^= 1;
        go(d);
        assert_failed(d, ERROR_DATA_LOSS);
        plan_free(&p);
}

/* There are more of them than regions, and none ever finds its member. */
static void test_large_members_without_a_place_hold_nothing_up(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();
        static char names[REGIONS_MAX + 4][16];

        for (unsigned i = 0; i < REGIONS_MAX + 4; i++) {
                snprintf(names[i], sizeof names[i], ".wh..wh.%u", i);
                add(w, &p, names[i], 5 * MIB);
        }
        add(w, &p, "last", 6 * MIB + 1);
        tar_end(&w->data);
        serve(w);
        struct delivery *d = fetch(w);
        assert_done(d);
        assert_content(d, "tree/last", p.contents.data + p.members[REGIONS_MAX + 4].from, 6 * MIB + 1);
        assert_int_equal(d->placed.files, 1);
        assert_int_equal(d->placed.bytes, 6 * MIB + 1); /* what was made for the others does not count */
        plan_free(&p);
}

/* Nobody reads it any more, nobody takes its files: nothing may wait for that. */
static void test_archive_that_is_refused_early_is_hashed_to_its_end(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();
        struct transfer_progress progress;

        add(w, &p, "../evil", 100);
        for (unsigned i = 0; i < REGIONS_MAX + 3; i++)
                add(w, &p, "large", 5 * MIB + 99);
        tar_end(&w->data);
        w->server.forbid = 2; /* and its address expires meanwhile */
        serve(w);
        struct delivery *d = fetch(w);
        assert_failed(d, ERROR_INVALID);
        assert_int_equal(w->server.forbid, 0);
        transfer_progress(d->transfer, &progress);
        assert_int_equal(progress.done, w->data.len);
        w->server.flip = INT32_MAX;
        assert_failed(fetch(w), ERROR_DATA_LOSS); /* the digest has the first word */
        plan_free(&p);
}

static void test_archive_that_lies_to_the_scout_leaves_nothing(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();

        add(w, &p, "one", 9 * MIB);
        append_random(&w->data, 10 * MIB / TAR_BLOCK * TAR_BLOCK, UINT64_MAX); /* no header */
        serve(w);
        struct delivery *d = fetch(w);
        assert_failed(d, ERROR_INVALID);
        plan_free(&p);
}

/* The bytes that small ranges are told to have: a plain header in front of @size bytes where in truth an
 * extension and a header are. */
static char *lies_of(const struct world *w, size_t at, uint64_t size) {
        _cleanup_buf_ struct buf header = BUF_INIT(MIB);
        char *lies = malloc(w->data.len);

        assert_non_null(lies);
        memcpy(lies, w->data.data, w->data.len);
        tar_header(&header, '0', "lie", NULL, size, 0644);
        memcpy(lies + at, header.data, header.len);
        return lies;
}

static void test_host_that_lies_about_where_the_data_begin_is_not_believed(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();

        add(w, &p, "one", 9 * MIB);
        size_t at = w->data.len;
        add(w, &p, LONG_NAME, 12 * MIB);
        tar_end(&w->data);
        _cleanup_free_ char *lies = lies_of(w, at, 12 * MIB);
        w->server.lies = lies;
        serve(w);
        assert_files(fetch(w), &p);
        plan_free(&p);
}

/* Star's way to say that a file is longer than its data. */
static void test_host_that_lies_about_how_many_data_there_are_is_found_out(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();
        _cleanup_free_ char *zeros = calloc(1, 12 * MIB);

        add(w, &p, "one", 9 * MIB);
        size_t at = w->data.len;
        tar_pax(&w->data, "SCHILY.realsize", "12582912");
        tar_header(&w->data, '0', "two", NULL, 8 * MIB, 0644);
        tar_data(&w->data, zeros, 8 * MIB);
        add(w, &p, "three", 9 * MIB);
        tar_end(&w->data);
        _cleanup_free_ char *lies = malloc(w->data.len);
        _cleanup_buf_ struct buf fake = BUF_INIT(MIB);
        assert_non_null(lies);
        memcpy(lies, w->data.data, w->data.len);
        tar_pax(&fake, "SCHILY.fakesize", "12582912");
        tar_header(&fake, '0', "two", NULL, 12 * MIB, 0644);
        memcpy(lies + at, fake.data, fake.len);
        w->server.lies = lies;
        serve(w);
        assert_failed(fetch(w), ERROR_INVALID);
        plan_free(&p);
}

static void test_files_are_closed_as_soon_as_they_are_complete(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new();
        static char names[48][16];

        for (unsigned i = 0; i < 48; i++) {
                snprintf(names[i], sizeof names[i], "f%u", i);
                add(w, &p, names[i], 4 * MIB);
        }
        tar_end(&w->data);
        serve(w);
        assert_members(fetch(w), &p);
        assert_true(adopted > 40);
        assert_true(most_open < 40);
        plan_free(&p);
}

/* aufs' own files are in no tree. */
static void test_members_that_are_left_out_are_not_counted(void **state) {
        struct world *w = *state;
        struct archive_plan p = plan_new(), left_out = plan_new();

        for (unsigned i = 0; i < 40; i++) /* more than there are regions */
                add(w, &left_out, ".wh..wh.orph", 5 * MIB);
        add(w, &p, "one", 9 * MIB);
        for (unsigned i = 0; i < 4; i++)
                add(w, &left_out, ".wh..wh.orph", 5 * MIB);
        tar_end(&w->data);
        serve(w);
        struct delivery *d = fetch(w);
        assert_done(d);
        assert_int_equal(d->placed.files, 1);
        assert_int_equal(d->placed.bytes, 9 * MIB);
        plan_free(&left_out);
        plan_free(&p);
}

#define T(f) \
        cmocka_unit_test_setup_teardown(f, set_up_auto, tear_down), \
            cmocka_unit_test_setup_teardown(f, set_up_posix, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_large_members_go_straight_to_their_files),
                T(test_member_that_is_found_late_is_half_copied),
                T(test_archive_may_end_with_the_last_byte_of_a_file),
                T(test_last_member_of_a_name_wins_and_links_follow),
                T(test_member_that_is_not_taken_is_copied),
                T(test_server_without_ranges_is_read_straight_too),
                T(test_connections_that_break_do_not_matter),
                T(test_wrong_byte_in_a_straight_file_is_data_loss),
                T(test_large_members_without_a_place_hold_nothing_up),
                T(test_archive_that_is_refused_early_is_hashed_to_its_end),
                T(test_archive_that_lies_to_the_scout_leaves_nothing),
                T(test_host_that_lies_about_where_the_data_begin_is_not_believed),
                T(test_host_that_lies_about_how_many_data_there_are_is_found_out),
                T(test_files_are_closed_as_soon_as_they_are_complete),
                T(test_members_that_are_left_out_are_not_counted),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
