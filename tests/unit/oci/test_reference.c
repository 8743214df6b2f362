/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/reference.h"

#include "tests/unit/test.h"

#define HASH "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
        const char *text, *host, *repository, *tag, *digest, *canonical;
} accepted[] = {
        { "busybox", "docker.io", "library/busybox", "latest", NULL, "docker.io/library/busybox:latest" },
        { "team/model", "docker.io", "team/model", "latest", NULL, "docker.io/team/model:latest" },
        { "busybox:1.36", "docker.io", "library/busybox", "1.36", NULL, "docker.io/library/busybox:1.36" },
        { "localhost:5000", "docker.io", "library/localhost", "5000", NULL,
          "docker.io/library/localhost:5000" },
        { "docker.io/busybox", "docker.io", "library/busybox", "latest", NULL,
          "docker.io/library/busybox:latest" },
        { "index.docker.io/a/b", "docker.io", "a/b", "latest", NULL, "docker.io/a/b:latest" },
        { "oci://ghcr.io/a/b:v1", "ghcr.io", "a/b", "v1", NULL, "ghcr.io/a/b:v1" },
        { "modelstage://ghcr.io/a/b:v1", "ghcr.io", "a/b", "v1", NULL, "ghcr.io/a/b:v1" },
        { "oci+native://ghcr.io/a/b:v1", "ghcr.io", "a/b", "v1", NULL, "ghcr.io/a/b:v1" },
        { "localhost/demo:none", "localhost", "demo", "none", NULL, "localhost/demo:none" },
        { "127.0.0.1:5000/m", "127.0.0.1:5000", "m", "latest", NULL, "127.0.0.1:5000/m:latest" },
        { "Registry.Example.COM/m:A", "registry.example.com", "m", "A", NULL, "registry.example.com/m:A" },
        { "[::1]:5000/m", "[::1]:5000", "m", "latest", NULL, "[::1]:5000/m:latest" },
        { "r.io/a@" HASH, "r.io", "a", NULL, HASH, "r.io/a@" HASH },
        { "r.io/a:t@" HASH, "r.io", "a", "t", HASH, "r.io/a:t@" HASH },
        { "r.io/a-b__c.d---e/f_g", "r.io", "a-b__c.d---e/f_g", "latest", NULL,
          "r.io/a-b__c.d---e/f_g:latest" },
        { "oci-layout:/srv//models/./x/", NULL, "/srv/models/x", NULL, NULL, "oci-layout:/srv/models/x" },
        { "oci-layout:/srv/x:v1", NULL, "/srv/x", "v1", NULL, "oci-layout:/srv/x:v1" },
        { "oci-layout:/srv/x@" HASH, NULL, "/srv/x", NULL, HASH, "oci-layout:/srv/x@" HASH },
        { "oci-layout:/@home/a:b/x:v1", NULL, "/@home/a:b/x", "v1", NULL, "oci-layout:/@home/a:b/x:v1" },
};

static void assert_text(const char *is, const char *expected) {
        if (expected) {
                assert_non_null(is);
                assert_string_equal(is, expected);
        } else {
                assert_null(is);
        }
}

static void test_parts_are_where_dockers_rules_put_them(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
                _cleanup_(oci_reference_freep) struct oci_reference *r = NULL;
                char digest[DIGEST_TEXT_SIZE];
                struct error e = { 0 };

                if (oci_reference_parse(&r, accepted[i].text, &e) < 0)
                        fail_msg("%s: %s", accepted[i].text, e.text);
                assert_text(r->host, accepted[i].host);
                assert_text(r->repository, accepted[i].repository);
                assert_text(r->tag, accepted[i].tag);
                assert_int_equal(r->has_digest, accepted[i].digest != NULL);
                if (r->has_digest)
                        assert_string_equal(digest_format(&r->digest, digest), accepted[i].digest);
                assert_string_equal(r->text, accepted[i].canonical);
                assert_int_equal(r->is_layout, accepted[i].host == NULL);
        }
}

