/* SPDX-License-Identifier: Apache-2.0 */
/* The engine that decides how to show who is asking, without a network. */
#include "tests/unit/test.h"

#include "oci/auth.h"

#define BEARER "Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:m:pull\""

static char user[] = "u", password[] = "p", registry_token[] = "rt", basic[] = "Basic realm=\"x\"",
            bearer[] = BEARER, digest_scheme[] = "Digest realm=\"x\"";

static struct oci_credential pair = { .username = user, .password = password };
static struct oci_credential ready = { .registry_token = registry_token };

static enum oci_auth_next denied(struct oci_auth *a, long status, char *challenge) {
        char *challenges[] = { challenge, NULL };
        enum oci_auth_next next;

        assert_int_equal(oci_auth_on_denied(&next, a, status, challenges, 2, NULL), 0);
        return next;
}

static struct oci_auth begun(const struct oci_credential *c, const struct oci_credential *d) {
        struct oci_auth a = { .candidates = { c, d }, .n_candidates = (c != NULL) + (d != NULL) };
        enum oci_auth_next next;

        assert_int_equal(oci_auth_begin(&next, &a, NULL, NULL), 0);
        assert_int_equal(next, OCI_AUTH_SEND);
        assert_null(a.authorization);
        return a;
}

static void test_nobody_gives_up_on_basic(void **state) {
        struct oci_auth a = begun(NULL, NULL);

        (void)state;
        assert_int_equal(denied(&a, 401, basic), OCI_AUTH_GIVE_UP);
        oci_auth_done(&a);
}

static void test_an_answer_without_a_challenge_stands(void **state) {
        struct oci_auth a = begun(&pair, NULL);

        (void)state;
        assert_int_equal(denied(&a, 403, NULL), OCI_AUTH_GIVE_UP);
        assert_int_equal(denied(&a, 401, digest_scheme), OCI_AUTH_GIVE_UP);
        oci_auth_done(&a);
}

static void test_a_pair_answers_basic_once(void **state) {
        struct oci_auth a = begun(&pair, NULL);

        (void)state;
        assert_int_equal(denied(&a, 401, basic), OCI_AUTH_SEND);
        assert_string_equal(a.authorization, "Basic dTpw");
        assert_true(oci_auth_is_private(&a));
        assert_int_equal(denied(&a, 401, basic), OCI_AUTH_GIVE_UP);
        oci_auth_done(&a);
}

static void test_nobody_gets_an_anonymous_token_and_no_second_one(void **state) {
        struct oci_auth a = begun(NULL, NULL);

        (void)state;
        assert_int_equal(denied(&a, 401, bearer), OCI_AUTH_GET_TOKEN);
        assert_null(a.credential);
        assert_int_equal(oci_auth_on_token(&a, "t", true, NULL), 0);
        assert_string_equal(a.authorization, "Bearer t");
        assert_false(oci_auth_is_private(&a));
        assert_int_equal(denied(&a, 401, bearer), OCI_AUTH_GIVE_UP);
        oci_auth_done(&a);
}

static void test_a_cached_token_gets_a_second_chance(void **state) {
        struct oci_auth a = begun(&pair, NULL);

        (void)state;
        assert_int_equal(denied(&a, 401, bearer), OCI_AUTH_GET_TOKEN);
        assert_int_equal(oci_auth_on_token(&a, "old", false, NULL), 0);
        assert_int_equal(denied(&a, 401, bearer), OCI_AUTH_GET_TOKEN);
        assert_string_equal(a.refused_token, "old");
        assert_int_equal(oci_auth_on_token(&a, "new", true, NULL), 0);
        assert_int_equal(denied(&a, 401, bearer), OCI_AUTH_GIVE_UP);
        oci_auth_done(&a);
}

