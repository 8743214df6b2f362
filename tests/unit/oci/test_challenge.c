/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/challenge.h"

#include "tests/unit/test.h"

static const struct {
        const char *headers[3];
        struct oci_challenge is;
} accepted[] = {
        { { "Bearer "
            "realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/"
            "b:pull,push\"" },
          { false, true, (char *)"https://auth.docker.io/token", (char *)"registry.docker.io",
            (char *)"repository:a/b:pull,push", NULL } },
        { { "Basic realm=\"Registry\"" }, { .basic = true } },
        { { "basic" }, { .basic = true } },
        { { "BEARER REALM=x , Service = \"y\"" },
          { .bearer = true, .realm = (char *)"x", .service = (char *)"y" } },
        { { "Bearer realm=https://h:5000/t?a=b,service=s" },
          { .bearer = true, .realm = (char *)"https://h:5000/t?a=b", .service = (char *)"s" } },
        { { "Bearer realm=\"a\\\"b\\\\c\"" }, { .bearer = true, .realm = (char *)"a\"b\\c" } },
        { { "Negotiate, Basic realm=\"x\", Bearer realm=\"r\", error=\"invalid_token\"" },
          { .basic = true, .bearer = true, .realm = (char *)"r", .error = (char *)"invalid_token" } },
        { { "Negotiate YIIJvwYGKwYB+/==, Bearer realm=\"r\"" }, { .bearer = true, .realm = (char *)"r" } },
        { { "Digest realm=\"d\", nonce=\"Bearer realm=evil\", Bearer realm=\"r\"" },
          { .bearer = true, .realm = (char *)"r" } },
        { { "Basic realm=\"x\"", "Bearer realm=\"r\"" },
          { .basic = true, .bearer = true, .realm = (char *)"r" } },
        { { "Bearer realm=\"first\"", "Bearer realm=\"second\",scope=\"s\"" },
          { .bearer = true, .realm = (char *)"first" } },
        { { "Bearer realm=\"first\", Bearer realm=\"second\"" },
          { .bearer = true, .realm = (char *)"first" } },
        { { "Bearer realm=\"first\", realm=\"second\"" }, { .bearer = true, .realm = (char *)"first" } },
        { { ", ,Bearer realm=\"\",," }, { .bearer = true, .realm = (char *)"" } },
        { { "" }, { 0 } },
        { { "Custom a=b" }, { 0 } },
};

static void assert_text(const char *is, const char *expected, const char *what) {
        if (!is != !expected || (is && strcmp(is, expected) != 0))
                fail_msg("%s: \"%s\" instead of \"%s\"", what, is ? is : "(none)",
                         expected ? expected : "(none)");
}

static void test_challenges_of_all_headers_are_collected(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
                _cleanup_challenge_ struct oci_challenge c = { 0 };
                const struct oci_challenge *is = &accepted[i].is;
                const char *what = accepted[i].headers[0];
                struct error e = { 0 };

                for (size_t j = 0; j < 3 && accepted[i].headers[j]; j++)
                        if (oci_challenge_add(&c, accepted[i].headers[j], &e) < 0)
                                fail_msg("%s: %s", accepted[i].headers[j], e.text);
                if (c.basic != is->basic || c.bearer != is->bearer)
                        fail_msg("%s: basic %d, bearer %d", what, c.basic, c.bearer);
                assert_text(c.realm, is->realm, what);
                assert_text(c.service, is->service, what);
                assert_text(c.scope, is->scope, what);
                assert_text(c.error, is->error, what);
        }
}

static void test_malformed_headers_are_refused_and_change_nothing(void **state) {
        static const char *const cases[] = {
                "Bearer realm=\"x",
                "Bearer realm=\"x\\",
                "Bearer realm=\"x\" service=\"y\"",
                "Bearer realm=\"x\nX: y\"",
                "\"x\"",
                "=x",
                "Bearer realm=\"a\"\"b\"",
                "Bearer [x]",
                "Bearer realm=\"x\"\x7f",
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_challenge_ struct oci_challenge c = { 0 };
                struct error e = { 0 };

                if (oci_challenge_add(&c, cases[i], &e) >= 0)
                        fail_msg("%s was accepted", cases[i]);
                assert_int_equal(e.kind, ERROR_INVALID);
                assert_false(c.basic || c.bearer || c.realm || c.service || c.scope || c.error);
        }
}

static void test_a_header_longer_than_the_cap_is_refused(void **state) {
        static char header[OCI_CHALLENGE_MAX + 2];
        struct oci_challenge c = { 0 };

        (void)state;
        memset(header, 'a', sizeof header - 1);
        assert_int_equal(oci_challenge_add(&c, header, NULL), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_challenges_of_all_headers_are_collected),
                cmocka_unit_test(test_malformed_headers_are_refused_and_change_nothing),
                cmocka_unit_test(test_a_header_longer_than_the_cap_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
