/* SPDX-License-Identifier: Apache-2.0 */
/* The engine alone: no server, and time is a number. */
#include "tests/unit/test.h"

#include "csi/kube_verdict.h"

#define SECOND 1000
#define START 5000000

struct judged {
        enum csi_kube_next next;
        int64_t wait_ms;
        struct error e;
};

static struct csi_kube_course begun(int64_t timeout_ms) {
        struct csi_kube_course c = { .server = "api.example:443",
                                     .account = "/sa",
                                     .secret = "canary-token" };

        csi_kube_course_begin(&c, timeout_ms, START);
        return c;
}

/* An HTTP answer, @after_ms of the beginning. */
static struct judged judge(struct csi_kube_course *c, long status, const char *retry_after, const char *body,
                           int64_t after_ms) {
        struct oci_http_response a = { .status = status, .retry_after = (char *)retry_after };
        struct judged j = { 0 };

        a.body = (struct buf)BUF_INIT(1 << 20);
        assert_int_equal(buf_append(&a.body, body, strlen(body)), 0);
        j.next = csi_kube_judge(&j.wait_ms, c, &a, 0, NULL, START + after_ms, &j.e);
        buf_free(&a.body);
        return j;
}

/* None. */
static struct judged judge_failure(struct csi_kube_course *c, CURLcode code, enum error_kind kind,
                                   int64_t after_ms) {
        struct oci_http_response a = { .code = code, .detail = "libcurl's words" };
        struct error sent = { 0 };
        struct judged j = { 0 };
        int performed = error_set(&sent, kind, "what oci said");

        j.next = csi_kube_judge(&j.wait_ms, c, &a, performed, &sent, START + after_ms, &j.e);
        return j;
}

#define STATUS(message) "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"message\":\"" message "\"}"

static void test_each_status_has_its_kind_and_keeps_the_servers_words(void **state) {
        static const struct {
                long status;
                enum error_kind kind;
        } cases[] = {
                { 400, ERROR_INVALID },     { 403, ERROR_DENIED },      { 404, ERROR_NOT_FOUND },
                { 409, ERROR_EXISTS },      { 422, ERROR_INVALID },     { 405, ERROR_UNAVAILABLE },
                { 410, ERROR_UNAVAILABLE }, { 302, ERROR_UNAVAILABLE }, { 100, ERROR_UNAVAILABLE },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct csi_kube_course c = begun(20 * SECOND);
                struct judged j = judge(&c, cases[i].status, NULL, STATUS("the words"), 10);

                assert_int_equal(j.next, CSI_KUBE_FAIL);
                assert_int_equal(j.e.kind, cases[i].kind);
                assert_non_null(strstr(j.e.text, "the words"));
        }
}

static void test_every_2xx_is_done(void **state) {
        (void)state;
        for (long status = 200; status < 300; status++) {
                struct csi_kube_course c = begun(SECOND);

                assert_int_equal(judge(&c, status, NULL, "", 1).next, CSI_KUBE_DONE);
        }
}

static void test_only_the_first_401_asks_for_a_fresh_token(void **state) {
        struct csi_kube_course c = begun(20 * SECOND);

        (void)state;
        assert_int_equal(judge(&c, 401, NULL, STATUS("Unauthorized"), 1).next, CSI_KUBE_REFRESH);
        struct judged j = judge(&c, 401, NULL, STATUS("Unauthorized"), 2);
        assert_int_equal(j.next, CSI_KUBE_FAIL);
        assert_int_equal(j.e.kind, ERROR_UNAUTHENTICATED);
        assert_string_equal(j.e.text, "the API server does not accept the token in /sa: Unauthorized");
}

static void test_a_certificate_is_distrusted_once_before_it_fails(void **state) {
        struct csi_kube_course c = begun(20 * SECOND);

        (void)state;
        assert_int_equal(judge_failure(&c, CURLE_PEER_FAILED_VERIFICATION, ERROR_UNAVAILABLE, 1).next,
                         CSI_KUBE_REFRESH);
        struct judged j = judge_failure(&c, CURLE_PEER_FAILED_VERIFICATION, ERROR_UNAVAILABLE, 2);
        assert_int_equal(j.next, CSI_KUBE_FAIL);
        assert_int_equal(j.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(j.e.text, "check /sa/ca.crt"));
}

