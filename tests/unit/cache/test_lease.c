/* SPDX-License-Identifier: Apache-2.0 */
/* Publications with real mounts, in a mount namespace of this test's own. */
#include "fixture.h"

#include "base/mount.h"

#include <pthread.h>

/* A target path below the fixture's directory; its parent "pods" is there. */
static const char *target_of(const struct fixture *f, const char *name, char path[static PATH_MAX]) {
        char pods[PATH_MAX];

        fixture_path(f, "pods", pods);
        assert_true(mkdir(pods, 0750) == 0 || errno == EEXIST);
        assert_true(snprintf(path, PATH_MAX, "%s/%s", pods, name) < PATH_MAX);
        return path;
}

static bool is_mount(const char *path) {
        struct error e;
        bool mounted;

        assert_ok(mount_is_mounted(&mounted, path, &e), &e);
        return mounted;
}

static unsigned mounts_of(struct cache *c, const struct digest *key) {
        struct cache_model *m;
        unsigned n;

        assert_int_equal(cache_model_find(c, key, &m), 0);
        n = m->mounts;
        cache_model_free(m);
        return n;
}

static int leases_teardown(void **state) {
        struct fixture *f = *state;
        struct mount_table t;
        struct error e;

        assert_ok(mount_table_read(&t, &e), &e);
        for (size_t i = 0; i < t.n; i++)
                if (strncmp(t.entries[i].target, f->dir, strlen(f->dir)) == 0)
                        (void)umount2(t.entries[i].target, MNT_DETACH);
        mount_table_free(&t);
        return fixture_teardown(state);
}

static void test_a_published_model_can_be_read_and_not_written(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], file[PATH_MAX + 8];
        struct cache_lease *l;
        struct error e;

        target_of(f, "a", target);
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        assert_tree(target, "file=text");
        snprintf(file, sizeof file, "%s/new", target);
        assert_int_equal(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), -1);
        assert_int_equal(errno, EROFS);
        assert_int_equal(mounts_of(f->cache, &key), 1);
        assert_int_equal(cache_lease_count(f->cache), 1);
        assert_int_equal(cache_lease_find(f->cache, "vol", target, &l), 0);
        assert_string_equal(l->volume_id, "vol");
        assert_string_equal(l->target, target);
        assert_true(digest_equal(&l->key, &key));
        cache_lease_free(l);
        assert_int_equal(cache_lease_find(f->cache, "other", target, &l), -ENOENT);
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_int_equal(access(target, F_OK), -1);
        assert_int_equal(cache_lease_count(f->cache), 0);
}

static void test_publishing_twice_mounts_once(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX];
        struct error e;

        target_of(f, "a", target);
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        assert_int_equal(mounts_of(f->cache, &key), 1);
        assert_int_equal(umount2(target, 0), 0);
        assert_false(is_mount(target));
}

static void test_another_model_or_volume_at_a_target_is_refused(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        struct digest other = make_model(f->cache, "example.com/n:1", "other");
        char target[PATH_MAX];
        struct error e;

        target_of(f, "a", target);
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        assert_int_equal(cache_publish(f->cache, "vol", &other, "", target, &e), -EEXIST);
        assert_int_equal(e.kind, ERROR_EXISTS);
        assert_int_equal(cache_publish(f->cache, "vol 2", &key, "", target, &e), -EEXIST);
        assert_tree(target, "file=text");
        assert_int_equal(cache_lease_count(f->cache), 1);
}

static void test_a_mount_that_went_away_is_made_again(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX];
        struct error e;

        target_of(f, "a", target);
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        assert_int_equal(umount2(target, 0), 0);
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        assert_tree(target, "file=text");
}

