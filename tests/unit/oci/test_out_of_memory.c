/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: malloc calloc realloc reallocarray strdup strndup log_redact */
/*
 * Every allocation fails once, the first, the second, … until a run needs no more of them. A run that was
 * robbed of one says so and leaves its result alone; the leak checker sees what it left behind.
 */
#include "oci/challenge.h"
#include "oci/keyring.h"
#include "tests/unit/oci/plan_text.h"

static unsigned long allocations, fail_at; /* 0: never */

static bool is_robbed(void) {
        return fail_at && ++allocations == fail_at;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
char *__wrap_strndup(const char *s, size_t n);

void *__wrap_malloc(size_t size) {
        return is_robbed() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t n, size_t size) {
        return is_robbed() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t size) {
        return is_robbed() ? NULL : __real_realloc(p, size);
}
void *__wrap_reallocarray(void *p, size_t n, size_t size) {
        return is_robbed() ? NULL : __real_reallocarray(p, n, size);
}
char *__wrap_strdup(const char *s) {
        return is_robbed() ? NULL : __real_strdup(s);
}
char *__wrap_strndup(const char *s, size_t n) {
        return is_robbed() ? NULL : __real_strndup(s, n);
}

/* Remembers what it can; it cannot fail, so it does not take part. */
void __wrap_log_redact(const char *secret);
void __wrap_log_redact(const char *secret) {
        (void)secret;
}

/* @body returns what the function under test did and frees what it made. */
static void torture(int (*body)(struct error *e)) {
        unsigned long robbed = 0;

        for (unsigned long n = 1;; n++) {
                struct error e = { 0 };

                allocations = 0;
                fail_at = n;
                int r = body(&e);
                bool was_robbed = allocations >= n;
                fail_at = 0;
                if (!was_robbed) {
                        assert_int_equal(r, 0);
                        break;
                }
                robbed++;
                if (r >= 0)
                        fail_msg("the loss of allocation %lu went unnoticed", n);
                assert_int_not_equal(e.kind, ERROR_NONE);
        }
        assert_true(robbed > 3);
}

static int parse_reference(struct error *e) {
        struct oci_reference *r = NULL;

        int k = oci_reference_parse(&r, "Ghcr.io:5000/a/b:v1", e);
        assert_int_equal(k >= 0, r != NULL);
        oci_reference_free(r);
        return k;
}

static int parse_keyring(struct error *e) {
        static const char json[] =
            "{\"auths\":{\"a.io/"
            "x\":{\"auth\":\"dXNlcjpwYXNz\"},\"b.io\":{\"username\":\"u\",\"password\":\"p\"},"
            "\"c.io\":{\"identitytoken\":\"t\"}}}";
        struct oci_keyring *k = NULL;

        int r = oci_keyring_parse(&k, json, sizeof json - 1, e);
        assert_int_equal(r >= 0, k != NULL);
        oci_keyring_free(k);
        return r;
}

static int make_selection(struct error *e) {
        static const char *const globs[] = { "a", "b", NULL };
        struct oci_selection *s = NULL;

        int r = oci_selection_new(&s, "x/y", globs, globs, "linux/amd64", e);
        assert_int_equal(r >= 0, s != NULL);
        oci_selection_free(s);
        return r;
}

static int add_challenge(struct error *e) {
        _cleanup_challenge_ struct oci_challenge c = { 0 };

        int r = oci_challenge_add(&c, "Bearer realm=\"r\",service=s,scope=\"a:b:c\",error=\"x\"", e);
        assert_int_equal(r >= 0, c.bearer);
        return r;
}

#define TYPE "application/vnd.kitops.modelkit."

/* A kit on itself under another digest: everything that a plan can be made of. */
static int fetch(void *userdata, const struct oci_reference *reference, struct oci_artifact *ret,
                 struct error *e) {
        static const char config[] =
            "{\"model\":{\"parts\":[{\"path\":\"a/p\",\"digest\":\"" DIGEST_A "\"}]}}";
        static const char manifest[] =
            MANIFEST(TYPE "config.v1+json", LAYER(TYPE "modelpart.v1.raw", DIGEST_A, ""));

        (void)userdata;
        (void)reference;
        int r = oci_manifest_parse(&ret->manifest, manifest, sizeof manifest - 1, NULL, "parent", e);
        if (r < 0)
                return r;
        ret->config = strdup(config);
        ret->config_len = sizeof config - 1;
        return ret->config ? 0 : error_errno(e, ENOMEM, "no memory");
}

static int make_plan(struct error *e) {
        static const char manifest[] = MANIFEST(
            TYPE "config.v1+json",
            LAYER(TYPE "docs.v1.raw", DIGEST_B,
                  NOTE("org.cncf.model.file.metadata+json", "{\\\"name\\\":\\\"n\\\",\\\"mode\\\":420}")));
        static const char config[] =
            "{\"model\":{\"path\":\"r.io/p:v1\"},\"docs\":[{\"path\":\"d\",\"digest\":\"" DIGEST_B "\"}]}";
        _cleanup_artifact_ struct oci_artifact artifact = { .digest = { { 1 } } };
        _cleanup_(oci_reference_freep) struct oci_reference *reference = NULL;
        struct model_plan *plan = NULL;

        int r = oci_reference_parse(&reference, "r.io/m", e);
        if (r >= 0)
                r = oci_manifest_parse(&artifact.manifest, manifest, sizeof manifest - 1, NULL, "manifest",
                                       e);
        if (r < 0)
                return r;
        artifact.config = strdup(config);
        artifact.config_len = sizeof config - 1;
        if (!artifact.config)
                return error_errno(e, ENOMEM, "no memory");
        const struct oci_format_input in = { .reference = reference, .artifact = &artifact, .fetch = fetch };
        r = oci_format_plan(&plan, &in, e);
        assert_int_equal(r >= 0, plan != NULL);
        model_plan_free(plan);
        return r;
}

static void test_every_parser_survives_the_loss_of_any_allocation(void **state) {
        static int (*const bodies[])(struct error * e) = { parse_reference, parse_keyring, make_selection,
                                                           add_challenge, make_plan };

        (void)state;
        json_set_alloc_funcs(__wrap_malloc, free);
        for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
                torture(bodies[i]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_parser_survives_the_loss_of_any_allocation),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
