/* SPDX-License-Identifier: Apache-2.0 */
/* What a failed transfer leaves: who finds it again, what it counts, and when it goes. */
#include "fixture.h"

#define KIB ((uint64_t)1024)
#define DAY_S (24 * 60 * 60)

static struct cache_layer layer_named(const char *name) {
        return (struct cache_layer){ .digest = digest_named(name), .form = CACHE_BLOB };
}

static struct cache_layer private_layer(const char *name, const char *origin) {
        struct cache_layer l = layer_named(name);

        l.is_private = true;
        l.origin = digest_named(origin);
        return l;
}

static struct cache_staging *begin(struct cache *c, const struct cache_layer *l) {
        struct cache_staging *s;
        struct error e;

        assert_ok(cache_staging_begin(&s, c, l, &e), &e);
        return s;
}

/* A journal, and a blob of so many KiB. */
static void leave(struct cache *c, const struct cache_layer *l, size_t kib, int64_t seconds_ago) {
        struct cache_staging *s = begin(c, l);
        int fd, dir = cache_staging_dir(s);
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) - seconds_ago } };

        write_text(dir, CACHE_JOURNAL, "journal", 0600);
        assert_int_equal(utimensat(dir, CACHE_JOURNAL, times, 0), 0);
        fd = openat(dir, "blob", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_return_code(fd, errno);
        assert_int_equal(posix_fallocate(fd, 0, (off_t)(kib * KIB)), 0);
        close(fd);
        cache_staging_leave(s);
}

/* Whether begin finds what was left; then it is gone. */
static bool is_found(struct cache *c, const struct cache_layer *l) {
        struct cache_staging *s = begin(c, l);
        bool found = faccessat(cache_staging_dir(s), CACHE_JOURNAL, F_OK, 0) == 0;

        cache_staging_abort(s);
        return found;
}

static struct cache_space space_of(struct cache *c) {
        struct cache_space s;
        struct error e;

        assert_ok(cache_space(c, &s, &e), &e);
        return s;
}

static size_t count_staging(const struct fixture *f) {
        char path[PATH_MAX];
        size_t n = 0;

        fixture_path(f, "root/staging", path);
        DIR *d = opendir(path);
        assert_non_null(d);
        for (const struct dirent *entry; (entry = readdir(d));)
                n += entry->d_name[0] != '.';
        closedir(d);
        return n;
}

static void test_what_a_failure_leaves_is_found_again(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = layer_named("l");

        leave(f->cache, &l, 8, 0);
        assert_int_equal(count_staging(f), 1);
        assert_true(is_found(f->cache, &l));
        assert_false(is_found(f->cache, &l));
        assert_staging_empty(f);
}

static void test_without_a_journal_nothing_is_left(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = layer_named("l");
        struct cache_staging *s = begin(f->cache, &l);

        write_text(cache_staging_dir(s), "blob", "half", 0600);
        cache_staging_leave(s);
        cache_staging_leave(NULL);
        assert_staging_empty(f);
}

static void test_it_is_found_after_a_restart(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = layer_named("l"), p = private_layer("p", "origin"), tree = layer_named("t");

        tree.form = CACHE_TREE;
        leave(f->cache, &l, 8, 0);
        leave(f->cache, &p, 8, 0);
        leave(f->cache, &tree, 8, 0);
        fixture_reopen(f);
        assert_int_equal(count_staging(f), 3);
        assert_in_range(space_of(f->cache).partial, 24 * KIB, 200 * KIB);
        assert_true(is_found(f->cache, &l));
        assert_true(is_found(f->cache, &p));
        assert_true(is_found(f->cache, &tree));
        assert_int_equal(space_of(f->cache).partial, 0);
}

static void test_what_was_being_written_at_a_crash_is_found(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = layer_named("l");
        char name[PATH_MAX], hex[DIGEST_HEX_SIZE];

        cache_close(f->cache);
        f->cache = NULL;
        snprintf(name, sizeof name, "%s/root/staging/%s.blob", f->dir, digest_hex(&l.digest, hex));
        assert_int_equal(mkdir(name, 0700), 0);
        strcat(name, "/" CACHE_JOURNAL);
        write_text(AT_FDCWD, name, "anything", 0600);
        fixture_reopen(f);
        assert_true(is_found(f->cache, &l));
}