static const struct {
        const char *text, *says;
} refused[] = {
        { "", "nothing is named" },
        { "oci://", "nothing is named" },
        { "modelstage://", "nothing is named" },
        { "oci+native://", "nothing is named" },
        { "oci+://ghcr.io/a/b", "without a URL scheme" },
        { "oci+a/b://ghcr.io/a/b", "without a URL scheme" },
        { "oci-layout:", "nothing is named" },
        { "https://ghcr.io/a/b", "without a URL scheme" },
        { "ghcr.io/A/b", "not a repository name" },
        { "ghcr.io/", "not a repository name" },
        { "ghcr.io//a", "not a repository name" },
        { "ghcr.io/a..b", "not a repository name" },
        { "ghcr.io/a___b", "not a repository name" },
        { "ghcr.io/../b", "not a repository name" },
        { "ghcr.io/-a", "not a repository name" },
        { "ghcr.io/a-", "not a repository name" },
        { "ghcr.io/a b", "not a repository name" },
        { "ghcr.io/a:", "tag" },
        { "ghcr.io/a:-x", "tag" },
        { "ghcr.io/a:x\n", "tag" },
        { "ghcr.io/a@sha256:00", "not a digest" },
        { "ghcr.io/a@sha512:00", "SHA-256" },
        { "ghcr.io/a@", "not a digest" },
        { "ghcr.io:0/a", "not a host" },
        { "ghcr.io:65536/a", "not a host" },
        { "ghcr.io:/a", "not a host" },
        { "gh..io/a", "not a host" },
        { "-a.io/a", "not a host" },
        { "user@host.io/a", "a user or password" },
        { "user:secret@host.io:5000/a:1", "a user or password" },
        { "[::1/a", "not a host" },
        { "oci-layout:relative/x", "absolute" },
        { "oci-layout:/srv/../etc", ".." },
        { "oci-layout:/srv/x:t@" HASH, "not both" },
        { "oci-layout:/srv/x:t/", "rename" },
        { "oci-layout:/srv/x@t/:v", "rename" },
        { "r.io/\xff", "UTF-8" },
};

static void test_malformed_references_are_refused_with_the_reason(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
                struct oci_reference *r = NULL;
                struct error e = { 0 };

                if (oci_reference_parse(&r, refused[i].text, &e) >= 0)
                        fail_msg("\"%s\" was accepted as %s", refused[i].text, r->text);
                assert_int_equal(e.kind, ERROR_INVALID);
                if (!strstr(e.text, refused[i].says))
                        fail_msg("%s: \"%s\" is not in \"%s\"", refused[i].text, refused[i].says, e.text);
                assert_null(r);
        }
}

static void test_long_references_are_refused(void **state) {
        static char text[OCI_REFERENCE_MAX + 2];
        struct oci_reference *r = NULL;
        struct error e = { 0 };

        (void)state;
        memset(text, 'a', sizeof text - 1);
        assert_int_equal(oci_reference_parse(&r, text, &e), -EINVAL);
        text[300] = '\0';
        assert_int_equal(oci_reference_parse(&r, text, &e), -EINVAL);
        text[200] = '\0';
        assert_int_equal(oci_reference_parse(&r, text, NULL), 0);
        oci_reference_free(r);
}

/* A text out of pieces that references are made of, right or wrong. */
static void make_text(char *text, size_t size, struct test_rng *rng) {
        static const char *const pieces[] = { "a",         "b0", "/",   ":",           "@",      HASH,
                                              ".",         "-",  "_",   "__",          "A",      "5000",
                                              "r.io/",     "..", "[",   "oci-layout:", "oci://", "localhost",
                                              "docker.io", "v1", ":v2", "//",          "/./",    "é" };

        *text = '\0';
        for (size_t n = test_rng_next(rng) % 8 + 1; n > 0; n--) {
                const char *piece = pieces[test_rng_next(rng) % (sizeof pieces / sizeof *pieces)];
                if (strlen(text) + strlen(piece) < size)
                        strcat(text, piece);
        }
}

static void test_what_is_accepted_prints_back_to_an_equal_reference(void **state) {
        struct test_rng rng = test_rng_new(__func__);
        unsigned seen = 0;

        (void)state;
        for (unsigned i = 0; i < 200000; i++) {
                _cleanup_(oci_reference_freep) struct oci_reference *r = NULL, *again = NULL;
                struct error e = { 0 };
                char text[512];

                make_text(text, sizeof text, &rng);
                if (oci_reference_parse(&r, text, NULL) < 0)
                        continue;
                seen++;
                if (oci_reference_parse(&again, r->text, &e) < 0)
                        fail_msg("%s became %s: %s", text, r->text, e.text);
                assert_string_equal(again->text, r->text);
                assert_string_equal(again->repository, r->repository);
                assert_text(again->host, r->host);
                assert_text(again->tag, r->tag);
                assert_int_equal(again->has_digest, r->has_digest);
        }
        assert_true(seen > 1000);
}

