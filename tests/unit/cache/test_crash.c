/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon may be killed at any instant. A child works on a cache until it is killed at a random moment;
 * then the cache must open, and every model and lease that it shows must be whole. The root lives through all
 * the rounds, so that what one crash leaves is what the next start finds.
 */
#include "fixture.h"

#include "base/mount.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define ROUNDS 100
#define MODELS 6
#define STEPS_MAX 8            /* before the kill */
#define KILL_AFTER_MAX_US 3000 /* about two steps */

/* Model n is made of layer n and the shared layer; every file holds what says which layer it is from. */
static const struct entry shared_layer[] = { { "shared/a", "shared a", 0 },
                                             { "shared/deep/b", "shared b", 0 },
                                             { "gone", "hidden by the upper layer", 0 },
                                             { 0 } };

static void layer_text(unsigned n, char text[static 32]) {
        snprintf(text, 32, "layer %u", n);
}

static struct model_plan *plan_number(unsigned n) {
        char name[64], layer[32];
        struct model_plan *p;

        snprintf(name, sizeof name, "example.com/crash:%u", n);
        layer_text(n, layer);
        p = plan_new(name);
        plan_add(p, PLAN_TAR, "shared", "");
        plan_add(p, PLAN_TAR, layer, "");
        return p;
}

static void expected_tree(unsigned n, char text[static 256]) {
        snprintf(text, 256,
                 "own/ own/f=layer %u shared/ shared/a=shared a shared/deep/ shared/deep/b=shared b", n);
}

static void ensure_layer(struct cache *c, const char *name, const struct entry *entries) {
        struct digest d = digest_named(name);

        if (!cache_layer_find(c, &d, CACHE_TREE, NULL))
                stage_tar(c, name, entries);
}

static void do_something(const struct fixture *f, struct test_rng *rng) {
        unsigned n = test_rng_next(rng) % MODELS;
        struct model_plan *p = plan_number(n);
        struct digest key = plan_key(p, NULL);
        char layer[32], target[PATH_MAX], volume[16];
        const struct entry own[] = { { "own/f", layer, 0 }, { ".wh.gone", "", 0 }, { 0 } };

        layer_text(n, layer);
        snprintf(volume, sizeof volume, "vol %u", n);
        fixture_path(f, volume, target);
        switch (test_rng_next(rng) % 6) {
        case 0:
                (void)cache_model_remove(f->cache, &key, NULL, NULL);
                break;
        case 1:
                (void)cache_unpublish(f->cache, volume, target, false, NULL);
                break;
        case 2:
                (void)cache_model_pin(f->cache, &key, test_rng_next(rng) % 2, 0, NULL);
                break;
        default:
                for (size_t i = 0; i < p->n_blobs; i++)
                        cache_layer_hold(f->cache, &p->blobs[i].digest);
                ensure_layer(f->cache, "shared", shared_layer);
                ensure_layer(f->cache, layer, own);
                (void)cache_model_build(f->cache, &key, p, NULL, false, NULL);
                for (size_t i = 0; i < p->n_blobs; i++)
                        cache_layer_unhold(f->cache, &p->blobs[i].digest);
                cache_model_used(f->cache, &key, true);
                (void)cache_publish(f->cache, volume, &key, "", target, NULL);
        }
        model_plan_free(p);
}

/* Writes a byte to @steps after each step. */
__attribute__((noreturn)) static void child(struct fixture *f, uint64_t seed, int steps) {
        struct test_rng rng = { seed };

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (cache_open(&f->cache, f->settings, NULL) < 0)
                _exit(1);
        while (write(steps, "", 1) == 1)
                do_something(f, &rng);
        _exit(1);
}

static void kill_after(pid_t pid, int steps, uint64_t n, uint64_t us) {
        const struct timespec delay = { .tv_nsec = (long)us * 1000 };
        int status;
        char step;

        for (uint64_t i = 0; i < n; i++)
                assert_int_equal(read(steps, &step, 1), 1);
        /* The moment is the input of this test, not something that it waits for. */
        clock_nanosleep(CLOCK_MONOTONIC, 0, &delay, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
}

static void crash_once(struct fixture *f, struct test_rng *rng) {
        uint64_t seed = test_rng_next(rng), n = test_rng_next(rng) % STEPS_MAX;
        uint64_t us = test_rng_next(rng) % KILL_AFTER_MAX_US;
        int steps[2];
        pid_t pid;

        cache_close(f->cache);
        f->cache = NULL;
        assert_int_equal(pipe2(steps, O_CLOEXEC), 0);
        pid = fork();
        assert_return_code(pid, errno);
        if (pid == 0) {
                close(steps[0]);
                child(f, seed, steps[1]);
        }
        close(steps[1]);
        kill_after(pid, steps[0], n, us);
        close(steps[0]);
}

static unsigned number_of(const struct cache_model *m) {
        return (unsigned)strtoul(strrchr(m->reference, ':') + 1, NULL, 10);
}

/* Every model is whole, and so is what is mounted; returns how many models there are. */
static size_t check_cache(const struct fixture *f) {
        struct cache_model **list;
        char expected[256];
        struct error e;
        unsigned mounts = 0;
        size_t n;

        assert_ok(cache_model_list(f->cache, &list, &n, &e), &e);
        for (size_t i = 0; i < n; i++) {
                expected_tree(number_of(list[i]), expected);
                assert_tree(list[i]->path, expected);
                mounts += list[i]->mounts;
        }
        cache_model_list_free(list, n);
        assert_int_equal(mounts, cache_lease_count(f->cache)); /* no lease without its model */
        for (unsigned i = 0; i < MODELS; i++) {
                struct cache_lease *l = NULL;
                char volume[16], target[PATH_MAX];
                bool mounted;

                snprintf(volume, sizeof volume, "vol %u", i);
                fixture_path(f, volume, target);
                assert_ok(mount_is_mounted(&mounted, target, &e), &e);
                assert_int_equal(cache_lease_find(f->cache, volume, target, &l), mounted ? 0 : -ENOENT);
                cache_lease_free(l);
                expected_tree(i, expected);
                if (mounted)
                        assert_tree(target, expected);
        }
        assert_staging_empty(f);
        return n;
}

static int crash_teardown(void **state) {
        struct fixture *f = *state;

        for (unsigned i = 0; i < MODELS; i++) {
                char volume[16], target[PATH_MAX];

                snprintf(volume, sizeof volume, "vol %u", i);
                fixture_path(f, volume, target);
                (void)umount2(target, MNT_DETACH);
        }
        return fixture_teardown(state);
}

static void test_a_killed_daemon_leaves_only_whole_models(void **state) {
        struct fixture *f = *state;
        struct test_rng rng = test_rng_new(__func__);
        size_t seen = 0;

        for (unsigned i = 0; i < ROUNDS; i++) {
                crash_once(f, &rng);
                fixture_reopen(f);
                seen += check_cache(f);
        }
        assert_true(seen > 0);
        /* And it still works. */
        for (unsigned i = 0; i < 100; i++)
                do_something(f, &rng);
        (void)check_cache(f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_killed_daemon_leaves_only_whole_models, fixture_setup,
                                                crash_teardown),
        };

        private_mounts_or_skip();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
