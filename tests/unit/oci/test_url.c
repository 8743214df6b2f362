/* SPDX-License-Identifier: Apache-2.0 */
/* Where hostile addresses may lead, and which endpoints a registry has. */
#include "tests/unit/test.h"

#include "oci/endpoint.h"
#include "oci/url.h"

static void test_origin_has_the_port_and_lower_case(void **state) {
        static const struct {
                const char *url, *origin;
        } cases[] = {
                { "https://Example.COM/a?b#c", "https://example.com:443" },
                { "http://h/", "http://h:80" },
                { "https://h:8443", "https://h:8443" },
                { "https://user:pw@h/x", "https://h:443" },
                { "http://0x7f.1/", "http://127.0.0.1:80" },
                { "http://[::1]:5000/x", "http://[::1]:5000" },
                { "ftp://h/", NULL },
                { "h/path", NULL },
                { "https:/h", NULL },
                { "https:/h/x://y", NULL },
                { "https://a%2541/", NULL },
                { "https://a%7f/", NULL },
                { "", NULL },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct error e = { 0 };
                char *origin = NULL;
                int r = oci_url_origin(&origin, cases[i].url, &e);

                assert_int_equal(r == 0, cases[i].origin != NULL);
                if (cases[i].origin)
                        assert_string_equal(origin, cases[i].origin);
                else
                        assert_int_equal(e.kind, ERROR_INVALID);
                free(origin);
        }
}

static void test_what_is_shown_has_no_secrets(void **state) {
        char *shown = oci_url_shown("https://user:secret@s3.example.com/blob?X-Amz-Signature=abcdef#f");

        (void)state;
        assert_string_equal(shown, "https://s3.example.com/blob");
        free(shown);
}

struct way {
        const char *from, *to;
        bool allowed;
};

static void test_redirects_stay_safe(void **state) {
        static const struct way ways[] = {
                { "https://r.example.com:443", "https://s3.example.com/x?sig", true },
                { "https://r.example.com:443", "http://s3.example.com/x", false },
                { "http://r.example.com:5000", "https://s3.example.com/x", true },
                { "http://r.example.com:5000", "http://10.1.2.3/x", true },
                { "https://r.example.com:443", "https://169.254.169.254/latest", false },
                { "https://r.example.com:443", "https://0xa9fea9fe/latest", false },
                { "https://r.example.com:443", "https://[::ffff:169.254.169.254]/", false },
                { "https://r.example.com:443", "https://[fe80::1]/", false },
                { "http://169.254.1.1:80", "http://169.254.1.1/blob", true },
                { "https://r.example.com:443", "https://a:b@s3.example.com/x", false },
                { "https://r.example.com:443", "file:///etc/passwd", false },
                { "https://r.example.com:443", "gopher://s3.example.com/x", false },
                { "https://r.example.com:443", "/relative", false },
        };

        (void)state;
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
                struct error e = { 0 };
                int r = oci_url_check_redirect(ways[i].from, ways[i].to, &e);

                if ((r == 0) != ways[i].allowed)
                        fail_msg("%s -> %s: %d %s", ways[i].from, ways[i].to, r, e.text);
                assert_int_equal(e.kind, ways[i].allowed ? ERROR_NONE : ERROR_DENIED);
        }
}

static void test_credentials_go_to_no_realm_of_an_attackers_choice(void **state) {
        static const struct way ways[] = {
                { "https://r.example.com:443", "https://auth.example.com/token", true },
                { "https://r.example.com:443", "http://auth.example.com/token", false },
                { "http://r.example.com:5000", "http://auth.example.com/token", true },
                { "https://r.example.com:443", "https://10.0.0.1/token", false },
                { "https://r.example.com:443", "https://172.20.0.1/token", false },
                { "https://r.example.com:443", "https://192.168.1.1/token", false },
                { "https://r.example.com:443", "https://100.64.0.1/token", false },
                { "https://r.example.com:443", "https://169.254.169.254/token", false },
                { "https://r.example.com:443", "https://127.0.0.1:6443/token", false },
                { "https://r.example.com:443", "https://2130706433/token", false },
                { "https://r.example.com:443", "https://localhost/token", false },
                { "https://r.example.com:443", "https://[::1]/token", false },
                { "https://r.example.com:443", "https://[fd00::1]/token", false },
                { "https://r.example.com:443", "https://[::ffff:10.0.0.1]/token", false },
                { "https://r.example.com:443", "https://[64:ff9b::a00:1]/token", false },
                { "https://r.example.com:443", "https://8.8.8.8/token", true },
                { "https://10.0.0.1:443", "https://10.0.0.1:8443/token", true },
                { "https://10.0.0.1:443", "https://10.0.0.2/token", false },
                { "http://127.0.0.1:5000", "http://localhost:5001/token", true },
                { "https://r.example.com:443", "https://me:pw@auth.example.com/token", false },
                { "https://r.example.com:443", "nonsense", false },
        };

        (void)state;
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
                struct error e = { 0 };
                int r = oci_url_check_realm(ways[i].from, ways[i].to, &e);

                if ((r == 0) != ways[i].allowed)
                        fail_msg("%s -> %s: %d %s", ways[i].from, ways[i].to, r, e.text);
        }
}