static void test_copies_are_equal_and_independent(void **state) {
        struct oci_reference *r = NULL, *copy = NULL;

        (void)state;
        assert_int_equal(oci_reference_parse(&r, "r.io/a:t@" HASH, NULL), 0);
        assert_int_equal(oci_reference_copy(&copy, r), 0);
        oci_reference_free(r);
        assert_string_equal(copy->text, "r.io/a:t@" HASH);
        assert_true(copy->has_digest);
        oci_reference_free(copy);
}

static void test_only_latest_without_digest_is_always_pulled(void **state) {
        static const struct {
                const char *text;
                bool always;
        } cases[] = {
                { "r.io/a", true },
                { "r.io/a:latest", true },
                { "r.io/a:v1", false },
                { "r.io/a@" HASH, false },
                { "r.io/a:latest@" HASH, false },
                { "oci-layout:/a", true },
                { "oci-layout:/a:latest", true },
                { "oci-layout:/a:v1", false },
                { "oci-layout:/a@" HASH, false },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_(oci_reference_freep) struct oci_reference *r = NULL;

                assert_int_equal(oci_reference_parse(&r, cases[i].text, NULL), 0);
                assert_int_equal(oci_reference_wants_always(r), cases[i].always);
        }
}

/* What a bound on references allows is never more than it says. */
static void test_globs_bound_the_whole_reference(void **state) {
        static const struct {
                const char *glob, *reference;
                bool expected;
        } cases[] = {
                { "r.example.com/models/**", "r.example.com/models/llama:1", true },
                { "r.example.com/models/llama", "r.example.com/models/llama:1", true },
                { "r.example.com/models/llama:1", "oci://r.example.com/models/llama:1", true },
                { "r.example.com/models/llama:1", "r.example.com/models/llama:2", false },
                { "r.example.com/models/*", "r.example.com/models/a/b:1", false },
                { "r.example.com/**", "evil.example.com/r.example.com/models/llama:1", false },
                { "r.example.com/**", "r.example.com.evil.example.com/models/llama:1", false },
                { "r.example.com/**", "r.example.com:5000/models/llama:1", false },
                { "docker.io/library/*", "busybox", true },
                { "llama*", "evil.example.com/x/llama:1", false },
                { "*:v1", "evil.example.com/x/m:v1", false },
                { "r.example.com/**", "oci-layout:/r.example.com/models", false },
                { "oci-layout:/models/**", "oci-layout:/models/a", true },
                { "**", "evil.example.com/x/llama:1", true },
                { "*", "evil.example.com/x/llama:1", true },
                { "", "evil.example.com/x/llama:1", false },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_(oci_reference_freep) struct oci_reference *r = NULL;
                _cleanup_free_ char *glob = strdup(cases[i].glob);
                char *globs[] = { glob, NULL };

                assert_int_equal(oci_reference_parse(&r, cases[i].reference, NULL), 0);
                if (oci_reference_matches(r, globs) != cases[i].expected)
                        fail_msg("%s and %s", cases[i].glob, cases[i].reference);
        }
}

static void test_pinned_text_names_the_digest_instead_of_the_tag(void **state) {
        static const char *const cases[][2] = { { "r.io/a:v1", "r.io/a@" HASH },
                                                { "oci-layout:/a:v1", "oci-layout:/a@" HASH } };
        struct digest d;

        (void)state;
        assert_int_equal(digest_parse(&d, HASH, strlen(HASH)), 0);
        for (size_t i = 0; i < 2; i++) {
                _cleanup_(oci_reference_freep) struct oci_reference *r = NULL;
                _cleanup_free_ char *pinned = NULL;

                assert_int_equal(oci_reference_parse(&r, cases[i][0], NULL), 0);
                pinned = oci_reference_pinned(r, &d);
                assert_string_equal(pinned, cases[i][1]);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parts_are_where_dockers_rules_put_them),
                cmocka_unit_test(test_malformed_references_are_refused_with_the_reason),
                cmocka_unit_test(test_long_references_are_refused),
                cmocka_unit_test(test_what_is_accepted_prints_back_to_an_equal_reference),
                cmocka_unit_test(test_copies_are_equal_and_independent),
                cmocka_unit_test(test_only_latest_without_digest_is_always_pulled),
                cmocka_unit_test(test_globs_bound_the_whole_reference),
                cmocka_unit_test(test_pinned_text_names_the_digest_instead_of_the_tag),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
