/* SPDX-License-Identifier: Apache-2.0 */
/* place_world: a placer with its reactor and arena, and a directory on a real disk. */
#pragma once

#include "tests/unit/test.h"

#include "base/path.h"
#include "stager/place.h"
#include "stager/reactor.h"

#include <fcntl.h>
#include <sys/stat.h>

#define MIB ((size_t)1 << 20)
#define BLOCK ((size_t)4096)
#define MAX_SIZE (4 * MIB)

struct world {
        char dir[64];
        int dir_fd;
        struct settings *settings;
        struct arena *arena;
        struct reactor *reactor;
        struct placer placer;
        atomic_uint_fast64_t wrote;
};

static inline void on_wrote(void *userdata, uint64_t bytes) {
        struct world *w = userdata;

        w->wrote += bytes;
}

static inline int set_up(void **state, const char *io) {
        struct world *w = calloc(1, sizeof *w);
        struct error e;

        snprintf(w->dir, sizeof w->dir, "/var/tmp/place-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(settings_new(&w->settings, &e), 0);
        assert_int_equal(settings_set(w->settings, "engine.io", io, &e), 0);
        assert_int_equal(arena_new(&w->arena, 16 * MIB, 1, &e), 0);
        assert_int_equal(reactor_new(&w->reactor, w->settings, w->arena, NULL, &e), 0);
        w->placer = (struct placer){ .reactor = w->reactor,
                                     .arena = w->arena,
                                     .direct = true,
                                     .allowed = UINT64_MAX / 8,
                                     .wrote = on_wrote,
                                     .userdata = w };
        placer_init(&w->placer);
        *state = w;
        return 0;
}

static inline int set_up_auto(void **state) {
        return set_up(state, "auto");
}

static inline int set_up_posix(void **state) {
        return set_up(state, "posix");
}

static inline int tear_down(void **state) {
        struct world *w = *state;
        _cleanup_close_ int parent = open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        placer_destroy(&w->placer);
        reactor_free(w->reactor);
        arena_free(w->arena);
        settings_free(w->settings);
        close(w->dir_fd);
        assert_int_equal(path_remove_tree(parent, path_base(w->dir), NULL), 0);
        free(w);
        return 0;
}

static inline struct place_file *begin(struct world *w, const char *name, size_t size, bool sparse) {
        struct place_file *f;
        struct error e;

        if (place_open(&f, &w->placer, w->dir_fd, name, size, sparse, &e) < 0)
                fail_msg("%s", e.text);
        return f;
}

static inline void end(struct place_file *f, size_t size, bool sync) {
        struct error e;
        const struct place_end how = { .size = size, .mode = 0444, .mtime = { .tv_sec = 5 }, .sync = sync };

        if (place_end(f, &how, &e) < 0)
                fail_msg("%s", e.text);
}

static inline void assert_same(struct world *w, const char *name, const char *want, size_t size) {
        struct error e;
        struct stat st;
        size_t len;
        char *got;

        if (path_read_file(&got, &len, w->dir_fd, name, MAX_SIZE, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(len, size);
        assert_true(memcmp(got, want, size) == 0);
        free(got);
        assert_int_equal(fstatat(w->dir_fd, name, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0444);
        assert_int_equal(st.st_mtim.tv_sec, 5);
}

static inline char *random_bytes(size_t n) {
        struct test_rng rng = test_rng_new("place");
        char *data = malloc(n);

        for (size_t i = 0; i < n; i++)
                data[i] = (char)test_rng_next(&rng);
        return data;
}

/* With either backend of the ring. */
#define T(f) \
        cmocka_unit_test_setup_teardown(f, set_up_auto, tear_down), { \
#f "/posix", f, set_up_posix, tear_down, NULL \
        }
