/* SPDX-License-Identifier: Apache-2.0 */
/* From layers to the tree that pods see. */
#include "fixture.h"

#define LAYERS_MAX 4

/* ---- layers over each other ---- */

struct stack {
        const char *what;
        struct entry layers[LAYERS_MAX][12]; /* lowest first; ended by one without entries */
        const char *tree;                    /* NULL: refused */
        const char *error;                   /* part of the text */
};

static const struct stack stacks[] = {
        { "one layer", { { { "a/b/f", "1", 0 }, { "g", "2", 0 } } }, "a/ a/b/ a/b/f=1 g=2", NULL },
        { "file replaces file", { { { "f", "old", 0 } }, { { "f", "new", 0 } } }, "f=new", NULL },
        { "file replaces directory", { { { "d/x", "1", 0 } }, { { "d", "file", 0 } } }, "d=file", NULL },
        { "directory replaces file", { { { "d", "file", 0 } }, { { "d/x", "1", 0 } } }, "d/ d/x=1", NULL },
        { "directories merge", { { { "d/x", "1", 0 } }, { { "d/y", "2", 0 } } }, "d/ d/x=1 d/y=2", NULL },
        { "symbolic links stay links",
          { { { "f", "1", 0 }, { "l", "-> f", 0 } }, { { "m", "-> /etc/passwd", 0 } } },
          "f=1 l->f m->/etc/passwd",
          NULL },
        { "directory replaces a link to a directory, which is not followed",
          { { { "real/x", "1", 0 }, { "d", "-> real", 0 } }, { { "d/y", "2", 0 } } },
          "d/ d/y=2 real/ real/x=1",
          NULL },
        { "whiteout of a file",
          { { { "f", "1", 0 }, { "g", "2", 0 } }, { { ".wh.f", "", 0 } } },
          "g=2",
          NULL },
        { "whiteout of a directory",
          { { { "d/x", "1", 0 }, { "g", "2", 0 } }, { { ".wh.d", "", 0 } } },
          "g=2",
          NULL },
        { "whiteout below a directory",
          { { { "d/x", "1", 0 }, { "d/y", "2", 0 } }, { { "d/.wh.x", "", 0 } } },
          "d/ d/y=2",
          NULL },
        { "whiteout leaves its own layer alone",
          { { { "f", "old", 0 } }, { { ".wh.f", "", 0 }, { "f", "new", 0 } } },
          "f=new",
          NULL },
        { "whiteout of a directory that its layer makes again",
          { { { "d/x", "old", 0 } }, { { "d/y", "new", 0 }, { ".wh.d", "", 0 } } },
          "d/ d/y=new",
          NULL },
        { "whiteout of what is not there", { { { "g", "1", 0 } }, { { ".wh.f", "", 0 } } }, "g=1", NULL },
        { "whiteout in the lowest layer", { { { ".wh.f", "", 0 }, { "g", "1", 0 } } }, "g=1", NULL },
        { "a later layer brings it back",
          { { { "f", "1", 0 } }, { { ".wh.f", "", 0 }, { "g", "2", 0 } }, { { "f", "3", 0 } } },
          "f=3 g=2",
          NULL },
        { "whiteout hides all lower layers",
          { { { "d/x", "1", 0 } }, { { "d/y", "2", 0 } }, { { ".wh.d", "", 0 }, { "g", "3", 0 } } },
          "g=3",
          NULL },
        { "opaque directory, mark first",
          { { { "d/x", "1", 0 }, { "d/e/z", "2", 0 } }, { { "d/.wh..wh..opq", "", 0 }, { "d/y", "3", 0 } } },
          "d/ d/y=3",
          NULL },
        { "opaque directory, mark last",
          { { { "d/x", "1", 0 }, { "d/e/z", "2", 0 } }, { { "d/y", "3", 0 }, { "d/.wh..wh..opq", "", 0 } } },
          "d/ d/y=3",
          NULL },
        { "opaque top",
          { { { "d/x", "1", 0 }, { "f", "2", 0 } }, { { "g", "3", 0 }, { ".wh..wh..opq", "", 0 } } },
          "g=3",
          NULL },
        { "opaque directory over a file",
          { { { "d", "1", 0 } }, { { "d/.wh..wh..opq", "", 0 }, { "d/y", "2", 0 } } },
          "d/ d/y=2",
          NULL },
        { "old union file systems' names mean nothing",
          { { { ".wh..wh.plnk", "", 0 }, { ".wh..wh.aufs", "", 0 }, { "f", "1", 0 } } },
          "f=1",
          NULL },
        { "link to a lower file",
          { { { "d/f", "1", 0 } }, { { "e/.wh..wh.link.g", "d/f", 0 } } },
          "d/ d/f=1 e/ e/g=1",
          NULL },
        { "link to a file that the same layer hides",
          { { { "d/f", "1", 0 } }, { { ".wh..wh.link.g", "d/f", 0 }, { ".wh.d", "", 0 } } },
          "g=1",
          NULL },
        { "link to a file that the same layer replaces",
          { { { "f", "old", 0 } }, { { ".wh..wh.link.g", "f", 0 }, { "f", "new", 0 } } },
          "f=new g=old",
          NULL },
        { "link to a link",
          { { { "f", "1", 0 } },
            { { ".wh..wh.link.g", "f", 0 } },
            { { ".wh.f", "", 0 }, { ".wh..wh.link.h", "g", 0 } } },
          "g=1 h=1",
          NULL },
        { "link to a link of its own layer",
          { { { "d/f", "1", 0 } },
            { { "d/.wh..wh.link.g", "d/f", 0 },
              { "d/.wh..wh.link.h", "d/g", 0 },
              { ".wh..wh.link.i", "d/h", 0 } } },
          "d/ d/f=1 d/g=1 d/h=1 i=1",
          NULL },
        { "link to a link of its own layer that stands for what the lower has there",
          { { { "f", "1", 0 }, { "g", "old", 0 } },
            { { ".wh..wh.link.g", "f", 0 }, { ".wh..wh.link.h", "g", 0 } } },
          "f=1 g=1 h=1",
          NULL },
        { "link to itself is the lower file",
          { { { "f", "1", 0 } }, { { ".wh..wh.link.f", "f", 0 } } },
          "f=1",
          NULL },
        { "links in a circle",
          { { { "f", "1", 0 } }, { { ".wh..wh.link.g", "h", 0 }, { ".wh..wh.link.h", "g", 0 } } },
          NULL,
          "hard link" },
        { "link to a link to nothing",
          { { { "f", "1", 0 } }, { { ".wh..wh.link.g", "nothing", 0 }, { ".wh..wh.link.h", "g", 0 } } },
          NULL,
          "\"nothing\"" },
        { "link and file of one layer: the file is meant",
          { { { "f", "1", 0 } }, { { ".wh..wh.link.g", "f", 0 }, { "g", "2", 0 } } },
          "f=1 g=2",
          NULL },
        { "link to nothing",
          { { { "f", "1", 0 } }, { { ".wh..wh.link.g", "nothing", 0 } } },
          NULL,
          "\"nothing\"" },
        { "link to a directory",
          { { { "d/f", "1", 0 } }, { { ".wh..wh.link.g", "d", 0 } } },
          NULL,
          "no file of a lower" },
        { "link that leaves the tree",
          { { { "f", "1", 0 } }, { { ".wh..wh.link.g", "../../f", 0 } } },
          NULL,
          "hard link" },
        { "link through a symbolic link",
          { { { "d/f", "1", 0 }, { "l", "-> d", 0 } }, { { ".wh..wh.link.g", "l/f", 0 } } },
          NULL,
          "no file of a lower" },
        { "nothing at all", { { { "d", NULL, 0 } } }, NULL, "no file" },
        { "everything is hidden", { { { "f", "1", 0 } }, { { ".wh.f", "", 0 } } }, NULL, "no file" },
};

