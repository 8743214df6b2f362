/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS is verified: a certificate that nobody trusts ends the conversation, and caFile makes it trusted. The
 * server answers every GET with a page about the connection, so "data loss" means: TLS was fine, and the page is
 * no manifest.
 */
#include "tests/unit/oci/tls_server.h"
#include "tests/unit/oci/world.h"

static int set_up(void **state) {
        struct tls_server *t = calloc(1, sizeof *t);

        tls_server_start(t, "127.0.0.1:0", "-www");
        *state = t;
        return 0;
}

static int tear_down(void **state) {
        tls_server_stop(*state);
        free(*state);
        return 0;
}

/* What comes of asking @t for a manifest, with @ca_file. */
static struct error ask(const struct tls_server *t, const char *ca_file) {
        struct oci_reference *ref = world_reference(t->host, "m:v1");
        struct model_plan *plan = NULL;
        struct digest digest = { 0 };
        struct world w = { 0 };

        world_add(&w, t->host, false)->ca_file = (char *)ca_file;
        world_begin(&w);
        assert_true(oci_plan(&plan, w.client, &(struct oci_request){ .reference = ref }, &digest, &w.e) < 0);
        world_end(&w);
        oci_reference_free(ref);
        return w.e;
}

static void test_a_certificate_that_nobody_trusts_is_refused_with_advice(void **state) {
        struct error e = ask(*state, NULL);

        assert_int_equal(e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(e.text, "caFile"));
}

static void test_a_ca_file_makes_it_trusted(void **state) {
        const struct tls_server *t = *state;
        struct error e = ask(t, t->certificate);

        assert_int_equal(e.kind, ERROR_DATA_LOSS);
}

static void test_a_ca_file_that_has_no_certificate_does_not_switch_verification_off(void **state) {
        const struct tls_server *t = *state;
        struct error e = ask(t, t->key);

        assert_int_equal(e.kind, ERROR_UNAVAILABLE);
}

static void test_a_ca_file_that_is_not_there_is_named(void **state) {
        struct error e = ask(*state, "/nowhere/ca.pem");

        assert_true(e.kind != ERROR_NONE);
        assert_non_null(strstr(e.text, "/nowhere/ca.pem"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_certificate_that_nobody_trusts_is_refused_with_advice),
                cmocka_unit_test(test_a_ca_file_makes_it_trusted),
                cmocka_unit_test(test_a_ca_file_that_has_no_certificate_does_not_switch_verification_off),
                cmocka_unit_test(test_a_ca_file_that_is_not_there_is_named),
        };

        return cmocka_run_group_tests_name("tls", tests, set_up, tear_down);
}
