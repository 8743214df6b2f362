/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every system call may fail. The 1st, 2nd, 3rd … call of one kind fails while a model is made, pinned and
 * removed, until a run has none left to fail; after each failure what is visible is whole, and trying again
 * works.
 *
 * renameat(), linkat() and others are wrapped in the whole program, so also in base.
 */
/* WRAP: fsync renameat linkat mkdirat openat unlinkat fchmod readdir */
#include "fixture.h"

#include <stdarg.h>

static struct {
        const char *call;  /* that fails; NULL: none */
        unsigned at, seen; /* the at-th from now, counted from 1 */
        int error;
} fault;

static bool fails(const char *call) {
        if (!fault.call || strcmp(fault.call, call) != 0 || ++fault.seen != fault.at)
                return false;
        errno = fault.error;
        return true;
}

static bool is_typeless; /* the file system tells no types with the names */

struct dirent *__real_readdir(DIR *d);
struct dirent *__wrap_readdir(DIR *d);
struct dirent *__wrap_readdir(DIR *d) {
        struct dirent *entry = __real_readdir(d);

        if (entry && is_typeless)
                entry->d_type = DT_UNKNOWN;
        return entry;
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
        return fails("fsync") ? -1 : __real_fsync(fd);
}

int __real_renameat(int a, const char *b, int c, const char *d);
int __wrap_renameat(int a, const char *b, int c, const char *d);
int __wrap_renameat(int a, const char *b, int c, const char *d) {
        return fails("renameat") ? -1 : __real_renameat(a, b, c, d);
}

int __real_linkat(int a, const char *b, int c, const char *d, int flags);
int __wrap_linkat(int a, const char *b, int c, const char *d, int flags);
int __wrap_linkat(int a, const char *b, int c, const char *d, int flags) {
        return fails("linkat") ? -1 : __real_linkat(a, b, c, d, flags);
}

int __real_mkdirat(int a, const char *b, mode_t mode);
int __wrap_mkdirat(int a, const char *b, mode_t mode);
int __wrap_mkdirat(int a, const char *b, mode_t mode) {
        return fails("mkdirat") ? -1 : __real_mkdirat(a, b, mode);
}

int __real_openat(int a, const char *b, int flags, ...);
int __wrap_openat(int a, const char *b, int flags, ...);
int __wrap_openat(int a, const char *b, int flags, ...) {
        mode_t mode = 0;
        va_list ap;

        va_start(ap, flags);
        if (flags & O_CREAT)
                mode = va_arg(ap, mode_t);
        va_end(ap);
        return fails("openat") ? -1 : __real_openat(a, b, flags, mode);
}

int __real_unlinkat(int a, const char *b, int flags);
int __wrap_unlinkat(int a, const char *b, int flags);
int __wrap_unlinkat(int a, const char *b, int flags) {
        return fails("unlinkat") ? -1 : __real_unlinkat(a, b, flags);
}

int __real_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode) {
        return fails("fchmod") ? -1 : __real_fchmod(fd, mode);
}

/* ---- the work ---- */

static const struct entry layer_entries[] = { { "d/f", "one", 0 }, { "g", "two", 0 }, { 0 } };
#define WHOLE "blob=three d/ d/f=one g=two"

static struct model_plan *make_plan(void) {
        struct model_plan *p = plan_new("example.com/fault:1");

        plan_add(p, PLAN_TAR, "fault", "");
        plan_add(p, PLAN_RAW, "three", "blob");
        return p;
}

/* Stages what is missing; the writing of the engine's files is not what is tested, so no fault is armed for
 * it. */
static int stage(struct cache *c, enum cache_form form) {
        struct cache_layer layer = { .digest = digest_named("three"), .size = 5, .bytes = 5, .files = 1 };
        struct cache_staging *s;
        const char *armed = fault.call;
        struct error e;

        if (form == CACHE_TREE)
                layer.digest = digest_named("fault");
        if (cache_layer_find(c, &layer.digest, form, NULL))
                return 0;
        fault.call = NULL;
        if (form == CACHE_TREE) {
                s = begin_tar(c, "fault", layer_entries, &layer);
        } else {
                assert_ok(cache_staging_begin(&s, c, &layer, &e), &e);
                write_text(cache_staging_dir(s), "blob", "three", 0444);
        }
        fault.call = armed;
        return cache_staging_seal(s, &layer, &e);
}