static void test_layers_lie_over_each_other_as_oci_says(void **state) {
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) {
                const struct stack *s = &stacks[i];
                struct model_plan *p;
                struct digest key;
                struct error e;
                char name[64];
                int r;

                print_message("  %s\n", s->what);
                snprintf(name, sizeof name, "example.com/stack:%zu", i);
                p = plan_new(name);
                for (size_t l = 0; l < LAYERS_MAX && s->layers[l][0].path; l++) {
                        snprintf(name, sizeof name, "layer %zu.%zu", i, l);
                        stage_tar(f->cache, name, s->layers[l]);
                        plan_add(p, PLAN_TAR, name, "");
                }
                key = plan_key(p, NULL);
                r = cache_model_build(f->cache, &key, p, NULL, false, &e);
                if (s->tree) {
                        assert_ok(r, &e);
                        assert_model_tree(f->cache, &key, s->tree);
                } else {
                        struct cache_model *m;

                        assert_int_equal(r, -EINVAL);
                        assert_int_equal(e.kind, ERROR_INVALID);
                        assert_non_null(strstr(e.text, s->error));
                        assert_int_equal(cache_model_find(f->cache, &key, &m), -ENOENT);
                }
                model_plan_free(p);
                assert_staging_empty(f);
        }
}

static void test_whiteouts_are_files_where_a_format_has_none(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/plain:1");
        struct digest key = plan_key(p, NULL);
        struct error e;

        stage_tar(f->cache, "below", (struct entry[]){ { "f", "1", 0 }, { 0 } });
        stage_tar(f->cache, "above",
                  (struct entry[]){ { ".wh.f", "x", 0 }, { ".wh..wh..opq", "", 0 }, { 0 } });
        plan_add(p, PLAN_TAR, "below", "")->whiteouts = false;
        plan_add(p, PLAN_TAR, "above", "")->whiteouts = false;
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        assert_model_tree(f->cache, &key, ".wh..wh..opq= .wh.f=x f=1");
        model_plan_free(p);
}

