/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/keyring.h"

#include "oci/base64.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <unistd.h>

static struct oci_keyring *parse(const char *json) {
        struct oci_keyring *k = NULL;
        struct error e = { 0 };

        if (oci_keyring_parse(&k, json, strlen(json), &e) < 0)
                fail_msg("%s: %s", json, e.text);
        return k;
}

#define USER(name) "{\"username\":\"" name "\",\"password\":\"p\"}"

/* Who we are, by the matches in order, joined with commas. */
static const struct {
        const char *auths, *host, *repository, *users;
} lookups[] = {
        { "\"r.io\":" USER("a"), "r.io", "x/y", "a" },
        { "\"R.IO\":" USER("a"), "r.io", "x", "a" },
        { "\"https://r.io\":" USER("a"), "r.io", "x", "a" },
        { "\"http://r.io/\":" USER("a"), "r.io", "x", "a" },
        { "\"https://r.io/v1/\":" USER("a"), "r.io", "x", "a" },
        { "\"r.io/v2\":" USER("a"), "r.io", "x", "a" },
        { "\"r.io/v2/team\":" USER("a"), "r.io", "team/x", "a" },
        { "\"r.io/v1x\":" USER("a"), "r.io", "v1x/y", "a" },
        { "\"r.io:5000\":" USER("a"), "r.io:5000", "x", "a" },
        { "\"r.io:5000\":" USER("a"), "r.io", "x", "" },
        { "\"r.io\":" USER("a"), "r.io:5000", "x", "" },
        { "\"[::1]:5000\":" USER("a"), "[::1]:5000", "x", "a" },
        { "\"*.r.io\":" USER("a"), "eu.r.io", "x", "a" },
        { "\"*.r.io:5000\":" USER("a"), "eu.r.io:5000", "x", "a" },
        { "\"*.r.io\":" USER("a"), "r.io", "x", "" },
        { "\"*.io\":" USER("a"), "eu.r.io", "x", "" },
        { "\"*\":" USER("a"), "r.io", "x", "" },
        { "\"e?.r*.io\":" USER("a"), "eu.reg.io", "x", "a" },
        { "\"eu.r.io.evil\":" USER("a"), "eu.r.io", "x", "" },
        { "\"r.io/team\":" USER("a"), "r.io", "team/x", "a" },
        { "\"r.io/team/\":" USER("a"), "r.io", "team/x", "a" },
        { "\"r.io/team\":" USER("a"), "r.io", "other/x", "" },
        { "\"r.io\":" USER("a") ",\"r.io/team\":" USER("b") ",\"r.io/team/x\":" USER("c"), "r.io", "team/x",
          "c,b,a" },
        { "\"*.io\":" USER("a") ",\"r.io\":" USER("b"), "r.io", "x", "b,a" },
        { "\"*.io/team\":" USER("a") ",\"r.io\":" USER("b"), "r.io", "team/x", "a,b" },
        { "\"https://index.docker.io/v1/\":" USER("a"), "docker.io", "library/busybox", "a" },
        { "\"docker.io\":" USER("a"), "docker.io", "x/y", "a" },
        { "\"registry-1.docker.io\":" USER("a"), "docker.io", "x/y", "a" },
        { "\"docker.io\":" USER("a"), "registry-1.docker.io", "x/y", "a" },
        { "\"*.docker.io\":" USER("a"), "docker.io", "x/y", "a" },
        { "\"r.io\":{},\"s.io\":{\"email\":\"x\"}", "r.io", "x", "" },
        { "", "r.io", "x", "" },
};

static void users_of(char *users, size_t size, const struct oci_keyring *k, const char *host,
                     const char *repository) {
        const struct oci_credential *c;

        *users = '\0';
        for (size_t n = 0; (c = oci_keyring_find(k, host, repository, n)); n++)
                snprintf(users + strlen(users), size - strlen(users), "%s%s", n ? "," : "", c->username);
}

static void test_matches_come_as_kubernetes_has_them_longest_path_first(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof lookups / sizeof *lookups; i++) {
                _cleanup_(oci_keyring_freep) struct oci_keyring *k = NULL;
                char json[512], users[64];

                snprintf(json, sizeof json, "{\"auths\":{%s}}", lookups[i].auths);
                k = parse(json);
                users_of(users, sizeof users, k, lookups[i].host, lookups[i].repository);
                if (strcmp(users, lookups[i].users) != 0)
                        fail_msg("%s for %s/%s: \"%s\" instead of \"%s\"", lookups[i].auths, lookups[i].host,
                                 lookups[i].repository, users, lookups[i].users);
        }
        assert_null(oci_keyring_find(NULL, "r.io", "x", 0));
}

static void assert_text(const char *is, const char *expected, const char *what) {
        if (!is != !expected || (is && strcmp(is, expected) != 0))
                fail_msg("%s: \"%s\" instead of \"%s\"", what, is ? is : "(none)",
                         expected ? expected : "(none)");
}