static int work(struct cache *c, const struct model_plan *p, const struct digest *key) {
        struct error e;
        int r;

        if ((r = stage(c, CACHE_TREE)) < 0 || (r = stage(c, CACHE_BLOB)) < 0 ||
            (r = cache_model_build(c, key, p, NULL, false, &e)) < 0 ||
            (r = cache_model_pin(c, key, true, 7, &e)) < 0)
                return r;
        return cache_model_remove(c, key, NULL, &e);
}

static void check_visible(struct cache *c, const struct digest *key) {
        struct cache_model *m;

        if (cache_model_find(c, key, &m) < 0)
                return;
        assert_tree(m->path, WHOLE);
        cache_model_free(m);
}

static void fail_each(struct fixture *f, const char *call, int error) {
        struct model_plan *p = make_plan();
        struct digest key = plan_key(p, NULL);
        unsigned n;
        int r;

        for (n = 1;; n++) {
                fault.call = call;
                fault.at = n;
                fault.seen = 0;
                fault.error = error;
                r = work(f->cache, p, &key);
                fault.call = NULL;
                if (fault.seen < n)
                        break;
                check_visible(f->cache, &key);
                if (n % 2) /* with a restart in between, and without */
                        fixture_reopen(f);
                check_visible(f->cache, &key);
                assert_int_equal(work(f->cache, p, &key), 0);
                fixture_reopen(f);
                assert_staging_empty(f);
        }
        assert_int_equal(r, 0); /* nothing failed in the last run */
        print_message("  %u calls of %s\n", n - 1, call);
        assert_true(n > 1);
        model_plan_free(p);
}

static void test_each_failing_call_leaves_only_whole_models(void **state) {
        static const char *const calls[] = { "fsync", "renameat", "mkdirat", "openat", "unlinkat", "fchmod" };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
                fail_each(f, calls[i], EIO);
        fail_each(f, "linkat", EIO);
}

/* How often a layer with these entries calls fsync() when it is sealed. */
static unsigned syncs_of(struct cache *c, const char *name, const struct entry *entries) {
        struct cache_layer layer;
        struct cache_staging *s = begin_tar(c, name, entries, &layer);
        struct error e;

        fault.call = "fsync";
        fault.at = fault.seen = 0;
        assert_ok(cache_staging_seal(s, &layer, &e), &e);
        fault.call = NULL;
        return fault.seen;
}

static void check_syncs(struct cache *c) {
        static const struct entry flat[] = { { "f", "1", 0 }, { 0 } };
        static const struct entry many[] = { { "f", "1", 0 }, { "g", "2", 0 }, { "l", "-> f", 0 }, { 0 } };
        static const struct entry deep[] = { { "d/e/f", "1", 0 }, { "z", NULL, 0 }, { 0 } };
        char name[3][32];

        for (size_t i = 0; i < 3; i++)
                snprintf(name[i], sizeof name[i], "syncs-%zu-%d", i, is_typeless);
        unsigned n = syncs_of(c, name[0], flat);
        assert_int_equal(syncs_of(c, name[1], many), n);
        assert_int_equal(syncs_of(c, name[2], deep), n + 3);
}

static void test_each_directory_of_a_layer_is_synced_and_no_file_again(void **state) {
        struct fixture *f = *state;

        check_syncs(f->cache);
        is_typeless = true;
        check_syncs(f->cache);
        is_typeless = false;
}

static void test_a_file_that_cannot_be_linked_is_copied(void **state) {
        static const int errors[] = { EMLINK, EXDEV };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
                struct model_plan *p = make_plan();
                struct digest key = plan_key(p, NULL);
                char path[PATH_MAX];
                struct cache_model *m;
                struct error e;
                struct stat st;

                assert_int_equal(stage(f->cache, CACHE_TREE), 0);
                assert_int_equal(stage(f->cache, CACHE_BLOB), 0);
                fault.call = "linkat";
                fault.at = 1;
                fault.seen = 0;
                fault.error = errors[i];
                assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
                fault.call = NULL;
                assert_true(fault.seen >= 1);
                assert_model_tree(f->cache, &key, WHOLE);
                assert_int_equal(cache_model_find(f->cache, &key, &m), 0);
                snprintf(path, sizeof path, "%s/blob", m->path);
                assert_int_equal(stat(path, &st), 0);
                assert_int_equal(st.st_mode & 07777, 0444);
                cache_model_free(m);
                assert_ok(cache_model_remove(f->cache, &key, NULL, &e), &e);
                model_plan_free(p);
        }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        const struct CMUnitTest tests[] = {
                T(test_each_failing_call_leaves_only_whole_models),
                T(test_each_directory_of_a_layer_is_synced_and_no_file_again),
                T(test_a_file_that_cannot_be_linked_is_copied),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