static void test_names_that_are_not_ours_are_removed_at_a_start(void **state) {
        static const char *const names[] = { "x.blob",      "%s",          "%s.",
                                             "%s.other",    "%s.blob.1",   "%s.blob.",
                                             "%s.blob.%s0", "%s.tree.%sx", "gone.7" };
        struct fixture *f = *state;
        struct digest d = digest_named("l");
        char hex[DIGEST_HEX_SIZE];

        cache_close(f->cache);
        f->cache = NULL;
        digest_hex(&d, hex);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                char name[512], path[1024];
                const char *rest = strstr(names[i], "%s") ? names[i] + 2 : names[i];
                const char *second = strstr(rest, "%s");

                snprintf(name, sizeof name, "%s%.*s%s%s", rest == names[i] ? "" : hex,
                         second ? (int)(second - rest) : (int)strlen(rest), rest, second ? hex : "",
                         second ? second + 2 : "");
                snprintf(path, sizeof path, "%s/root/staging/%s", f->dir, name);
                assert_int_equal(mkdir(path, 0700), 0);
                strcat(path, "/" CACHE_JOURNAL);
                write_text(AT_FDCWD, path, "x", 0600);
        }
        fixture_reopen(f);
        assert_staging_empty(f);
}

static void test_it_is_shown_to_who_asks_in_the_same_way(void **state) {
        struct fixture *f = *state;
        struct cache_layer open_ = layer_named("l"), one = private_layer("l", "one"),
                           two = private_layer("l", "two");
        const struct cache_layer *const asks[][2] = { { &open_, &one }, { &one, &open_ }, { &one, &two } };

        for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
                leave(f->cache, asks[i][0], 8, 0);
                assert_false(is_found(f->cache, asks[i][1]));
                assert_false(is_found(f->cache, asks[i][0])); /* one of a layer is enough */
                assert_staging_empty(f);
        }
        leave(f->cache, &one, 8, 0);
        assert_true(is_found(f->cache, &one));
}

static void test_two_at_once_do_not_share_it(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = layer_named("l");

        leave(f->cache, &l, 8, 0);
        struct cache_staging *first = begin(f->cache, &l), *second = begin(f->cache, &l);
        assert_int_equal(faccessat(cache_staging_dir(first), CACHE_JOURNAL, F_OK, 0), 0);
        assert_int_equal(faccessat(cache_staging_dir(second), CACHE_JOURNAL, F_OK, 0), -1);
        write_text(cache_staging_dir(second), CACHE_JOURNAL, "journal", 0600);
        cache_staging_leave(second); /* it has no name that could be found */
        assert_int_equal(count_staging(f), 1);
        cache_staging_leave(first);
        assert_true(is_found(f->cache, &l));
}

static void test_it_goes_when_the_layer_is_here(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = private_layer("text", "origin");

        leave(f->cache, &l, 8, 0);
        stage_raw(f->cache, "text");
        assert_staging_empty(f);
        assert_int_equal(space_of(f->cache).partial, 0);
}

static void test_it_goes_after_a_day_without_progress(void **state) {
        struct fixture *f = *state;
        struct cache_layer old = layer_named("old"), fresh = layer_named("fresh"), ahead = layer_named("z");
        struct cache_reservation *r;
        char name[PATH_MAX], hex[DIGEST_HEX_SIZE];
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) - DAY_S - 60 } };
        struct error e;

        leave(f->cache, &old, 8, DAY_S + 60); /* it is too old already */
        assert_staging_empty(f);
        leave(f->cache, &old, 8, DAY_S - 60);
        leave(f->cache, &fresh, 8, 0);
        leave(f->cache, &ahead, 8, -2 * DAY_S);
        assert_int_equal(count_staging(f), 2);
        assert_ok(cache_reserve(&r, f->cache, 1, &e), &e);
        cache_reservation_release(r);
        assert_int_equal(count_staging(f), 2);
        snprintf(name, sizeof name, "%s/root/staging/%s.blob/%s", f->dir, digest_hex(&old.digest, hex),
                 CACHE_JOURNAL);
        assert_int_equal(utimensat(AT_FDCWD, name, times, 0), 0);
        fixture_reopen(f);
        assert_int_equal(count_staging(f), 1);
        assert_true(is_found(f->cache, &fresh));
}

/* ---- space ---- */

