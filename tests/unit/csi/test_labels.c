/* SPDX-License-Identifier: Apache-2.0 */
/* Labels of warm models: what they are called, and that no reference whatever makes one that Kubernetes refuses. */
#include "tests/unit/test.h"

#include <ctype.h>

#include "csi/labels.h"

#define WARM_MAX 64

struct list {
        struct csi_warm items[WARM_MAX];
        size_t n;
};

static void add(struct list *l, const char *reference) {
        struct csi_warm *w = &l->items[l->n++];
        struct error e = { 0 };

        *w = (struct csi_warm){ .is_here = true };
        if (oci_reference_parse(&w->reference, reference, &e) < 0)
                fail_msg("%s: %s", reference, e.text);
}

static void clear(struct list *l) {
        for (size_t i = 0; i < l->n; i++)
                oci_reference_free(l->items[i].reference);
        l->n = 0;
}

static struct csi_labels make(const struct list *l) {
        struct csi_labels labels;

        csi_labels_make(&labels, l->items, l->n);
        return labels;
}

/* As Kubernetes judges the name of a label. */
static void assert_valid(const char *name) {
        size_t len = strlen(name);

        assert_in_range(len, 1, 63);
        assert_true(isalnum((unsigned char)name[0]) && isalnum((unsigned char)name[len - 1]));
        for (size_t i = 0; i < len; i++)
                if (!isascii(name[i]) || (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i])))
                        fail_msg("'%c' in %s", name[i], name);
}

