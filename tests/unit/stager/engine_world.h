/* SPDX-License-Identifier: Apache-2.0 */
/* engine_world: an engine, a server of our own that has one blob, and transfers of it. */
#pragma once

#include "tests/unit/test.h"

#include "base/buf.h"
#include "base/path.h"
#include "base/ring.h"
#include "stager/engine.h"
#include "stager/fetch.h"
#include "tests/unit/stager/blob_server.h"

#include <fcntl.h>
#include <sys/stat.h>

#define MIB ((size_t)1 << 20)
#define MAX_TRANSFERS 24u

struct delivery { /* one transfer as its owner sees it */
        struct world *world;
        struct oci_blob *blob;
        struct transfer_order order;
        struct transfer *transfer;
        char dir[16];
        bool done;
        int result;
        struct transfer_result placed;
        struct error error;
        atomic_uint_fast64_t wrote, grown;
        uint64_t grow_limit;
};

struct world {
        char dir[64];
        int dir_fd;
        struct settings *settings;
        struct engine *engine;
        struct blob_server server;
        struct buf data; /* the blob */
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct delivery deliveries[MAX_TRANSFERS];
        unsigned n;
};

static inline int set_up(void **state, const char *io) {
        struct world *w = calloc(1, sizeof *w);
        struct error e;

        snprintf(w->dir, sizeof w->dir, "/var/tmp/engine-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        w->data.max = 256 * MIB;
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->changed, NULL);
        assert_int_equal(settings_new(&w->settings, &e), 0);
        assert_int_equal(settings_set(w->settings, "engine.io", io, &e), 0);
        w->settings->engine.memory = 32 * MIB;
        w->settings->engine.range_size = 2 * MIB;
        w->settings->engine.connections = 12;
        w->settings->engine.connections_per_host = 6;
        *state = w;
        return 0;
}

static inline int set_up_posix(void **state) {
        return set_up(state, "posix");
}

static inline int set_up_auto(void **state) {
        return set_up(state, "auto");
}

static inline int tear_down(void **state) {
        struct world *w = *state;

        engine_free(w->engine); /* also checks that every segment came back */
        for (unsigned i = 0; i < w->n; i++) {
                transfer_free(w->deliveries[i].transfer);
                oci_blob_free(w->deliveries[i].blob);
                close(w->deliveries[i].order.dir_fd);
        }
        if (w->server.listener > 0)
                blob_server_stop(&w->server);
        _cleanup_close_ int parent = open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(path_remove_tree(parent, path_base(w->dir), NULL), 0);
        close(w->dir_fd);
        settings_free(w->settings);
        buf_free(&w->data);
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
        free(w);
        return 0;
}

/* @mask: fewer bits compress. */
static inline void append_random(struct buf *b, size_t size, uint64_t mask) {
        static uint64_t block[8192];
        struct test_rng rng = { size };

        while (size > 0) {
                size_t n = size < sizeof block ? size : sizeof block;

                for (size_t i = 0; i < sizeof block / sizeof *block; i++)
                        block[i] = test_rng_next(&rng) & mask;
                assert_int_equal(buf_append(b, block, n), 0);
                size -= n;
        }
}

static inline void make_random(struct world *w, size_t size) {
        append_random(&w->data, size, UINT64_MAX);
}

static inline void serve(struct world *w) {
        struct error e;

        w->server.data = buf_text(&w->data);
        w->server.size = w->data.len;
        blob_server_start(&w->server);
        blob_server = &w->server;
        if (engine_new(&w->engine, w->settings, &e) < 0)
                fail_msg("%s", e.text);
}

static inline void on_done(void *userdata, int result, const struct transfer_result *r,
                           const struct error *e) {
        struct delivery *d = userdata;
        LOCK_SCOPE(&d->world->lock);

        d->result = result;
        d->placed = *r;
        if (result < 0)
                d->error = *e;
        d->done = true;
        pthread_cond_broadcast(&d->world->changed);
}

static inline void on_wrote(void *userdata, uint64_t bytes) {
        struct delivery *d = userdata;

        d->wrote += bytes;
}

static inline int on_grow(void *userdata, uint64_t bytes, struct error *e) {
        struct delivery *d = userdata;

        if (d->grown + bytes > d->grow_limit)
                return error_set(e, ERROR_NO_SPACE, "the disk is full, says the test");
        d->grown += bytes;
        return 0;
}

static inline struct delivery *start(struct world *w, enum plan_packing packing, enum plan_codec codec) {
        struct delivery *d = &w->deliveries[w->n];
        struct error e;

        d->world = w;
        d->grow_limit = UINT64_MAX;
        snprintf(d->dir, sizeof d->dir, "%u", w->n++);
        assert_int_equal(mkdirat(w->dir_fd, d->dir, 0755), 0);
        assert_int_equal(oci_blob_new(&d->blob, NULL, NULL, NULL, NULL, w->data.len, &e), 0);
        d->order = (struct transfer_order){
                .source = d->blob,
                .size = w->data.len,
                .packing = packing,
                .codec = codec,
                .dir_fd = openat(w->dir_fd, d->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                .mtime = 1234567890,
                .grow = on_grow,
                .wrote = on_wrote,
                .userdata = d,
        };
        assert_int_equal(digest_of(&d->order.digest, buf_text(&w->data), w->data.len), 0);
        return d;
}

static inline void go(struct delivery *d) {
        struct error e;

        assert_int_equal(engine_start(&d->transfer, d->world->engine, &d->order, on_done, &e), 0);
}

static inline void wait_done(struct delivery *d) {
        LOCK_SCOPE(&d->world->lock);

        while (!d->done)
                pthread_cond_wait(&d->world->changed, &d->world->lock);
}

static inline void assert_done(struct delivery *d) {
        wait_done(d);
        if (d->result < 0)
                fail_msg("%s", d->error.text);
}

static inline void assert_failed(struct delivery *d, enum error_kind kind) {
        struct stat st;

        wait_done(d);
        assert_true(d->result < 0);
        if (d->error.kind != kind)
                fail_msg("kind %d: %s", (int)d->error.kind, d->error.text);
        assert_int_equal(fstatat(d->order.dir_fd, "blob", &st, 0), -1); /* nothing is left behind */
        assert_int_equal(fstatat(d->order.dir_fd, "tree", &st, 0), -1);
        assert_int_equal(fstatat(d->order.dir_fd, "journal", &st, 0), -1);
}

static inline void assert_content(struct delivery *d, const char *name, const void *want, size_t len) {
        char *got;
        size_t got_len;
        struct error e;

        if (path_read_file(&got, &got_len, d->order.dir_fd, name, 256 * MIB, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(got_len, len);
        assert_true(memcmp(got, want, len) == 0);
        free(got);
}

static inline void assert_blob(struct delivery *d) {
        struct world *w = d->world;
        struct transfer_progress p;
        struct stat st;

        assert_done(d);
        assert_content(d, "blob", buf_text(&w->data), w->data.len);
        assert_int_equal(fstatat(d->order.dir_fd, "blob", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0444);
        assert_int_equal(st.st_mtim.tv_sec, 1234567890);
        assert_int_equal(d->placed.bytes, w->data.len);
        assert_int_equal(d->wrote, w->data.len);
        transfer_progress(d->transfer, &p);
        assert_int_equal(p.done, w->data.len);
        assert_int_equal(p.connections, 0);
}