static void limit(struct fixture *f, const char *bytes) {
        struct error e;

        assert_ok(settings_set(f->settings, "cache.maxBytes", bytes, &e), &e);
}

static void test_it_is_used_space(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = layer_named("l");

        limit(f, "1MiB");
        leave(f->cache, &l, 256, 0);
        struct cache_space s = space_of(f->cache);
        assert_in_range(s.partial, 256 * KIB, 300 * KIB);
        assert_int_equal(s.used, s.partial);
        assert_int_equal(s.free, 1024 * KIB - s.partial);
}

static void test_the_oldest_go_first_when_their_space_is_needed(void **state) {
        struct fixture *f = *state;
        struct cache_layer a = layer_named("a"), b = layer_named("b"), c = layer_named("c");
        struct cache_reservation *r;
        struct error e;

        limit(f, "1MiB");
        leave(f->cache, &a, 200, 10);
        leave(f->cache, &b, 200, 30);
        leave(f->cache, &c, 200, 20);
        assert_ok(cache_reserve(&r, f->cache, 700 * KIB, &e), &e);
        assert_int_equal(count_staging(f), 1);
        assert_int_equal(cache_reservation_grow(r, 400 * KIB, &e), -ENOSPC);
        assert_non_null(strstr(e.text, "1.0 MiB used"));
        assert_int_equal(count_staging(f), 0);
        cache_reservation_release(r);
}

static void test_verified_layers_that_nothing_uses_go_before_it(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = layer_named("l");
        struct cache_reservation *r;
        static char text[600 * 1024 + 1];
        struct error e;

        limit(f, "1MiB");
        memset(text, 'x', sizeof text - 1);
        stage_raw(f->cache, text);
        leave(f->cache, &l, 200, 0);
        assert_ok(cache_reserve(&r, f->cache, 700 * KIB, &e), &e);
        assert_true(is_found(f->cache, &l));
        cache_reservation_release(r);
}

/* Two thirds of the space: it is gone on with in the very space that it takes. */
static void test_who_holds_the_layer_reserves_with_what_is_here(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = layer_named("l"), other = layer_named("other");
        struct cache_reservation *r;
        struct error e;

        limit(f, "1MiB");
        leave(f->cache, &l, 600, 20);
        leave(f->cache, &other, 100, 0);
        cache_layer_hold(f->cache, &l.digest);
        assert_ok(cache_reserve(&r, f->cache, 900 * KIB, &e), &e);
        assert_int_equal(space_of(f->cache).reserved, 900 * KIB);
        assert_true(is_found(f->cache, &l));
        assert_true(is_found(f->cache, &other));
        cache_reservation_release(r);
        cache_layer_unhold(f->cache, &l.digest);
}

static void test_even_that_goes_if_it_does_not_fit_otherwise(void **state) {
        struct fixture *f = *state;
        struct cache_layer l = layer_named("l"), other = layer_named("other");
        struct cache_reservation *r, *second;
        struct error e;

        limit(f, "1MiB");
        cache_layer_hold(f->cache, &l.digest);
        assert_ok(cache_reserve(&r, f->cache, 500 * KIB, &e), &e);
        leave(f->cache, &other, 100, 0);
        leave(f->cache, &l, 300, 10);
        assert_int_equal(cache_reserve(&second, f->cache, 600 * KIB, &e), -ENOSPC);
        assert_staging_empty(f);
        cache_reservation_release(r);
        cache_layer_unhold(f->cache, &l.digest);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_what_a_failure_leaves_is_found_again),
                TEST(test_without_a_journal_nothing_is_left),
                TEST(test_it_is_found_after_a_restart),
                TEST(test_what_was_being_written_at_a_crash_is_found),
                TEST(test_names_that_are_not_ours_are_removed_at_a_start),
                TEST(test_it_is_shown_to_who_asks_in_the_same_way),
                TEST(test_two_at_once_do_not_share_it),
                TEST(test_it_goes_when_the_layer_is_here),
                TEST(test_it_goes_after_a_day_without_progress),
                TEST(test_it_is_used_space),
                TEST(test_the_oldest_go_first_when_their_space_is_needed),
                TEST(test_verified_layers_that_nothing_uses_go_before_it),
                TEST(test_who_holds_the_layer_reserves_with_what_is_here),
                TEST(test_even_that_goes_if_it_does_not_fit_otherwise),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