static void test_a_lease_whose_mount_went_away_is_in_nobodys_way(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        struct digest other = make_model(f->cache, "example.com/n:1", "other");
        char target[PATH_MAX];
        struct cache_lease *l;
        struct error e;

        target_of(f, "a", target);
        assert_ok(cache_publish(f->cache, "vol", &key, "m", target, &e), &e);
        assert_int_equal(umount2(target, 0), 0);
        assert_ok(cache_publish(f->cache, "vol 2", &other, "n", target, &e), &e);
        assert_tree(target, "file=other");
        assert_int_equal(cache_lease_count(f->cache), 1);
        assert_int_equal(cache_lease_find(f->cache, "vol 2", target, &l), 0);
        assert_string_equal(l->made_for, "n");
        assert_true(digest_equal(&l->key, &other));
        cache_lease_free(l);
        /* Something else is there now: that is said, not that it is another model. */
        assert_int_equal(umount2(target, 0), 0);
        assert_int_equal(mount("tmpfs", target, "tmpfs", 0, NULL), 0);
        assert_int_equal(cache_publish(f->cache, "vol", &key, "", target, &e), -EEXIST);
        assert_non_null(strstr(e.text, "something else is mounted"));
}

static void test_a_foreign_mount_is_left_alone(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX];
        struct error e;

        target_of(f, "a", target);
        assert_int_equal(mkdir(target, 0700), 0);
        assert_int_equal(mount("tmpfs", target, "tmpfs", 0, NULL), 0);
        assert_int_equal(cache_publish(f->cache, "vol", &key, "", target, &e), -EEXIST);
        assert_int_equal(cache_lease_count(f->cache), 0);
        assert_true(cache_unpublish(f->cache, "vol", target, false, &e) < 0);
        assert_int_equal(e.kind, ERROR_PRECONDITION);
        assert_true(is_mount(target));
}

static void test_a_foreign_mount_where_a_volume_was_is_left_alone(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        _cleanup_(cache_lease_freep) struct cache_lease *l = NULL;
        char target[PATH_MAX];
        bool mounted = true;
        struct error e;

        target_of(f, "a", target);
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        assert_int_equal(cache_lease_find(f->cache, "vol", target, &l), 0);
        assert_ok(cache_lease_is_mounted(&mounted, f->cache, l, &e), &e);
        assert_true(mounted);
        assert_int_equal(umount2(target, 0), 0);
        assert_ok(cache_lease_is_mounted(&mounted, f->cache, l, &e), &e);
        assert_false(mounted);
        assert_int_equal(mount("tmpfs", target, "tmpfs", 0, NULL), 0);
        assert_int_equal(cache_lease_is_mounted(&mounted, f->cache, l, &e), -EEXIST);
        assert_non_null(strstr(e.text, "something else is mounted at"));
        assert_int_equal(cache_publish(f->cache, "vol", &key, "", target, &e), -EEXIST);
        assert_true(cache_unpublish(f->cache, "vol", target, false, &e) < 0);
        assert_int_equal(e.kind, ERROR_PRECONDITION);
        assert_true(is_mount(target));
        assert_int_equal(cache_lease_count(f->cache), 1);
        /* Once the stranger has gone it works again. */
        assert_int_equal(umount2(target, 0), 0);
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_int_equal(access(target, F_OK), -1);
}

static void bind_tree(struct cache *c, const struct digest *key, const char *target) {
        struct cache_model *m;
        struct error e;

        assert_int_equal(cache_model_find(c, key, &m), 0);
        assert_ok(mount_bind_readonly(m->path, target, &e), &e);
        cache_model_free(m);
}

static void test_mounts_of_ours_that_are_stacked_all_go(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        struct digest other = make_model(f->cache, "example.com/n:1", "other");
        char target[PATH_MAX];
        struct error e;

        target_of(f, "a", target);
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        bind_tree(f->cache, &key, target);
        bind_tree(f->cache, &other, target);
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_int_equal(access(target, F_OK), -1);
        assert_int_equal(cache_lease_count(f->cache), 0);
}