static void test_the_name_is_made_of_repository_and_tag(void **state) {
        static const struct {
                const char *reference, *name;
        } cases[] = {
                { "registry.example.com/models/llama:1", "warm-llama-1" },
                { "registry.example.com/models/llama", "warm-llama-latest" },
                { "llama:v1.0_Q4", "warm-llama-v1.0_Q4" },
                { "127.0.0.1:5000/a/b/c.d_e:tag", "warm-c.d_e-tag" },
                { "r.example.com/m@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                  "warm-m-0123456789ab" },
                { "r.example.com/m:7@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                  "warm-m-7" },
                { "oci-layout:/srv/models/Llama 3:main", "warm-Llama-3-main" },
                { "oci-layout:/srv/models/llama", "warm-llama" },
                { "r.example.com/m:tag_", "warm-m-tag" },
                { "r.example.com/m:1-", "warm-m-1" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct list l = { .n = 0 };

                add(&l, cases[i].reference);
                struct csi_labels labels = make(&l);
                assert_int_equal(labels.n, 1);
                assert_string_equal(labels.list[0].name, cases[i].name);
                assert_valid(labels.list[0].name);
                clear(&l);
        }
}

/* 58 bytes are left for the slug. */
static void test_a_long_name_is_cut_and_stays_unique(void **state) {
        char one[256], two[256], fits[256];
        struct list l = { .n = 0 };
        struct csi_labels labels;

        (void)state;
        snprintf(one, sizeof one, "r.example.com/%0100d:1", 7);
        snprintf(two, sizeof two, "r.example.com/%0100d:2", 7);
        snprintf(fits, sizeof fits, "r.example.com/%056d:1", 7);
        add(&l, one);
        add(&l, two);
        add(&l, fits);
        labels = make(&l);
        assert_int_equal(labels.n, 3);
        for (size_t i = 0; i < 3; i++)
                assert_valid(labels.list[i].name);
        assert_memory_equal(labels.list[0].name, labels.list[1].name, strlen("warm-") + 49 + 1);
        assert_string_not_equal(labels.list[0].name, labels.list[1].name);
        assert_int_equal(strlen(labels.list[0].name), 63);
        assert_int_equal(strlen(labels.list[2].name), 63);
        assert_string_equal(labels.list[2].name + 61, "-1");
        clear(&l);
}

/* Whichever of them are here, and in whatever order they are listed. */
static void test_models_that_would_share_a_name_all_get_another(void **state) {
        static const char *const references[] = { "a.example.com/llama:1", "b.example.com/x/llama:1",
                                                  "c.example.com/llama:2" };
        struct csi_labels first, turned, alone;
        struct list l = { .n = 0 };

        (void)state;
        for (size_t i = 0; i < 3; i++)
                add(&l, references[i]);
        first = make(&l);
        assert_int_equal(first.n, 3);
        assert_memory_equal(first.list[0].name, "warm-llama-1-", strlen("warm-llama-1-"));
        assert_memory_equal(first.list[1].name, "warm-llama-1-", strlen("warm-llama-1-"));
        assert_string_not_equal(first.list[0].name, first.list[1].name);
        assert_string_equal(first.list[2].name, "warm-llama-2");
        l.items[1].is_here = false;
        alone = make(&l);
        assert_int_equal(alone.n, 2);
        assert_string_equal(alone.list[0].name, first.list[0].name);
        clear(&l);
        for (size_t i = 3; i-- > 0;)
                add(&l, references[i]);
        turned = make(&l);
        assert_true(csi_labels_equal(&turned, &first));
        assert_false(csi_labels_equal(&turned, &alone));
        clear(&l);
}

/* A tag may say what another model's label ends in. */
static void test_a_tag_that_looks_like_a_hash_takes_nobodys_name(void **state) {
        struct csi_labels labels;
        struct list l = { .n = 0 };
        char reference[128], longest[128];

        (void)state;
        add(&l, "a.example.com/x/llama:1");
        add(&l, "b.example.com/x/llama:1");
        labels = make(&l);
        snprintf(reference, sizeof reference, "c.example.com/evil/llama:%.20s",
                 labels.list[1].name + strlen("warm-llama-"));
        add(&l, reference);
        labels = make(&l);
        assert_int_equal(labels.n, 3);
        assert_memory_equal(labels.list[2].name, "warm-llama-1-", strlen("warm-llama-1-"));
        clear(&l);

        snprintf(longest, sizeof longest, "a.example.com/x/%080d:1", 7); /* is cut */
        add(&l, longest);
        labels = make(&l);
        snprintf(reference, sizeof reference, "c.example.com/evil/%.49s:%.8s",
                 labels.list[0].name + strlen("warm-"), labels.list[0].name + 63 - 8);
        add(&l, reference);
        labels = make(&l);
        assert_int_equal(labels.n, 2);
        clear(&l);

        add(&l, "a.example.com/x/llama:20260101"); /* a date stays one as long as nobody's hash is that */
        add(&l, "a.example.com/x/llama:20260202");
        labels = make(&l);
        assert_string_equal(labels.list[0].name, "warm-llama-20260101");
        clear(&l);
}

static void test_a_model_that_is_listed_twice_has_one_label(void **state) {
        struct list l = { .n = 0 };

        (void)state;
        add(&l, "r.example.com/llama:1");
        add(&l, "oci://r.example.com/llama:1");
        struct csi_labels labels = make(&l);
        assert_int_equal(labels.n, 1);
        assert_string_equal(labels.list[0].name, "warm-llama-1");
        clear(&l);
}

static void test_only_the_first_that_are_here_get_one(void **state) {
        struct list l = { .n = 0 };
        char reference[64];

        (void)state;
        for (unsigned i = 0; i < WARM_MAX - 1; i++) {
                snprintf(reference, sizeof reference, "r.example.com/m:%u", i);
                add(&l, reference);
                l.items[i].is_here = i % 2 == 1 || i >= 40;
        }
        l.n++; /* one that is no reference */
        l.items[l.n - 1] = (struct csi_warm){ .is_here = true, .required = true };
        struct csi_labels labels = make(&l);
        assert_int_equal(labels.n, CSI_LABELS_MAX);
        assert_string_equal(labels.list[0].name, "warm-m-1");
        assert_true(csi_labels_have(&labels, "warm-m-40"));
        assert_false(csi_labels_have(&labels, "warm-m-0"));
        assert_false(csi_labels_have(&labels, "warm-m-62"));
        clear(&l);
}

/* References as they are after parsing, and directories of layouts, which may have any name. */
static void test_no_reference_makes_an_invalid_label(void **state) {
        static const char *const nasty[] = { "/",      "/.",  "/---", "/\xff\xfe",
                                             "/a\nb",  "/{}", "/-_.", "/\xe2\x98\x83",
                                             "/../..", "/a/", "" };
        struct test_rng rng = test_rng_new("labels");
        char directory[300], tag[200], text[600];

        (void)state;
        for (unsigned i = 0; i < 2000; i++) {
                struct oci_reference r = { .is_layout = true, .repository = directory, .text = text };
                struct csi_warm w = { .reference = &r, .is_here = true };
                size_t len = test_rng_next(&rng) % (sizeof directory - 1);
                struct csi_labels labels;

                for (size_t k = 0; k < len; k++)
                        directory[k] = (char)(1 + test_rng_next(&rng) % 255);
                directory[len] = '\0';
                if (i < sizeof nasty / sizeof *nasty)
                        snprintf(directory, sizeof directory, "%s", nasty[i]);
                for (size_t k = 0; k < sizeof tag - 1; k++)
                        tag[k] = (char)(1 + test_rng_next(&rng) % 255);
                tag[test_rng_next(&rng) % (sizeof tag - 1)] = '\0';
                tag[sizeof tag - 1] = '\0';
                r.tag = i % 3 ? tag : NULL;
                snprintf(text, sizeof text, "%s:%s", directory, tag);
                csi_labels_make(&labels, &w, 1);
                assert_int_equal(labels.n, 1);
                assert_valid(labels.list[0].name);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_name_is_made_of_repository_and_tag),
                cmocka_unit_test(test_a_long_name_is_cut_and_stays_unique),
                cmocka_unit_test(test_models_that_would_share_a_name_all_get_another),
                cmocka_unit_test(test_a_tag_that_looks_like_a_hash_takes_nobodys_name),
                cmocka_unit_test(test_a_model_that_is_listed_twice_has_one_label),
                cmocka_unit_test(test_only_the_first_that_are_here_get_one),
                cmocka_unit_test(test_no_reference_makes_an_invalid_label),
        };

        return cmocka_run_group_tests_name("csi/labels", tests, NULL, NULL);
}