static void test_a_server_that_is_busy_is_asked_again_when_it_says(void **state) {
        static const struct {
                long status;
                const char *retry_after, *body;
                int64_t wait_ms;
        } cases[] = {
                { 429, "3", "", 3000 },
                { 429, NULL, "{\"kind\":\"Status\",\"details\":{\"retryAfterSeconds\":2}}", 2000 },
                { 429, "4", "{\"kind\":\"Status\",\"details\":{\"retryAfterSeconds\":2}}", 4000 },
                { 500, "86400", "", 30000 }, /* more is not believed */
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct csi_kube_course c = begun(60 * SECOND);
                struct judged j = judge(&c, cases[i].status, cases[i].retry_after, cases[i].body, 10);

                assert_int_equal(j.next, CSI_KUBE_WAIT);
                assert_int_equal(j.wait_ms, cases[i].wait_ms);
        }
}

/* "At once", or a date that is past, of a server that goes on failing must not make us spin. */
static void test_retry_after_does_not_shorten_our_own_wait(void **state) {
        static const char *const soon[] = { "0", "Sun, 06 Nov 1994 08:49:37 GMT", "no date", NULL };

        (void)state;
        for (size_t i = 0; soon[i]; i++) {
                struct csi_kube_course c = begun(3600 * SECOND);

                for (int64_t n = 0, most = 100; n < 8; n++, most = most * 2 < 5000 ? most * 2 : 5000) {
                        struct judged j = judge(&c, 503, soon[i], "", 10);

                        assert_int_equal(j.next, CSI_KUBE_WAIT);
                        assert_in_range(j.wait_ms, most / 2, most);
                }
        }
}

static void test_waits_grow_and_have_a_cap(void **state) {
        struct csi_kube_course c = begun(3600 * SECOND);
        int64_t most = 100;

        (void)state;
        for (unsigned i = 0; i < 12; i++) {
                struct judged j = judge_failure(&c, CURLE_COULDNT_CONNECT, ERROR_UNAVAILABLE, 10);

                assert_int_equal(j.next, CSI_KUBE_WAIT);
                assert_in_range(j.wait_ms, most / 2, most);
                most = most * 2 < 5000 ? most * 2 : 5000;
        }
}

/* Nobody sleeps up to a deadline at which nothing can be done any more. */
static void test_what_does_not_fit_before_the_deadline_is_not_waited_for(void **state) {
        struct csi_kube_course c = begun(10 * SECOND);
        struct judged j = judge(&c, 429, "9", STATUS("slow down"), 500);

        (void)state;
        assert_int_equal(j.next, CSI_KUBE_WAIT);
        j = judge(&c, 429, "9", STATUS("slow down"), 950);
        assert_int_equal(j.next, CSI_KUBE_FAIL);
        assert_int_equal(j.e.kind, ERROR_UNAVAILABLE);
        assert_string_equal(j.e.text, "the API server at api.example:443 is too busy (slow down)");
        j = judge_failure(&c, CURLE_COULDNT_CONNECT, ERROR_UNAVAILABLE, 9990);
        assert_int_equal(j.next, CSI_KUBE_FAIL);
        assert_int_equal(j.e.kind, ERROR_UNAVAILABLE);
        assert_string_equal(j.e.text, "the API server at api.example:443 cannot be reached: libcurl's words");
        j = judge_failure(&c, CURLE_OPERATION_TIMEDOUT, ERROR_UNAVAILABLE, 9990);
        assert_int_equal(j.next, CSI_KUBE_FAIL);
        assert_int_equal(j.e.kind, ERROR_TIMEOUT);
        assert_string_equal(j.e.text, "the API server at api.example:443 has not answered within 10.0s");
}

static void test_a_try_leaves_time_for_another(void **state) {
        struct csi_kube_course c = begun(25 * SECOND);
        struct error e = { 0 };

        (void)state;
        assert_int_equal(csi_kube_course_try_ms(&c, START, &e), 10 * SECOND);
        assert_int_equal(csi_kube_course_try_ms(&c, START + 20 * SECOND, &e), 5 * SECOND);
        assert_int_equal(e.kind, ERROR_NONE);
        assert_int_equal(csi_kube_course_try_ms(&c, START + 25 * SECOND, &e), 0);
        assert_int_equal(e.kind, ERROR_TIMEOUT);
}