static void test_a_volume_whose_model_was_deleted_by_hand_can_be_unpublished(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX];
        struct cache_model *m;
        struct error e;

        assert_ok(cache_publish(f->cache, "vol", &key, "", target_of(f, "a", target), &e), &e);
        assert_int_equal(cache_model_find(f->cache, &key, &m), 0);
        remove_tree(m->path);
        cache_model_free(m);
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_int_equal(access(target, F_OK), -1);
}

static void test_targets_that_are_no_safe_place_are_refused(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], path[PATH_MAX];
        static const char *const bad[] = { "",         "/",         "relative/path", "/tmp//x",
                                           "/tmp/./x", "/tmp/../x", "/tmp/x/" };
        static const char *const below[] = { "root/models/x", "root",      "absent/x",
                                             "pods/link",     "pods/file", "." };
        struct error e;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                assert_int_equal(cache_publish(f->cache, "vol", &key, "", bad[i], &e), -EINVAL);
                assert_int_equal(cache_unpublish(f->cache, "vol", bad[i], false, &e), -EINVAL);
        }
        assert_int_equal(cache_publish(f->cache, "vol", &key, "", NULL, &e), -EINVAL);
        target_of(f, "link", target);
        assert_int_equal(symlink("/tmp", target), 0);
        write_text(AT_FDCWD, target_of(f, "file", target), "x", 0600);
        for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
                fixture_path(f, below[i], path);
                assert_int_equal(cache_publish(f->cache, "vol", &key, "", path, &e), -EINVAL);
        }
        /* The directory that holds the cache would hide it. */
        assert_int_equal(cache_publish(f->cache, "vol", &key, "", f->dir, &e), -EINVAL);
        assert_int_equal(cache_lease_count(f->cache), 0);
}

static void test_a_model_that_is_not_here_is_not_published(void **state) {
        struct fixture *f = *state;
        struct digest key = digest_named("none");
        char target[PATH_MAX];
        struct error e;

        assert_int_equal(cache_publish(f->cache, "vol", &key, "", target_of(f, "a", target), &e), -ENOENT);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
        assert_int_equal(access(target, F_OK), -1);
        assert_int_equal(cache_lease_count(f->cache), 0);
}

static void test_a_mounted_model_is_not_removed(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX];
        struct error e;

        assert_ok(cache_publish(f->cache, "vol", &key, "", target_of(f, "a", target), &e), &e);
        assert_true(cache_model_remove(f->cache, &key, NULL, &e) < 0);
        assert_int_equal(e.kind, ERROR_PRECONDITION);
        assert_tree(target, "file=text");
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_ok(cache_model_remove(f->cache, &key, NULL, &e), &e);
}

static void test_unpublish_is_idempotent_and_leaves_other_volumes_alone(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], plain[PATH_MAX];
        struct error e;

        target_of(f, "a", target);
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_ok(cache_unpublish(f->cache, "vol", "/no/such/directory", false, &e), &e);
        target_of(f, "plain", plain); /* as a reboot leaves it */
        assert_int_equal(mkdir(plain, 0700), 0);
        assert_ok(cache_unpublish(f->cache, "vol", plain, true, &e), &e);
        assert_int_equal(access(plain, F_OK), 0);
        assert_ok(cache_unpublish(f->cache, "vol", plain, false, &e), &e);
        assert_int_equal(access(plain, F_OK), -1);
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        assert_ok(cache_unpublish(f->cache, "vol 2", target, false, &e), &e);
        assert_tree(target, "file=text");
        assert_ok(cache_unpublish(f->cache, NULL, target, false, &e), &e);
        assert_ok(cache_unpublish(f->cache, NULL, target, false, &e), &e);
        assert_int_equal(access(target, F_OK), -1);
}

/* ---- restarts ---- */

static void test_leases_survive_a_restart(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX];
        struct cache_lease *l;
        struct error e;

        assert_ok(cache_publish(f->cache, "vol", &key, "", target_of(f, "a", target), &e), &e);
        fixture_reopen(f);
        assert_int_equal(cache_lease_find(f->cache, "vol", target, &l), 0);
        cache_lease_free(l);
        assert_tree(target, "file=text");
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
}