static void test_links_lead_to_lower_files_below_the_same_directory(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/prefix:1"), *q = plan_new("example.com/prefix:2");
        struct digest key = plan_key(p, NULL), bad = plan_key(q, NULL);
        struct error e;

        stage_tar(f->cache, "below", (struct entry[]){ { "d/f", "1", 0 }, { 0 } });
        stage_tar(f->cache, "above", (struct entry[]){ { ".wh..wh.link.g", "d/f", 0 }, { 0 } });
        plan_add(p, PLAN_TAR, "below", "src")->whiteouts = false;
        plan_add(p, PLAN_TAR, "above", "src")->whiteouts = false;
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        assert_model_tree(f->cache, &key, "src/ src/d/ src/d/f=1 src/g=1");
        plan_add(q, PLAN_TAR, "below", "src");
        plan_add(q, PLAN_TAR, "above", "other");
        assert_int_equal(cache_model_build(f->cache, &bad, q, NULL, false, &e), -EINVAL);
        assert_non_null(strstr(e.text, "hard link"));
        model_plan_free(p);
        model_plan_free(q);
}

/* ---- raw blobs ---- */

static void test_raw_blobs_lie_at_their_paths_beside_archives(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/mixed:1");
        struct digest key = plan_key(p, NULL);
        struct cache_model *m;
        struct error e;

        stage_raw(f->cache, "weights");
        stage_raw(f->cache, "config");
        stage_tar(f->cache, "code",
                  (struct entry[]){ { "lib/x.py", "x", 0 }, { "config.json", "old", 0 }, { 0 } });
        plan_add(p, PLAN_TAR, "code", "src");
        plan_add(p, PLAN_RAW, "weights", "a/b/model.bin");
        plan_add(p, PLAN_RAW, "weights", "again.bin");
        plan_add(p, PLAN_RAW, "config", "src/config.json");
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        assert_model_tree(
            f->cache, &key,
            "a/ a/b/ a/b/model.bin=weights again.bin=weights src/ src/config.json=config src/lib/"
            " src/lib/x.py=x");
        assert_int_equal(cache_model_find(f->cache, &key, &m), 0);
        assert_int_equal(m->files, 4);
        assert_int_equal(m->size, 2 * strlen("weights") + strlen("config") + 1);
        cache_model_free(m);
        model_plan_free(p);
}

static void test_two_raw_blobs_in_one_place_are_refused_unless_they_are_the_same(void **state) {
        static const struct {
                const char *text[2], *path[2];
                bool ok;
        } cases[] = {
                { { "one", "two" }, { "f", "f" }, false },    { { "one", "one" }, { "f", "f" }, true },
                { { "one", "two" }, { "d/f", "d" }, false },  { { "one", "two" }, { "d", "d/f" }, false },
                { { "one", "two" }, { "d/f", "d/g" }, true }, { { "one", "two" }, { "f", "" }, false },
                { { "one", "two" }, { "f", "d/" }, false },
        };
        struct fixture *f = *state;

        stage_raw(f->cache, "one");
        stage_raw(f->cache, "two");
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char name[64];
                struct model_plan *p;
                struct digest key;
                struct error e;

                snprintf(name, sizeof name, "example.com/raw:%zu", i);
                p = plan_new(name);
                key = plan_key(p, NULL);
                for (size_t j = 0; j < 2; j++)
                        plan_add(p, PLAN_RAW, cases[i].text[j], cases[i].path[j]);
                assert_int_equal(cache_model_build(f->cache, &key, p, NULL, false, &e),
                                 cases[i].ok ? 0 : -EINVAL);
                model_plan_free(p);
        }
}

/* ---- root and selection ---- */