static void test_all_forms_of_credentials_are_read(void **state) {
        static const struct {
                const char *entry;
                struct oci_credential is;
        } cases[] = {
                { "{\"auth\":\"dXNlcjpwYXNz\"}", { (char *)"user", (char *)"pass", NULL, NULL } },
                { "{\"auth\":\"dXNlcjpwYTpzcw==\"}", { (char *)"user", (char *)"pa:ss", NULL, NULL } },
                { "{\"auth\":\"dXNlcjpwYTpzcw\"}", { (char *)"user", (char *)"pa:ss", NULL, NULL } },
                { "{\"auth\":\"dXNlcjpwYXNzAAA=\"}", { (char *)"user", (char *)"pass", NULL, NULL } },
                { "{\"auth\":\"dXNlcjpwYXNz\",\"username\":\"x\",\"password\":\"y\"}",
                  { (char *)"user", (char *)"pass", NULL, NULL } },
                { "{\"username\":\"x\",\"password\":\"y\"}", { (char *)"x", (char *)"y", NULL, NULL } },
                { "{\"identitytoken\":\"t\"}", { NULL, NULL, (char *)"t", NULL } },
                { "{\"registrytoken\":\"t\"}", { NULL, NULL, NULL, (char *)"t" } },
                { "{\"username\":\"<token>\",\"password\":\"t\"}",
                  { (char *)"<token>", NULL, (char *)"t", NULL } },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_(oci_keyring_freep) struct oci_keyring *k = NULL;
                const struct oci_credential *c, *is = &cases[i].is;
                char json[512];

                snprintf(json, sizeof json, "{\"auths\":{\"r.io\":%s}}", cases[i].entry);
                k = parse(json);
                c = oci_keyring_find(k, "r.io", "x", 0);
                assert_non_null(c);
                assert_text(c->username, is->username, cases[i].entry);
                assert_text(c->password, is->password, cases[i].entry);
                assert_text(c->identity_token, is->identity_token, cases[i].entry);
                assert_text(c->registry_token, is->registry_token, cases[i].entry);
        }
}

static void test_the_older_dockercfg_is_read_and_helpers_are_not_entries(void **state) {
        _cleanup_(oci_keyring_freep) struct oci_keyring *old = parse("{\"r.io\":" USER("a") "}");
        _cleanup_(oci_keyring_freep) struct oci_keyring *helpers =
            parse("{\"credsStore\":\"x\",\"credHelpers\":{\"r.io\":\"ecr\"},\"HttpHeaders\":{\"A\":\"b\"}}");

        (void)state;
        assert_string_equal(oci_keyring_find(old, "r.io", "x", 0)->username, "a");
        assert_null(oci_keyring_find(helpers, "r.io", "x", 0));
}

static void test_malformed_configs_are_refused_without_being_quoted(void **state) {
        static const char *const cases[] = {
                "SECRET",
                "[\"SECRET\"]",
                "{\"auths\":\"SECRET\"}",
                "{\"auths\":{\"SECRET\":\"SECRET\"}}",
                "{\"auths\":{\"r.io\":{\"auth\":\"SECRET\"}}}",
                "{\"auths\":{\"r.io\":{\"auth\":\"U0VDUkVU\"}}}", /* no colon in it */
                "{\"auths\":{\"r.io\":{\"auth\":\"U0VD*RVQ6eA==\"}}}",
                "{\"auths\":{\"r.io\":{\"auth\":\"QTpiAGM=\"}}}", /* A:b, NUL, c */
                "{\"auths\":{\"r.io\":{\"username\":7}}}",
                "{\"auths\":{\"/SECRET\":" USER("SECRET") "}}",
                "{\"auths\":{\"r.io\":" USER("SECRET") "},\"auths\":{}}",
                "{\"auths\":{\"r.io\":" USER("SECRET") "}} SECRET",
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct oci_keyring *k = NULL;
                struct error e = { 0 };

                if (oci_keyring_parse(&k, cases[i], strlen(cases[i]), &e) >= 0)
                        fail_msg("%s was accepted", cases[i]);
                assert_int_equal(e.kind, ERROR_INVALID);
                assert_null(strstr(e.text, "SECRET"));
                assert_null(strstr(e.text, "U0VD"));
                assert_null(k);
        }
}

static void test_a_single_pair_is_for_whatever_registry_is_asked(void **state) {
        _cleanup_(oci_keyring_freep) struct oci_keyring *k = NULL,
                                                        *many = parse("{\"auths\":{\"r.io\":" USER("a") "}}");

        (void)state;
        assert_int_equal(oci_keyring_single(&k, "user", "pass", NULL), 0);
        assert_string_equal(oci_keyring_find(k, "r.io:5000", "x", 0)->password, "pass");
        assert_null(oci_keyring_find(k, "r.io", "x", 1));
        assert_true(oci_keyring_is_single(k));
        assert_false(oci_keyring_is_single(many));
        assert_false(oci_keyring_is_single(NULL));
}