static void test_a_lease_whose_mount_is_gone_is_dropped_at_start(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], other[PATH_MAX];
        struct error e;

        assert_ok(cache_publish(f->cache, "vol", &key, "", target_of(f, "a", target), &e), &e);
        assert_ok(cache_publish(f->cache, "vol 2", &key, "", target_of(f, "b", other), &e), &e);
        assert_int_equal(umount2(target, 0), 0);
        fixture_reopen(f);
        assert_int_equal(cache_lease_count(f->cache), 1);
        assert_int_equal(mounts_of(f->cache, &key), 1);
}

static void test_a_lease_whose_target_shows_something_else_is_dropped_at_start(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX];
        struct error e;

        assert_ok(cache_publish(f->cache, "vol", &key, "", target_of(f, "a", target), &e), &e);
        assert_int_equal(umount2(target, 0), 0);
        assert_int_equal(mount("tmpfs", target, "tmpfs", 0, NULL), 0);
        fixture_reopen(f);
        assert_int_equal(cache_lease_count(f->cache), 0);
}

static void test_a_mount_without_a_lease_gets_one_at_start(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], index[PATH_MAX];
        struct cache_lease *l;
        struct error e;

        assert_ok(cache_publish(f->cache, "vol", &key, "", target_of(f, "a", target), &e), &e);
        cache_close(f->cache);
        f->cache = NULL;
        fixture_path(f, "root/index.db", index);
        assert_int_equal(unlink(index), 0);
        fixture_reopen(f);
        assert_int_equal(cache_lease_find(f->cache, NULL, target, &l), 0);
        assert_string_equal(l->volume_id, "");
        cache_lease_free(l);
        assert_int_equal(cache_lease_find(f->cache, "any", target, &l), 0);
        cache_lease_free(l);
        assert_true(cache_model_remove(f->cache, &key, NULL, &e) < 0);
        /* The volume that publishes again is known from then on. */
        assert_ok(cache_publish(f->cache, "vol", &key, "", target, &e), &e);
        assert_int_equal(cache_lease_find(f->cache, "vol", target, &l), 0);
        cache_lease_free(l);
        assert_int_equal(cache_lease_find(f->cache, "any", target, &l), -ENOENT);
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_int_equal(access(target, F_OK), -1);
}

static void test_any_volume_may_unpublish_an_adopted_mount(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], index[PATH_MAX];
        struct error e;

        assert_ok(cache_publish(f->cache, "vol", &key, "", target_of(f, "a", target), &e), &e);
        cache_close(f->cache);
        f->cache = NULL;
        fixture_path(f, "root/index.db", index);
        assert_int_equal(unlink(index), 0);
        fixture_reopen(f);
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_int_equal(access(target, F_OK), -1);
        assert_int_equal(cache_lease_count(f->cache), 0);
}

static void test_a_target_below_a_symbolic_link_keeps_its_lease(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], pods[PATH_MAX], link_path[PATH_MAX], through[PATH_MAX];
        struct cache_lease *l;
        struct error e;

        target_of(f, "a", target);
        fixture_path(f, "pods", pods);
        fixture_path(f, "link", link_path);
        assert_int_equal(symlink(pods, link_path), 0);
        fixture_path(f, "link/a", through);
        assert_ok(cache_publish(f->cache, "vol", &key, "", through, &e), &e);
        fixture_reopen(f);
        assert_int_equal(cache_lease_count(f->cache), 1);
        assert_int_equal(cache_lease_find(f->cache, "vol", through, &l), 0);
        cache_lease_free(l);
        assert_ok(cache_unpublish(f->cache, "vol", through, false, &e), &e);
        assert_false(is_mount(target));
}