static const struct {
        const char *plan_root;
        bool if_present;
        const char *root; /* of the selection */
        const char *include[3], *exclude[3];
        const char *tree, *error;
} views[] = {
        { "",
          false,
          NULL,
          { 0 },
          { 0 },
          "models/ models/7b/ models/7b/a.bin=A models/b.txt=B none/ x=X",
          NULL },
        { "models", true, NULL, { 0 }, { 0 }, "7b/ 7b/a.bin=A b.txt=B", NULL },
        { "absent",
          true,
          NULL,
          { 0 },
          { 0 },
          "models/ models/7b/ models/7b/a.bin=A models/b.txt=B none/ x=X",
          NULL },
        { "absent", false, NULL, { 0 }, { 0 }, NULL, "root \"absent\"" },
        { "models",
          true,
          "",
          { 0 },
          { 0 },
          "models/ models/7b/ models/7b/a.bin=A models/b.txt=B none/ x=X",
          NULL },
        { "models", true, "models/7b", { 0 }, { 0 }, "a.bin=A", NULL },
        { "models", true, "absent", { 0 }, { 0 }, NULL, "models/" },
        { "", false, "x", { 0 }, { 0 }, NULL, "not a directory" },
        { "", false, "none", { 0 }, { 0 }, NULL, "no file below root \"none\"" },
        { "", false, NULL, { "*.bin" }, { 0 }, "models/ models/7b/ models/7b/a.bin=A", NULL },
        { "models", true, NULL, { "7b/*" }, { 0 }, "7b/ 7b/a.bin=A", NULL },
        { "", false, NULL, { 0 }, { "*.bin", "x" }, "models/ models/b.txt=B none/", NULL },
        { "", false, NULL, { "*.gguf" }, { 0 }, NULL, "include or exclude" },
};

static void test_root_and_globs_choose_what_pods_see(void **state) {
        static const struct entry layer[] = { { "models/7b/a.bin", "A", 0 },
                                              { "models/b.txt", "B", 0 },
                                              { "x", "X", 0 },
                                              { "none", NULL, 0 },
                                              { 0 } };
        struct fixture *f = *state;

        stage_tar(f->cache, "view", layer);
        for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
                struct oci_selection *s;
                struct model_plan *p;
                struct digest key;
                struct error e;
                char name[64];
                int r;

                snprintf(name, sizeof name, "example.com/view:%zu", i);
                p = plan_new(name);
                free(p->root);
                p->root = strdup(views[i].plan_root);
                p->root_if_present = views[i].if_present;
                plan_add(p, PLAN_TAR, "view", "");
                assert_ok(oci_selection_new(&s, views[i].root, views[i].include, views[i].exclude, NULL, &e),
                          &e);
                key = plan_key(p, s);
                r = cache_model_build(f->cache, &key, p, s, false, &e);
                if (views[i].tree) {
                        assert_ok(r, &e);
                        assert_model_tree(f->cache, &key, views[i].tree);
                } else {
                        assert_int_equal(r, -EINVAL);
                        assert_non_null(strstr(e.text, views[i].error));
                }
                oci_selection_free(s);
                model_plan_free(p);
        }
}

/* ---- what is on disk ---- */

