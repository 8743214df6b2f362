/* SPDX-License-Identifier: Apache-2.0 */
/* Files that no layer has: the plan brings their text. */
#include "fixture.h"

static void plan_make(struct model_plan *p, const char *path, const char *text) {
        p->files = reallocarray(p->files, p->n_files + 1, sizeof *p->files);
        p->files[p->n_files++] = (struct plan_file){
                .path = strdup(path), .data = strdup(text), .len = strlen(text), .mode = 0644
        };
}

/* ---- in the tree ---- */

static const struct {
        const char *what;
        struct entry layer[4];
        const char *raw, *raw_path; /* NULL: none */
        const char *tree;
} places[] = {
        { "beside a layer's files", { { "f", "1", 0 } }, NULL, NULL, "Kitfile=made f=1" },
        { "the layer's file wins", { { "Kitfile", "layer", 0 } }, NULL, NULL, "Kitfile=layer" },
        { "the layer's directory wins", { { "Kitfile/f", "1", 0 } }, NULL, NULL, "Kitfile/ Kitfile/f=1" },
        { "the layer's link wins",
          { { "f", "1", 0 }, { "Kitfile", "-> f", 0 } },
          NULL,
          NULL,
          "Kitfile->f f=1" },
        { "a raw blob wins", { { "f", "1", 0 } }, "raw", "Kitfile", "Kitfile=raw f=1" },
        { "a raw blob's directory wins",
          { { "f", "1", 0 } },
          "raw",
          "Kitfile/x",
          "Kitfile/ Kitfile/x=raw f=1" },
        { "it can be taken away", { { "f", "1", 0 }, { ".wh.Kitfile", "", 0 } }, NULL, NULL, "f=1" },
};

static void test_a_made_file_lies_below_all_layers(void **state) {
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
                struct model_plan *p;
                struct digest key;
                struct error e;
                char name[64];

                print_message("  %s\n", places[i].what);
                snprintf(name, sizeof name, "example.com/made:%zu", i);
                p = plan_new(name);
                key = plan_key(p, NULL);
                plan_make(p, "Kitfile", "made");
                stage_tar(f->cache, name, places[i].layer);
                plan_add(p, PLAN_TAR, name, "");
                if (places[i].raw) {
                        stage_raw(f->cache, places[i].raw);
                        plan_add(p, PLAN_RAW, places[i].raw, places[i].raw_path);
                }
                assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
                assert_model_tree(f->cache, &key, places[i].tree);
                model_plan_free(p);
        }
}

static const struct {
        const char *root, *include[2], *exclude[2], *tree;
} views[] = {
        { NULL, { 0 }, { 0 }, "Kitfile=made d/ d/x=1" }, { "d", { 0 }, { 0 }, "x=1" },
        { NULL, { "Kitfile" }, { 0 }, "Kitfile=made" },  { NULL, { "d/*" }, { 0 }, "d/ d/x=1" },
        { NULL, { 0 }, { "Kit*" }, "d/ d/x=1" },
};

static void test_root_and_globs_choose_among_made_files_as_among_others(void **state) {
        struct fixture *f = *state;
        struct digest keys[sizeof views / sizeof *views];

        stage_tar(f->cache, "view", (struct entry[]){ { "d/x", "1", 0 }, { 0 } });
        for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
                struct model_plan *p = plan_new("example.com/view:1");
                struct oci_selection *s;
                struct error e;

                assert_ok(oci_selection_new(&s, views[i].root, views[i].include, views[i].exclude, NULL, &e),
                          &e);
                keys[i] = plan_key(p, s);
                for (size_t k = 0; k < i; k++)
                        assert_false(digest_equal(&keys[i], &keys[k]));
                plan_make(p, "Kitfile", "made");
                plan_add(p, PLAN_TAR, "view", "");
                assert_ok(cache_model_build(f->cache, &keys[i], p, s, false, &e), &e);
                assert_model_tree(f->cache, &keys[i], views[i].tree);
                oci_selection_free(s);
                model_plan_free(p);
        }
}

/* ---- as a file ---- */

static void test_a_made_file_is_an_ordinary_file_that_is_counted_and_listed(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/made:ordinary");
        struct digest key = plan_key(p, NULL);
        char path[PATH_MAX + 16];
        struct cache_file *files;
        struct cache_model *m;
        struct error e;
        struct stat st;
        size_t n;

        stage_tar(f->cache, "ordinary", (struct entry[]){ { "z", "1", 0 }, { 0 } });
        plan_make(p, "Kitfile", "four");
        plan_make(p, "deep/er/f", "made");
        plan_add(p, PLAN_TAR, "ordinary", "");
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        model_plan_free(p);
        assert_model_tree(f->cache, &key, "Kitfile=four deep/ deep/er/ deep/er/f=made z=1");

        assert_int_equal(cache_model_find(f->cache, &key, &m), 0);
        assert_int_equal(m->files, 3);
        assert_int_equal(m->size, 9);
        snprintf(path, sizeof path, "%s/Kitfile", m->path);
        assert_int_equal(lstat(path, &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0644);
        assert_int_equal(st.st_mtime, 0);
        assert_int_equal(st.st_nlink, 1);
        cache_model_free(m);

        assert_ok(cache_model_files(f->cache, &key, &files, &n, &e), &e);
        assert_int_equal(n, 3);
        assert_string_equal(files[0].path, "Kitfile");
        assert_int_equal(files[0].size, 4);
        assert_int_equal(files[0].mode, S_IFREG | 0644);
        cache_file_list_free(files, n);
}

static void test_two_made_files_in_one_place_are_refused(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/made:twice");
        struct digest key = plan_key(p, NULL);
        struct error e;

        stage_tar(f->cache, "twice", (struct entry[]){ { "f", "1", 0 }, { 0 } });
        plan_make(p, "Kitfile", "one");
        plan_make(p, "Kitfile", "two");
        plan_add(p, PLAN_TAR, "twice", "");
        assert_int_equal(cache_model_build(f->cache, &key, p, NULL, false, &e), -EINVAL);
        assert_non_null(strstr(e.text, "\"Kitfile\""));
        model_plan_free(p);
        assert_staging_empty(f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_made_file_lies_below_all_layers, fixture_setup,
                                                fixture_teardown),
                cmocka_unit_test_setup_teardown(test_root_and_globs_choose_among_made_files_as_among_others,
                                                fixture_setup, fixture_teardown),
                cmocka_unit_test_setup_teardown(
                    test_a_made_file_is_an_ordinary_file_that_is_counted_and_listed, fixture_setup,
                    fixture_teardown),
                cmocka_unit_test_setup_teardown(test_two_made_files_in_one_place_are_refused, fixture_setup,
                                                fixture_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