static void test_fingerprints_are_equal_exactly_for_equal_keyrings(void **state) {
        struct oci_keyring *k[] = {
                parse("{\"auths\":{\"r.io\":" USER("a") ",\"s.io\":" USER("b") "}}"),
                parse("{\"auths\":{\"s.io\":" USER("b") ",\"https://r.io/v1/\":" USER("a") "}}"),
                parse("{\"auths\":{\"r.io\":" USER("a") "}}"),
                parse("{\"auths\":{\"r.io\":{\"username\":\"a\",\"password\":\"q\"}}}"),
                parse("{\"auths\":{\"r.io\":{\"identitytoken\":\"a\"}}}"),
                parse("{\"auths\":{\"r.io\":{\"registrytoken\":\"a\"}}}"),
                parse("{}"),
                NULL,
        };
        struct digest d[8];

        (void)state;
        for (size_t i = 0; i < 8; i++)
                oci_keyring_fingerprint(&d[i], k[i]);
        assert_true(digest_equal(&d[0], &d[1]));
        for (size_t i = 1; i < 8; i++)
                for (size_t j = i + 1; j < 8; j++)
                        assert_false(digest_equal(&d[i], &d[j]));
        assert_true(digest_equal(&d[7], &(struct digest){ { 0 } }));
        for (size_t i = 0; i < 8; i++)
                oci_keyring_free(k[i]);
}

static void test_a_keyring_lives_until_its_last_owner(void **state) {
        struct oci_keyring *k = parse("{\"auths\":{\"r.io\":" USER("a") "}}"), *shared = oci_keyring_ref(k);

        (void)state;
        oci_keyring_free(k);
        assert_string_equal(oci_keyring_find(shared, "r.io", "x", 0)->username, "a");
        oci_keyring_free(shared);
        assert_null(oci_keyring_ref(NULL));
}

static void test_a_config_is_loaded_through_a_symbolic_link_as_secrets_are_mounted(void **state) {
        char dir[] = "/tmp/keyring-XXXXXX", file[64], link[64];
        static const char json[] = "{\"auths\":{\"r.io\":" USER("a") "}}";
        _cleanup_(oci_keyring_freep) struct oci_keyring *k = NULL;
        struct error e = { 0 };

        (void)state;
        assert_non_null(mkdtemp(dir));
        snprintf(file, sizeof file, "%s/data", dir);
        snprintf(link, sizeof link, "%s/config.json", dir);
        int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, json, sizeof json - 1), sizeof json - 1);
        close(fd);
        assert_int_equal(symlink("data", link), 0);
        int r = oci_keyring_load(&k, link, &e),
            missing = oci_keyring_load(&k, "/nonexistent/config.json", &e);
        unlink(link);
        unlink(file);
        rmdir(dir);
        assert_int_equal(r, 0);
        assert_string_equal(oci_keyring_find(k, "r.io", "x", 0)->username, "a");
        assert_int_equal(missing, -ENOENT);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
}

static void test_base64_reads_what_it_should_and_nothing_else(void **state) {
        static const struct {
                const char *text, *is;
        } cases[] = {
                { "", "" },
                { "QQ==", "A" },
                { "QQ", "A" },
                { "QUI=", "AB" },
                { "QUI", "AB" },
                { "QUJD", "ABC" },
                { "+/+/", "\xfb\xff\xbf" },
                { "QQ=", NULL },
                { "Q", NULL },
                { "Q===", NULL },
                { "QR==", NULL },
                { "QUJ=", NULL },
                { "QUJD=", NULL },
                { "QQ==QQ==", NULL },
                { "Q Q=", NULL },
                { "-_-_", NULL },
                { "QQ==\n", NULL },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_free_ char *out = NULL;
                size_t len = 0;

                int r = oci_base64_decode(&out, &len, cases[i].text);
                if ((r >= 0) != (cases[i].is != NULL))
                        fail_msg("%s: %d", cases[i].text, r);
                if (cases[i].is)
                        assert_string_equal(out, cases[i].is);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_matches_come_as_kubernetes_has_them_longest_path_first),
                cmocka_unit_test(test_all_forms_of_credentials_are_read),
                cmocka_unit_test(test_the_older_dockercfg_is_read_and_helpers_are_not_entries),
                cmocka_unit_test(test_malformed_configs_are_refused_without_being_quoted),
                cmocka_unit_test(test_a_single_pair_is_for_whatever_registry_is_asked),
                cmocka_unit_test(test_fingerprints_are_equal_exactly_for_equal_keyrings),
                cmocka_unit_test(test_a_keyring_lives_until_its_last_owner),
                cmocka_unit_test(test_a_config_is_loaded_through_a_symbolic_link_as_secrets_are_mounted),
                cmocka_unit_test(test_base64_reads_what_it_should_and_nothing_else),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