static void test_modes_are_the_layers_and_the_top_can_be_entered(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/modes:1");
        struct digest key = plan_key(p, NULL);
        char path[PATH_MAX + 8];
        struct cache_model *m;
        struct error e;
        struct stat st;

        stage_tar(f->cache, "modes",
                  (struct entry[]){ { "d", NULL, 0700 }, { "d/f", "1", 0440 }, { "run", "2", 0755 }, { 0 } });
        plan_add(p, PLAN_TAR, "modes", "");
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        assert_int_equal(cache_model_find(f->cache, &key, &m), 0);
        assert_int_equal(stat(m->path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
        snprintf(path, sizeof path, "%s/d", m->path);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        snprintf(path, sizeof path, "%s/d/f", m->path);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0440);
        snprintf(path, sizeof path, "%s/run", m->path);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
        cache_model_free(m);
        model_plan_free(p);
}

static ino_t inode_of(struct cache *c, const struct digest *key, const char *name) {
        struct cache_model *m;
        char path[PATH_MAX];
        struct stat st;

        assert_int_equal(cache_model_find(c, key, &m), 0);
        snprintf(path, sizeof path, "%s/%s", m->path, name);
        assert_int_equal(stat(path, &st), 0);
        cache_model_free(m);
        return st.st_ino;
}

static void test_models_that_share_a_layer_share_its_files(void **state) {
        struct fixture *f = *state;
        struct model_plan *one = plan_new("example.com/one:1"), *two = plan_new("example.com/two:1");
        struct digest a = plan_key(one, NULL), b = plan_key(two, NULL);
        struct cache_space space;
        struct error e;

        stage_tar(f->cache, "shared", (struct entry[]){ { "w", "weights", 0 }, { 0 } });
        stage_raw(f->cache, "mine");
        plan_add(one, PLAN_TAR, "shared", "");
        plan_add(two, PLAN_TAR, "shared", "");
        plan_add(two, PLAN_RAW, "mine", "m");
        assert_ok(cache_model_build(f->cache, &a, one, NULL, false, &e), &e);
        assert_ok(cache_model_build(f->cache, &b, two, NULL, false, &e), &e);
        assert_int_equal(inode_of(f->cache, &a, "w"), inode_of(f->cache, &b, "w"));
        assert_ok(cache_space(f->cache, &space, &e), &e);
        assert_int_equal(space.models, 2);
        assert_int_equal(space.layers, 2);
        assert_int_equal(space.used, strlen("weights") + strlen("mine"));
        assert_int_equal(space.saved, strlen("weights"));
        model_plan_free(one);
        model_plan_free(two);
}

static void test_a_layer_that_is_missing_is_named(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/gap:1");
        struct digest key = plan_key(p, NULL);
        char text[DIGEST_TEXT_SIZE];
        struct error e;

        plan_add(p, PLAN_TAR, "gap", "");
        assert_int_equal(cache_model_build(f->cache, &key, p, NULL, false, &e), -ENOENT);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
        assert_non_null(strstr(e.text, digest_format(&p->blobs[0].digest, text)));
        model_plan_free(p);
}

/* Directories with names of @len, @n of them in each other, and a file. */
static const char *deep_path(size_t len, size_t n) {
        static char path[PATH_MAX];
        size_t at = 0;

        for (size_t i = 0; i < n; i++) {
                memset(path + at, 'd', len);
                path[at + len] = '/';
                at += len + 1;
        }
        strcpy(path + at, "file");
        return path;
}

static void test_long_paths_are_built_and_too_long_ones_refused(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/long:1"), *q = plan_new("example.com/long:2");
        struct digest key = plan_key(p, NULL), too_long = plan_key(q, NULL);
        char prefix[251];
        struct error e;

        memset(prefix, 'p', sizeof prefix - 1);
        prefix[sizeof prefix - 1] = '\0';
        stage_tar(f->cache, "long", (struct entry[]){ { deep_path(250, 15), "1", 0 }, { 0 } });
        plan_add(p, PLAN_TAR, "long", "");
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        stage_tar(f->cache, "longer", (struct entry[]){ { deep_path(250, 16), "1", 0 }, { 0 } });
        plan_add(q, PLAN_TAR, "longer", prefix);
        assert_int_equal(cache_model_build(f->cache, &too_long, q, NULL, false, &e), -EINVAL);
        assert_non_null(strstr(e.text, "too long"));
        model_plan_free(p);
        model_plan_free(q);
}

static void test_deep_trees_are_built_and_too_deep_ones_refused(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/deep:1");
        struct digest key = plan_key(p, NULL);
        struct cache_staging *s;
        struct cache_layer layer;
        struct error e;

        stage_tar(f->cache, "deep", (struct entry[]){ { deep_path(1, 255), "1", 0 }, { 0 } });
        plan_add(p, PLAN_TAR, "deep", "");
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        s = begin_tar(f->cache, "deeper", (struct entry[]){ { deep_path(1, 256), "1", 0 }, { 0 } }, &layer);
        assert_int_equal(cache_staging_seal(s, &layer, &e), -EINVAL);
        assert_non_null(strstr(e.text, "256 directories"));
        assert_staging_empty(f);
        model_plan_free(p);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        const struct CMUnitTest tests[] = {
                T(test_layers_lie_over_each_other_as_oci_says),
                T(test_whiteouts_are_files_where_a_format_has_none),
                T(test_links_lead_to_lower_files_below_the_same_directory),
                T(test_raw_blobs_lie_at_their_paths_beside_archives),
                T(test_two_raw_blobs_in_one_place_are_refused_unless_they_are_the_same),
                T(test_root_and_globs_choose_what_pods_see),
                T(test_modes_are_the_layers_and_the_top_can_be_entered),
                T(test_models_that_share_a_layer_share_its_files),
                T(test_a_layer_that_is_missing_is_named),
                T(test_long_paths_are_built_and_too_long_ones_refused),
                T(test_deep_trees_are_built_and_too_deep_ones_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
