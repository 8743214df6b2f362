/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fixture: a cache on a temporary root, layers from tables, and trees as text.
 *
 * A layer's digest is that of its name, so a test names layers as it likes; a raw blob's is that of its text.
 */
#pragma once

#include "tests/unit/test.h"

#include "base/path.h"
#include "cache/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
        char dir[64]; /* temporary; the cache's root is "root" in it */
        struct settings *settings;
        struct cache *cache;
};

/* A line of a layer: a file with @text, a directory (@text NULL), or a symbolic link ("-> target"). */
struct entry {
        const char *path, *text;
        mode_t mode; /* 0: 0644, 0755 */
};

static inline void assert_ok(int r, const struct error *e) {
        if (r < 0)
                fail_msg("%d: %s", r, e->text);
}

static inline void fixture_reopen(struct fixture *f) {
        struct error e;

        cache_close(f->cache);
        f->cache = NULL;
        assert_ok(cache_open(&f->cache, f->settings, &e), &e);
}

static inline int fixture_setup(void **state) {
        struct fixture *f = calloc(1, sizeof *f);
        const char *tmp = getenv("TMPDIR");
        char root[96];
        struct error e;

        snprintf(f->dir, sizeof f->dir, "%s/ms-cache-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
        assert_non_null(mkdtemp(f->dir));
        snprintf(root, sizeof root, "%s/root", f->dir);
        assert_ok(settings_new(&f->settings, &e), &e);
        assert_ok(settings_set(f->settings, "cache.root", root, &e), &e);
        assert_ok(settings_set(f->settings, "cache.minFree", "1MiB", &e), &e);
        fixture_reopen(f);
        *state = f;
        return 0;
}

static inline void remove_tree(const char *path) {
        int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct error e;

        assert_ok(path_remove_tree(fd, path + 1, &e), &e);
        close(fd);
}

static inline int fixture_teardown(void **state) {
        struct fixture *f = *state;

        cache_close(f->cache);
        settings_free(f->settings);
        remove_tree(f->dir);
        free(f);
        return 0;
}

static inline void fixture_path(const struct fixture *f, const char *name, char path[static PATH_MAX]) {
        assert_true(snprintf(path, PATH_MAX, "%s/%s", f->dir, name) < PATH_MAX);
}

static inline struct digest digest_named(const char *name) {
        struct digest d;

        assert_int_equal(digest_of(&d, name, strlen(name)), 0);
        return d;
}

static inline void write_text(int dir_fd, const char *path, const char *text, mode_t mode) {
        int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_return_code(fd, errno);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        assert_int_equal(fchmod(fd, mode), 0);
        close(fd);
}

static inline void write_entry(int dir_fd, const struct entry *m, struct cache_layer *layer) {
        struct error e;
        int parent = path_make_dirs(dir_fd, m->path, 0755, m->text != NULL, &e);

        assert_ok(parent, &e);
        if (!m->text) {
                assert_int_equal(fchmod(parent, m->mode ? m->mode : 0755), 0);
        } else if (strncmp(m->text, "-> ", 3) == 0) {
                assert_int_equal(symlinkat(m->text + 3, parent, path_base(m->path)), 0);
        } else {
                write_text(parent, path_base(m->path), m->text, m->mode ? m->mode : 0644);
                layer->bytes += strlen(m->text);
                layer->files++;
        }
        close(parent);
}

/* Entries up to the first without a path. */
static inline struct cache_staging *begin_tar(struct cache *c, const char *name, const struct entry *entries,
                                              struct cache_layer *layer) {
        struct cache_staging *s;
        struct error e;
        int tree;

        *layer = (struct cache_layer){ .digest = digest_named(name), .form = CACHE_TREE, .size = 4096 };
        assert_ok(cache_staging_begin(&s, c, layer, &e), &e);
        assert_int_equal(mkdirat(cache_staging_dir(s), "tree", 0755), 0);
        tree = openat(cache_staging_dir(s), "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_return_code(tree, errno);
        for (; entries->path; entries++)
                write_entry(tree, entries, layer);
        close(tree);
        return s;
}

static inline void stage_tar(struct cache *c, const char *name, const struct entry *entries) {
        struct cache_layer layer;
        struct cache_staging *s = begin_tar(c, name, entries, &layer);
        struct error e;

        assert_ok(cache_staging_seal(s, &layer, &e), &e);
}

static inline void stage_raw(struct cache *c, const char *text) {
        struct cache_layer layer = {
                .digest = digest_named(text), .size = strlen(text), .bytes = strlen(text), .files = 1
        };
        struct cache_staging *s;
        struct error e;

        assert_ok(cache_staging_begin(&s, c, &layer, &e), &e);
        write_text(cache_staging_dir(s), "blob", text, 0444);
        assert_ok(cache_staging_seal(s, &layer, &e), &e);
}

/* ---- plans ---- */

static inline struct model_plan *plan_new(const char *reference) {
        struct model_plan *p = calloc(1, sizeof *p);
        struct error e;

        assert_ok(oci_reference_parse(&p->reference, reference, &e), &e);
        p->manifest = digest_named(reference);
        p->format = PLAN_MODELCAR;
        p->root = strdup("");
        return p;
}

static inline struct plan_blob *plan_add(struct model_plan *p, enum plan_packing packing, const char *name,
                                         const char *path) {
        struct plan_blob *b;

        p->blobs = reallocarray(p->blobs, p->n_blobs + 1, sizeof *p->blobs);
        b = &p->blobs[p->n_blobs++];
        *b = (struct plan_blob){
                .digest = digest_named(name), .packing = packing, .size = 4096, .path = strdup(path)
        };
        b->whiteouts = packing == PLAN_TAR;
        return b;
}

static inline struct digest plan_key(const struct model_plan *p, const struct oci_selection *s) {
        struct digest key;

        assert_int_equal(oci_selection_key(&key, s, &p->manifest), 0);
        return key;
}

/* A model of one layer with one file, "file" = @text. */
static inline struct digest make_model(struct cache *c, const char *reference, const char *text) {
        struct model_plan *p = plan_new(reference);
        struct digest key = plan_key(p, NULL);
        struct error e;

        stage_raw(c, text);
        plan_add(p, PLAN_RAW, text, "file");
        assert_ok(cache_model_build(c, &key, p, NULL, false, &e), &e);
        model_plan_free(p);
        return key;
}

/* ---- trees as text: "dir/ dir/file=text link->target", sorted ---- */

struct tree_text {
        char lines[256][512];
        size_t n;
};

static inline int tree_text_compare(const void *a, const void *b) {
        return strcmp(a, b);
}

static inline void tree_text_walk(struct tree_text *t, int dir_fd, const char *prefix) {
        int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fdopendir(copy);
        struct dirent *entry;

        assert_non_null(d);
        while ((entry = readdir(d))) {
                char path[256], text[200];
                struct stat st;

                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                snprintf(path, sizeof path, "%s%s", prefix, entry->d_name);
                assert_int_equal(fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
                assert_true(t->n < sizeof t->lines / sizeof *t->lines);
                if (S_ISDIR(st.st_mode)) {
                        int sub =
                            openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

                        snprintf(t->lines[t->n++], sizeof *t->lines, "%s/", path);
                        strcat(path, "/");
                        tree_text_walk(t, sub, path);
                        close(sub);
                } else if (S_ISLNK(st.st_mode)) {
                        ssize_t n = readlinkat(dir_fd, entry->d_name, text, sizeof text - 1);

                        assert_true(n >= 0);
                        text[n] = '\0';
                        snprintf(t->lines[t->n++], sizeof *t->lines, "%s->%s", path, text);
                } else {
                        int fd = openat(dir_fd, entry->d_name, O_RDONLY | O_CLOEXEC);
                        ssize_t n = read(fd, text, sizeof text - 1);

                        assert_true(n >= 0);
                        text[n] = '\0';
                        close(fd);
                        snprintf(t->lines[t->n++], sizeof *t->lines, "%s=%s", path, text);
                }
        }
        closedir(d);
}

static inline void assert_tree(const char *dir, const char *expected) {
        static struct tree_text t;
        static char text[sizeof t.lines];
        int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_return_code(fd, errno);
        t.n = 0;
        tree_text_walk(&t, fd, "");
        close(fd);
        qsort(t.lines, t.n, sizeof *t.lines, tree_text_compare);
        text[0] = '\0';
        for (size_t i = 0; i < t.n; i++) {
                strcat(text, i ? " " : "");
                strcat(text, t.lines[i]);
        }
        assert_string_equal(text, expected);
}

static inline void assert_model_tree(struct cache *c, const struct digest *key, const char *expected) {
        struct cache_model *m;

        assert_int_equal(cache_model_find(c, key, &m), 0);
        assert_tree(m->path, expected);
        cache_model_free(m);
}

/* What is in a directory of the root, as assert_tree() has it; for staging/ that is to be empty. */
static inline void assert_staging_empty(const struct fixture *f) {
        char path[PATH_MAX];

        fixture_path(f, "root/staging", path);
        assert_tree(path, "");
}

/* ---- mounts ---- */

/* A mount namespace of our own, for this process; the program ends with 77 if that is not allowed. */
static inline void private_mounts_or_skip(void) {
        if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
                return;
        puts("skipped: mounting needs root and a mount namespace");
        exit(77);
}