static void test_mounts_of_another_cache_are_not_adopted_but_taken_down(void **state) {
        struct fixture *f = *state, *g;
        struct digest key;
        char target[PATH_MAX];
        void *other;
        struct error e;

        fixture_setup(&other);
        g = other;
        key = make_model(g->cache, "example.com/m:1", "text");
        (void)make_model(f->cache, "example.com/m:1", "text");
        assert_ok(cache_publish(g->cache, "vol", &key, "", target_of(f, "a", target), &e), &e);
        fixture_reopen(f);
        assert_int_equal(cache_lease_count(f->cache), 0);
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_int_equal(access(target, F_OK), -1);
        assert_ok(cache_unpublish(g->cache, "vol", target, false, &e),
                  &e); /* its lease is all that is left */
        leases_teardown(&other);
}

/* ---- threads ---- */

struct publisher {
        struct fixture *f;
        struct digest key;
        char target[PATH_MAX], volume[16];
        unsigned failed;
        struct error error;
};

static void *publish_and_unpublish(void *userdata) {
        struct publisher *p = userdata;

        for (int i = 0; i < 25; i++) {
                int r = cache_publish(p->f->cache, p->volume, &p->key, "", p->target, &p->error);

                /* Threads in pairs share a target: who comes second is refused. */
                p->failed += r < 0 && r != -EEXIST;
                p->failed += cache_unpublish(p->f->cache, p->volume, p->target, false, &p->error) < 0;
        }
        return NULL;
}

static void test_threads_publish_and_unpublish_at_once(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        struct publisher *p = calloc(6, sizeof *p);
        pthread_t threads[6];

        for (unsigned i = 0; i < 6; i++) {
                char name[16];

                p[i].f = f;
                p[i].key = key;
                snprintf(p[i].volume, sizeof p[i].volume, "vol %u", i);
                snprintf(name, sizeof name, "t%u", i / 2);
                target_of(f, name, p[i].target);
                assert_int_equal(pthread_create(&threads[i], NULL, publish_and_unpublish, &p[i]), 0);
        }
        for (unsigned i = 0; i < 6; i++)
                pthread_join(threads[i], NULL);
        for (unsigned i = 0; i < 6; i++) {
                if (p[i].failed > 0)
                        fail_msg("%u failures, the last: %s", p[i].failed, p[i].error.text);
                assert_int_equal(access(p[i].target, F_OK), -1);
        }
        assert_int_equal(cache_lease_count(f->cache), 0);
        free(p);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, leases_teardown)
        const struct CMUnitTest tests[] = {
                T(test_a_published_model_can_be_read_and_not_written),
                T(test_publishing_twice_mounts_once),
                T(test_another_model_or_volume_at_a_target_is_refused),
                T(test_a_mount_that_went_away_is_made_again),
                T(test_a_lease_whose_mount_went_away_is_in_nobodys_way),
                T(test_a_foreign_mount_is_left_alone),
                T(test_a_foreign_mount_where_a_volume_was_is_left_alone),
                T(test_mounts_of_ours_that_are_stacked_all_go),
                T(test_a_volume_whose_model_was_deleted_by_hand_can_be_unpublished),
                T(test_targets_that_are_no_safe_place_are_refused),
                T(test_a_model_that_is_not_here_is_not_published),
                T(test_a_mounted_model_is_not_removed),
                T(test_unpublish_is_idempotent_and_leaves_other_volumes_alone),
                T(test_leases_survive_a_restart),
                T(test_a_lease_whose_mount_is_gone_is_dropped_at_start),
                T(test_a_lease_whose_target_shows_something_else_is_dropped_at_start),
                T(test_a_mount_without_a_lease_gets_one_at_start),
                T(test_any_volume_may_unpublish_an_adopted_mount),
                T(test_a_target_below_a_symbolic_link_keeps_its_lease),
                T(test_mounts_of_another_cache_are_not_adopted_but_taken_down),
                T(test_threads_publish_and_unpublish_at_once),
        };

        private_mounts_or_skip();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