static void test_candidates_are_tried_in_their_order(void **state) {
        struct oci_auth a = begun(&ready, &pair);
        enum oci_auth_next next;

        (void)state;
        assert_int_equal(denied(&a, 401, bearer), OCI_AUTH_SEND);
        assert_string_equal(a.authorization, "Bearer rt");
        assert_int_equal(denied(&a, 403, bearer), OCI_AUTH_GET_TOKEN);
        assert_ptr_equal(a.credential, &pair);
        assert_int_equal(oci_auth_on_token_refused(&next, &a, NULL), 0);
        assert_int_equal(next, OCI_AUTH_GIVE_UP);
        oci_auth_done(&a);
}

static void test_a_candidate_that_cannot_answer_is_passed_over(void **state) {
        struct oci_auth a = begun(&ready, &pair);

        (void)state;
        assert_int_equal(denied(&a, 401, basic), OCI_AUTH_SEND);
        assert_ptr_equal(a.credential, &pair);
        oci_auth_done(&a);
}

static void test_a_known_challenge_saves_the_first_refusal(void **state) {
        struct oci_auth a = { .candidates = { &pair }, .n_candidates = 1 };
        struct oci_challenge known = { 0 };
        enum oci_auth_next next;

        (void)state;
        assert_int_equal(oci_challenge_add(&known, basic, NULL), 0);
        assert_int_equal(oci_auth_begin(&next, &a, &known, NULL), 0);
        assert_int_equal(next, OCI_AUTH_SEND);
        assert_string_equal(a.authorization, "Basic dTpw");
        assert_null(known.realm);
        oci_auth_done(&a);
}

/* It may want none any more. */
static void test_a_registry_of_which_nobody_gets_a_token_is_asked_without(void **state) {
        struct oci_auth a = { .candidates = { &pair }, .n_candidates = 1 };
        struct oci_challenge known = { 0 };
        enum oci_auth_next next;

        (void)state;
        assert_int_equal(oci_challenge_add(&known, bearer, NULL), 0);
        assert_int_equal(oci_auth_begin(&next, &a, &known, NULL), 0);
        assert_int_equal(next, OCI_AUTH_GET_TOKEN);
        assert_int_equal(oci_auth_on_token_refused(&next, &a, NULL), 0);
        assert_int_equal(next, OCI_AUTH_SEND);
        assert_null(a.authorization);
        assert_false(oci_auth_is_private(&a));
        assert_int_equal(denied(&a, 401, bearer), OCI_AUTH_GET_TOKEN);
        assert_int_equal(oci_auth_on_token_refused(&next, &a, NULL), 0);
        assert_int_equal(next, OCI_AUTH_GIVE_UP);
        oci_auth_done(&a);
}

static void test_a_token_with_a_line_break_is_refused(void **state) {
        struct oci_auth a = begun(NULL, NULL);
        struct error e = { 0 };

        (void)state;
        assert_int_equal(denied(&a, 401, bearer), OCI_AUTH_GET_TOKEN);
        assert_true(oci_auth_on_token(&a, "t\r\nX: y", true, &e) < 0);
        assert_int_equal(e.kind, ERROR_UNAUTHENTICATED);
        assert_null(a.authorization);
        oci_auth_done(&a);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nobody_gives_up_on_basic),
                cmocka_unit_test(test_an_answer_without_a_challenge_stands),
                cmocka_unit_test(test_a_pair_answers_basic_once),
                cmocka_unit_test(test_nobody_gets_an_anonymous_token_and_no_second_one),
                cmocka_unit_test(test_a_cached_token_gets_a_second_chance),
                cmocka_unit_test(test_candidates_are_tried_in_their_order),
                cmocka_unit_test(test_a_candidate_that_cannot_answer_is_passed_over),
                cmocka_unit_test(test_a_known_challenge_saves_the_first_refusal),
                cmocka_unit_test(test_a_registry_of_which_nobody_gets_a_token_is_asked_without),
                cmocka_unit_test(test_a_token_with_a_line_break_is_refused),
        };

        return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