static void test_what_is_nobodys_fault_goes_through_and_what_is_too_long_is_not_ours(void **state) {
        struct csi_kube_course c = begun(10 * SECOND);

        (void)state;
        struct judged cancelled = judge_failure(&c, CURLE_ABORTED_BY_CALLBACK, ERROR_CANCELLED, 1);
        assert_int_equal(cancelled.e.kind, ERROR_CANCELLED);
        assert_string_equal(cancelled.e.text, "cancelled while waiting for the API server");
        assert_int_equal(judge_failure(&c, CURLE_OUT_OF_MEMORY, ERROR_INTERNAL, 1).e.kind, ERROR_INTERNAL);
        struct judged j = judge_failure(&c, CURLE_WRITE_ERROR, ERROR_INVALID, 1);
        assert_int_equal(j.next, CSI_KUBE_FAIL);
        assert_int_equal(j.e.kind, ERROR_UNAVAILABLE); /* INVALID would blame whoever asked us */
}

static void test_a_status_that_repeats_our_token_is_not_quoted(void **state) {
        struct csi_kube_course c = begun(10 * SECOND);
        struct judged j = judge(&c, 403, NULL, STATUS("Bearer canary-token is not welcome"), 1);

        (void)state;
        assert_int_equal(j.e.kind, ERROR_DENIED);
        assert_string_equal(j.e.text, "the API server denies it: HTTP 403");
}

static void test_what_is_no_status_says_nothing(void **state) {
        static const char *const bodies[] = {
                "",
                "no JSON",
                "[]",
                "{\"message\":\"no kind\"}",
                "{\"kind\":\"Pod\",\"message\":\"another kind\"}",
                "{\"kind\":1,\"message\":\"x\"}",
                "{\"kind\":\"Status\",\"message\":5}",
                "{\"kind\":\"Status\",\"message\":null,\"details\":[]}",
                "{\"kind\":\"Status\",\"details\":{\"retryAfterSeconds\":-1}}",
                "{\"kind\":\"Status\",\"message\":\"a\",\"message\":\"b\"}",
        };

        (void)state;
        for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
                struct csi_kube_status s;

                csi_kube_status_read(&s, bodies[i], strlen(bodies[i]));
                assert_string_equal(s.message, "");
                assert_int_equal(s.retry_after_seconds, 0);
        }
}

static void test_a_long_message_is_cut_between_characters(void **state) {
        char body[2000] = "{\"kind\":\"Status\",\"message\":\"x";
        struct csi_kube_status s;

        (void)state;
        for (unsigned i = 0; i < 400; i++)
                strcat(body, "\xc3\xa4");
        strcat(body, "\"}");
        csi_kube_status_read(&s, body, strlen(body));
        assert_int_equal(strlen(s.message), 399); /* 400 would be half an umlaut */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_status_has_its_kind_and_keeps_the_servers_words),
                cmocka_unit_test(test_every_2xx_is_done),
                cmocka_unit_test(test_only_the_first_401_asks_for_a_fresh_token),
                cmocka_unit_test(test_a_certificate_is_distrusted_once_before_it_fails),
                cmocka_unit_test(test_a_server_that_is_busy_is_asked_again_when_it_says),
                cmocka_unit_test(test_retry_after_does_not_shorten_our_own_wait),
                cmocka_unit_test(test_waits_grow_and_have_a_cap),
                cmocka_unit_test(test_what_does_not_fit_before_the_deadline_is_not_waited_for),
                cmocka_unit_test(test_a_try_leaves_time_for_another),
                cmocka_unit_test(test_what_is_nobodys_fault_goes_through_and_what_is_too_long_is_not_ours),
                cmocka_unit_test(test_a_status_that_repeats_our_token_is_not_quoted),
                cmocka_unit_test(test_what_is_no_status_says_nothing),
                cmocka_unit_test(test_a_long_message_is_cut_between_characters),
        };

        return cmocka_run_group_tests_name("csi/kube_verdict", tests, NULL, NULL);
}