static void test_query_values_are_encoded(void **state) {
        char *url = strdup("https://h/token?a=1");

        (void)state;
        assert_int_equal(oci_url_add_query(&url, "scope", "repository:a/b:pull&x=y"), 0);
        assert_string_equal(url, "https://h/token?a=1&scope=repository%3aa%2fb%3apull%26x%3dy");
        free(url);
}

static void check_endpoint(const struct oci_endpoint *ep, const char *base, const char *host,
                           const char *url) {
        char *made = oci_endpoint_url(ep, "library/x", "manifests/latest");

        assert_string_equal(ep->base, base);
        assert_string_equal(ep->host, host);
        assert_string_equal(made, url);
        free(made);
}

static void test_mirrors_come_first_and_learn_the_namespace(void **state) {
        char host[] = "docker.io", m1[] = "https://mirror.internal/v2", m2[] = "http://m2.internal:5000/",
             m3[] = "https://harbor/v2/hub/";
        char *mirrors[] = { m1, m2, m3, NULL };
        struct settings_registry registry = { .host = host, .mirrors = mirrors };
        struct settings s = { .registries = &registry, .n_registries = 1 };
        struct oci_endpoints eps = { 0 };
        struct error e = { 0 };

        (void)state;
        assert_int_equal(oci_endpoints_of(&eps, &s, "docker.io", &e), 0);
        assert_int_equal(eps.n, 4);
        check_endpoint(&eps.list[0], "https://mirror.internal/v2", "mirror.internal",
                       "https://mirror.internal/v2/library/x/manifests/latest?ns=docker.io");
        check_endpoint(&eps.list[1], "http://m2.internal:5000/v2", "m2.internal:5000",
                       "http://m2.internal:5000/v2/library/x/manifests/latest?ns=docker.io");
        check_endpoint(&eps.list[2], "https://harbor/v2/hub", "harbor",
                       "https://harbor/v2/hub/library/x/manifests/latest?ns=docker.io");
        check_endpoint(&eps.list[3], "https://registry-1.docker.io/v2", "docker.io",
                       "https://registry-1.docker.io/v2/library/x/manifests/latest");
        oci_endpoints_done(&eps);
}

static void test_a_mirror_that_is_no_url_is_named(void **state) {
        char host[] = "r.example.com", mirror[] = "mirror.internal";
        char *mirrors[] = { mirror, NULL };
        struct settings_registry registry = { .host = host, .mirrors = mirrors };
        struct settings s = { .registries = &registry, .n_registries = 1 };
        struct oci_endpoints eps = { 0 };
        struct error e = { 0 };

        (void)state;
        assert_true(oci_endpoints_of(&eps, &s, "r.example.com", &e) < 0);
        assert_int_equal(e.kind, ERROR_INVALID);
        assert_non_null(strstr(e.text, "mirror.internal"));
        assert_null(eps.list);
}

static void test_plain_http_is_only_where_it_is_configured(void **state) {
        char host[] = "plain:5000";
        struct settings_registry registry = { .host = host, .plain_http = true };
        struct settings s = { .registries = &registry, .n_registries = 1 };
        static const struct {
                const char *host, *base;
        } cases[] = { { "plain:5000", "http://plain:5000/v2" },
                      { "localhost:5000", "https://localhost:5000/v2" },
                      { "127.0.0.1:5000", "https://127.0.0.1:5000/v2" } };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct oci_endpoints eps = { 0 };

                assert_int_equal(oci_endpoints_of(&eps, &s, cases[i].host, NULL), 0);
                assert_int_equal(eps.n, 1);
                assert_string_equal(eps.list[0].base, cases[i].base);
                oci_endpoints_done(&eps);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_origin_has_the_port_and_lower_case),
                cmocka_unit_test(test_what_is_shown_has_no_secrets),
                cmocka_unit_test(test_redirects_stay_safe),
                cmocka_unit_test(test_credentials_go_to_no_realm_of_an_attackers_choice),
                cmocka_unit_test(test_query_values_are_encoded),
                cmocka_unit_test(test_mirrors_come_first_and_learn_the_namespace),
                cmocka_unit_test(test_a_mirror_that_is_no_url_is_named),
                cmocka_unit_test(test_plain_http_is_only_where_it_is_configured),
        };

        return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
