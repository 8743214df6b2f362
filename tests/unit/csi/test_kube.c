/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client against a server that says what the test wants. Deadlines are long where an answer is expected (a
 * slow machine does not fail), and short where the test waits for them.
 */
#include "tests/unit/csi/kube_world.h"

#include <sys/mman.h>

#include "base/log.h"
#include "csi/kube_account.h"
#include "tests/unit/oci/tls_server.h"

#define LONG_MS 60000
#define SHORT_MS 400
#define CLAIM "/api/v1/namespaces/ml/persistentvolumeclaims/llama"
#define OBJECT "{\"kind\":\"PersistentVolumeClaim\",\"metadata\":{\"name\":\"llama\"}}"
#define STATUS(message) "{\"kind\":\"Status\",\"message\":\"" message "\"}"

static void script_object(struct server *s, const struct server_request *q, struct server_answer *a) {
        (void)s;
        (void)q;
        server_answer_text(a, 200, OBJECT);
}

/* What the test has put into the world's `answer`. */
static void script_given(struct server *s, const struct server_request *q, struct server_answer *a) {
        struct kube_world *w = s->userdata;

        (void)q;
        server_answer_text(a, 200, w->answer);
}

static int get(struct kube_world *w, int64_t timeout_ms) {
        _cleanup_json_ json_t *object = NULL;
        int r;

        w->e = (struct error){ 0 };
        r = csi_kube_get(w->kube, CLAIM, timeout_ms, &object, &w->e);
        assert_true((r < 0) == (object == NULL));
        if (object)
                assert_string_equal(json_string_value(json_object_get(object, "kind")),
                                    "PersistentVolumeClaim");
        return r;
}

static void test_an_object_is_asked_for_with_the_token_and_past_proxies(void **state) {
        struct kube_world w;

        (void)state;
        assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
        kube_world_begin(&w, script_object);
        assert_int_equal(get(&w, LONG_MS), 0);
        assert_int_equal(unsetenv("http_proxy"), 0);
        assert_int_equal(server_count(&w.server, "GET " CLAIM), 1);
        assert_string_equal(server_header(&w.server.log[0], "Authorization"), "Bearer token-one");
        assert_string_equal(server_header(&w.server.log[0], "Accept"), "application/json");
        kube_world_end(&w);
}

static void test_bodies_arrive_as_what_they_are(void **state) {
        _cleanup_json_ json_t *patch = json_pack("[{s:s,s:s}]", "op", "remove", "path", "/spec/taints");
        _cleanup_json_ json_t *event = json_pack("{s:s}", "kind", "Event");
        _cleanup_json_ json_t *object = NULL;
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_object);
        assert_int_equal(csi_kube_post(w.kube, "/api/v1/namespaces/ml/events", event, LONG_MS, NULL, &w.e),
                         0);
        assert_int_equal(
            csi_kube_patch(w.kube, "/api/v1/nodes/n", CSI_KUBE_JSON_PATCH, patch, LONG_MS, &object, &w.e), 0);
        assert_int_equal(
            csi_kube_patch(w.kube, "/api/v1/nodes/n", CSI_KUBE_MERGE_PATCH, event, LONG_MS, NULL, &w.e), 0);
        assert_int_equal(csi_kube_get(w.kube, CLAIM, LONG_MS, NULL, &w.e), 0); /* nothing is left of a body */
        assert_string_equal(w.server.log[0].method, "POST");
        assert_string_equal(w.server.log[0].body, "{\"kind\":\"Event\"}");
        assert_string_equal(server_header(&w.server.log[0], "Content-Type"), "application/json");
        assert_string_equal(w.server.log[1].method, "PATCH");
        assert_string_equal(w.server.log[1].body, "[{\"op\":\"remove\",\"path\":\"/spec/taints\"}]");
        assert_string_equal(server_header(&w.server.log[1], "Content-Type"), "application/json-patch+json");
        assert_string_equal(server_header(&w.server.log[2], "Content-Type"), "application/merge-patch+json");
        assert_string_equal(w.server.log[3].method, "GET");
        assert_string_equal(w.server.log[3].body, "");
        assert_non_null(object);
        kube_world_end(&w);
}

/* Kubelet rotates the token between the two. */
static void script_rotation(struct server *s, const struct server_request *q, struct server_answer *a) {
        const char *authorization = server_header(q, "Authorization");

        if (authorization && strcmp(authorization, "Bearer token-two") == 0) {
                server_answer_text(a, 200, OBJECT);
                return;
        }
        kube_world_write(s->userdata, "token", "token-two");
        server_answer_text(a, 401, STATUS("Unauthorized"));
}

static void test_a_token_that_was_rotated_is_read_again_after_401(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_rotation);
        assert_int_equal(get(&w, LONG_MS), 0);
        assert_int_equal(server_count(&w.server, "GET "), 2);
        assert_int_equal(get(&w, LONG_MS), 0);
        assert_int_equal(server_count(&w.server, "GET "), 3); /* the fresh one is kept */
        kube_world_end(&w);
}

static void script_unauthorized(struct server *s, const struct server_request *q, struct server_answer *a) {
        (void)s;
        (void)q;
        server_answer_text(a, 401, STATUS("Unauthorized"));
}

static void test_nobody_loops_on_401(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_unauthorized);
        assert_true(get(&w, LONG_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAUTHENTICATED);
        assert_int_equal(server_count(&w.server, "GET "), 2);
        kube_world_end(&w);
}

static void test_the_token_is_read_once_a_minute_and_when_it_is_refused(void **state) {
        _cleanup_(csi_kube_account_freep) struct csi_kube_account *a = NULL;
        const int64_t start = 7000;
        const struct {
                int64_t at_ms;
                bool refused;
                const char *file, *expected; /* file NULL: as it was */
        } steps[] = {
                { start, false, NULL, "token-one" },    { start + 59999, false, "two\n", "token-one" },
                { start + 60000, false, NULL, "two" },  { start + 60001, false, "three\r\n", "two" },
                { start + 60001, true, NULL, "three" }, { start + 60002, true, "broken token", "three" },
                { start + 60003, true, "", "three" },   { start + 60004, true, "four", "four" },
        };
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_object);
        assert_int_equal(csi_kube_account_new(&a, w.dir, false, NULL), 0);
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                struct csi_kube_credentials c = { 0 };

                if (steps[i].file)
                        kube_world_write(&w, "token", steps[i].file);
                assert_int_equal(csi_kube_account_get(&c, a, steps[i].refused, steps[i].at_ms, &w.e), 0);
                assert_string_equal(c.token, steps[i].expected);
                assert_null(c.ca_pem);
                csi_kube_credentials_done(&c);
        }
        kube_world_end(&w);
}

static void test_a_token_that_is_none_is_not_sent(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_object);
        kube_world_write(&w, "token", "canary\nX-Other: header");
        assert_true(get(&w, LONG_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        assert_null(strstr(w.e.text, "canary"));
        assert_int_equal(server_count(&w.server, ""), 0);
        kube_world_end(&w);
}

/* A file that was cut short by a crash is full of them. */
static void test_a_token_with_a_nul_is_none(void **state) {
        static const char text[] = "canary\0-token\n";
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_object);
        int dir = open(w.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(path_write_file(dir, "token", text, sizeof text - 1, 0600, NULL), 0);
        close(dir);
        assert_true(get(&w, LONG_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(w.e.text, "has a character that no token may have"));
        assert_null(strstr(w.e.text, "canary"));
        assert_int_equal(server_count(&w.server, ""), 0);
        kube_world_end(&w);
}

static void script_by_path(struct server *s, const struct server_request *q, struct server_answer *a) {
        const char *last = strrchr(q->target, '/') + 1;

        (void)s;
        server_answer_text(a, atoi(last), STATUS("words of the server"));
}

static void test_refusals_have_their_kinds_and_are_not_asked_again(void **state) {
        static const struct {
                const char *path;
                enum error_kind kind;
        } cases[] = {
                { "/api/v1/400", ERROR_INVALID },   { "/api/v1/403", ERROR_DENIED },
                { "/api/v1/404", ERROR_NOT_FOUND }, { "/api/v1/409", ERROR_EXISTS },
                { "/api/v1/422", ERROR_INVALID },   { "/api/v1/415", ERROR_UNAVAILABLE },
        };
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_by_path);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char line[64];

                assert_true(csi_kube_get(w.kube, cases[i].path, LONG_MS, NULL, &w.e) < 0);
                assert_int_equal(w.e.kind, cases[i].kind);
                assert_non_null(strstr(w.e.text, "words of the server"));
                snprintf(line, sizeof line, "GET %s", cases[i].path);
                assert_int_equal(server_count(&w.server, line), 1);
        }
        kube_world_end(&w);
}

/* Everything that may go away, one after the other, and then the answer. */
static void script_flaky(struct server *s, const struct server_request *q, struct server_answer *a) {
        struct kube_world *w = s->userdata;

        (void)q;
        switch (w->asked++) {
        case 0:
                server_answer_text(a, 429, STATUS("too many"));
                snprintf(a->headers, sizeof a->headers, "Retry-After: 0\r\n");
                break;
        case 1:
                server_answer_text(a, 503, "no JSON");
                break;
        case 2:
                a->reset = true;
                break;
        case 3:
                server_answer_text(a, 200, OBJECT);
                a->send_len = 5;
                break;
        case 4:
                server_answer_text(a, 500, STATUS("etcdserver: leader changed"));
                break;
        default:
                server_answer_text(a, 200, OBJECT);
        }
}

static void test_what_goes_away_is_waited_for(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_flaky);
        assert_int_equal(get(&w, LONG_MS), 0);
        assert_int_equal(server_count(&w.server, "GET "), 6);
        kube_world_end(&w);
}

static void script_later(struct server *s, const struct server_request *q, struct server_answer *a) {
        (void)s;
        (void)q;
        server_answer_text(a, 429, STATUS("come back tomorrow"));
        snprintf(a->headers, sizeof a->headers, "Retry-After: 86400\r\n");
}

/* Retry-After is believed up to 30 s; that is behind the deadline. */
static void test_a_deadline_that_retry_after_passes_is_not_slept_for(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_later);
        assert_true(get(&w, 25000) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(w.e.text, "come back tomorrow"));
        assert_int_equal(server_count(&w.server, "GET "), 1);
        kube_world_end(&w);
}

static void script_broken(struct server *s, const struct server_request *q, struct server_answer *a) {
        (void)s;
        (void)q;
        server_answer_text(a, 500, STATUS("etcdserver: request timed out"));
}

static void test_a_server_that_stays_broken_is_unavailable_in_its_own_words(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_broken);
        assert_true(get(&w, SHORT_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(w.e.text, "etcdserver: request timed out"));
        kube_world_end(&w);
}

static void script_silent(struct server *s, const struct server_request *q, struct server_answer *a) {
        (void)s;
        (void)q;
        a->silent = true;
}

static void test_a_silent_server_ends_with_the_deadline(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_silent);
        assert_true(get(&w, SHORT_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_TIMEOUT);
        assert_int_equal(server_count(&w.server, "GET "), 1);
        kube_world_end(&w);
}

static void test_nobody_there_is_unavailable(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_object);
        kube_world_connect(&w, "http://127.0.0.1:1");
        assert_true(get(&w, SHORT_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(w.e.text, "127.0.0.1:1 cannot be reached"));
        kube_world_end(&w);
}

static void script_endless(struct server *s, const struct server_request *q, struct server_answer *a) {
        struct kube_world *w = s->userdata;

        (void)q;
        a->status = w->asked++ == 0 ? 200 : 403;
        a->body = w->answer;
        a->len = (4u << 20) + 1;
}

static void test_an_answer_has_a_cap(void **state) {
        char *long_answer = malloc((4u << 20) + 1);
        struct kube_world w;

        (void)state;
        assert_non_null(long_answer);
        memset(long_answer, ' ', (4u << 20) + 1);
        kube_world_begin(&w, script_endless);
        w.answer = long_answer;
        for (unsigned i = 1; i <= 2; i++) {
                assert_true(get(&w, LONG_MS) < 0);
                assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
                assert_int_equal(server_count(&w.server, "GET "), i);
        }
        kube_world_end(&w);
        free(long_answer);
}

static void test_an_answer_that_is_no_object_is_not_the_api_servers(void **state) {
        static const char *const answers[] = {
                "",
                "<html>sign in</html>",
                "[]",
                "null",
                "{\"kind\":",
                OBJECT "x",
                "{\"a\":1,\"a\":2}",
                "{\"a\\u0000\":1}",
                "{\"a\":\"\xff\"}",
        };
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_given);
        for (unsigned i = 0; i < sizeof answers / sizeof *answers; i++) {
                w.answer = answers[i];
                assert_true(get(&w, LONG_MS) < 0);
                assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
                assert_non_null(strstr(w.e.text, "is not the API server"));
                assert_int_equal(server_count(&w.server, "GET "), i + 1);
        }
        assert_int_equal(csi_kube_get(w.kube, CLAIM, LONG_MS, NULL, &w.e), 0); /* nobody looks at it */
        kube_world_end(&w);
}

static void script_no_http(struct server *s, const struct server_request *q, struct server_answer *a) {
        struct kube_world *w = s->userdata;

        (void)q;
        w->asked++;
        a->raw = "SSH-2.0-OpenSSH_9.2\r\n";
        a->len = strlen(a->raw);
}

static void test_what_does_not_speak_http_is_not_the_api_server(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_no_http);
        assert_true(get(&w, SHORT_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(w.e.text, "is not the API server"));
        kube_world_end(&w);
}

static void script_redirect(struct server *s, const struct server_request *q, struct server_answer *a) {
        (void)q;
        server_answer_text(a, 302, "");
        snprintf(a->headers, sizeof a->headers, "Location: http://%s/api/elsewhere\r\n", s->host);
}

static void test_a_redirect_is_not_followed(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_redirect);
        assert_true(get(&w, LONG_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        assert_int_equal(server_count(&w.server, "GET "), 1);
        kube_world_end(&w);
}

/* The daemon stops while an answer is waited for. */
static void script_cancel(struct server *s, const struct server_request *q, struct server_answer *a) {
        struct kube_world *w = s->userdata;

        (void)q;
        csi_kube_cancel(w->kube);
        a->silent = true;
}

static void test_who_stops_does_not_wait_for_the_api_server(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_cancel);
        assert_true(get(&w, 10 * LONG_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_CANCELLED);
        assert_true(get(&w, 10 * LONG_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_CANCELLED);
        csi_kube_cancel(NULL);
        kube_world_end(&w);
}

static void test_where_there_is_no_cluster_there_is_no_client(void **state) {
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_object);
        assert_int_equal(unsetenv("KUBERNETES_SERVICE_HOST"), 0);
        kube_world_connect(&w, "");
        assert_null(w.kube);
        assert_int_equal(setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1", 1), 0);
        assert_int_equal(setenv("KUBERNETES_SERVICE_PORT", "443", 1), 0);
        kube_world_connect(&w, "");
        assert_non_null(w.kube);
        assert_int_equal(settings_set(w.settings, "kubernetes.serviceAccount", "", NULL), 0);
        csi_kube_free(take_ptr(w.kube));
        assert_int_equal(csi_kube_new(&w.kube, w.settings, &w.e), 0);
        assert_null(w.kube);
        assert_int_equal(settings_set(w.settings, "kubernetes.serviceAccount", "/nowhere", NULL), 0);
        assert_int_equal(csi_kube_new(&w.kube, w.settings, &w.e), 0);
        assert_null(w.kube);
        assert_int_equal(unsetenv("KUBERNETES_SERVICE_HOST"), 0);
        kube_world_end(&w);
}

/* Everything that can be said is said into the log, and the token is not in it. */
static void test_the_token_is_in_no_line_of_the_log(void **state) {
        int log = memfd_create("log", MFD_CLOEXEC), stderr_before = dup(STDERR_FILENO);
        char said[16384] = "";
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_flaky);
        kube_world_write(&w, "token", "canary-token");
        assert_int_equal(log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT, "all"), 0);
        assert_true(dup2(log, STDERR_FILENO) >= 0);
        int r = get(&w, LONG_MS);
        log_info("%s", "the header was: Bearer canary-token");
        assert_true(dup2(stderr_before, STDERR_FILENO) >= 0);
        assert_int_equal(log_setup(LOG_LEVEL_INFO, LOG_FORMAT_AUTO, NULL), 0);
        assert_int_equal(r, 0);
        assert_true(pread(log, said, sizeof said - 1, 0) > 0);
        assert_non_null(strstr(said, CLAIM)); /* it was the log */
        assert_null(strstr(said, "canary"));
        close(log);
        close(stderr_before);
        kube_world_end(&w);
}

/* ---- TLS ---- */

static char *read_all(const char *path) {
        char *text = NULL;

        assert_int_equal(path_read_absolute(&text, NULL, path, 1 << 20, NULL), 0);
        return text;
}

/* openssl serves its folder's files, headers and all. */
static void serve_claim(const struct tls_server *t) {
        static const char answer[] = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" OBJECT;
        const char *name = &CLAIM[1]; /* without the slash */
        int dir = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), parent;

        assert_true(dir >= 0);
        parent = path_make_dirs(dir, name, 0700, true, NULL);
        assert_true(parent >= 0);
        assert_int_equal(path_write_file(parent, path_base(name), answer, strlen(answer), 0600, NULL), 0);
        close(parent);
        close(dir);
}

static void test_tls_is_verified_with_ca_crt_which_may_be_rotated(void **state) {
        struct tls_server right = { 0 }, wrong = { 0 };
        _cleanup_free_ char *right_ca = NULL, *wrong_ca = NULL;
        struct kube_world w;
        char url[128];

        (void)state;
        tls_server_start(&right, "127.0.0.1:0", "-HTTP");
        tls_server_start(&wrong, "127.0.0.1:0", "-HTTP");
        serve_claim(&right);
        right_ca = read_all(right.certificate);
        wrong_ca = read_all(wrong.certificate);
        kube_world_begin(&w, script_object);
        kube_world_write(&w, "ca.crt", wrong_ca);
        snprintf(url, sizeof url, "https://%s", right.host);
        kube_world_connect(&w, url);
        assert_true(get(&w, LONG_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(w.e.text, "ca.crt"));
        kube_world_write(&w, "ca.crt", "no certificate\n");
        assert_true(get(&w, LONG_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        kube_world_write(&w, "ca.crt", right_ca); /* the next refusal makes us look */
        assert_int_equal(get(&w, LONG_MS), 0);
        kube_world_end(&w);
        tls_server_stop(&right);
        tls_server_stop(&wrong);
}

static void test_without_a_ca_nothing_is_sent(void **state) {
        struct kube_world w;
        char url[64];

        (void)state;
        kube_world_begin(&w, script_object);
        snprintf(url, sizeof url, "https://%s", w.server.host);
        kube_world_connect(&w, url);
        assert_true(get(&w, LONG_MS) < 0);
        assert_int_equal(w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(w.e.text, "ca.crt"));
        kube_world_end(&w);
}

static void test_the_environments_address_may_be_ipv6(void **state) {
        int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in6 loopback = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        bool has_ipv6 = probe >= 0 && bind(probe, (struct sockaddr *)&loopback, sizeof loopback) == 0;
        _cleanup_free_ char *ca = NULL;
        struct tls_server t = { 0 };
        struct kube_world w;

        (void)state;
        close(probe);
        if (!has_ipv6) {
                print_message("skipped: this machine has no IPv6\n");
                skip();
        }
        tls_server_start(&t, "[::1]:0", "-HTTP");
        serve_claim(&t);
        ca = read_all(t.certificate);
        kube_world_begin(&w, script_object);
        kube_world_write(&w, "ca.crt", ca);
        assert_int_equal(setenv("KUBERNETES_SERVICE_HOST", "::1", 1), 0);
        assert_int_equal(setenv("KUBERNETES_SERVICE_PORT", strrchr(t.host, ':') + 1, 1), 0);
        kube_world_connect(&w, "");
        assert_int_equal(unsetenv("KUBERNETES_SERVICE_HOST"), 0);
        if (get(&w, LONG_MS) < 0)
                fail_msg("%s", w.e.text);
        kube_world_end(&w);
        tls_server_stop(&t);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_an_object_is_asked_for_with_the_token_and_past_proxies),
                cmocka_unit_test(test_bodies_arrive_as_what_they_are),
                cmocka_unit_test(test_a_token_that_was_rotated_is_read_again_after_401),
                cmocka_unit_test(test_nobody_loops_on_401),
                cmocka_unit_test(test_the_token_is_read_once_a_minute_and_when_it_is_refused),
                cmocka_unit_test(test_a_token_that_is_none_is_not_sent),
                cmocka_unit_test(test_a_token_with_a_nul_is_none),
                cmocka_unit_test(test_refusals_have_their_kinds_and_are_not_asked_again),
                cmocka_unit_test(test_what_goes_away_is_waited_for),
                cmocka_unit_test(test_a_deadline_that_retry_after_passes_is_not_slept_for),
                cmocka_unit_test(test_a_server_that_stays_broken_is_unavailable_in_its_own_words),
                cmocka_unit_test(test_a_silent_server_ends_with_the_deadline),
                cmocka_unit_test(test_nobody_there_is_unavailable),
                cmocka_unit_test(test_an_answer_has_a_cap),
                cmocka_unit_test(test_an_answer_that_is_no_object_is_not_the_api_servers),
                cmocka_unit_test(test_what_does_not_speak_http_is_not_the_api_server),
                cmocka_unit_test(test_a_redirect_is_not_followed),
                cmocka_unit_test(test_who_stops_does_not_wait_for_the_api_server),
                cmocka_unit_test(test_where_there_is_no_cluster_there_is_no_client),
                cmocka_unit_test(test_the_token_is_in_no_line_of_the_log),
                cmocka_unit_test(test_tls_is_verified_with_ca_crt_which_may_be_rotated),
                cmocka_unit_test(test_without_a_ca_nothing_is_sent),
                cmocka_unit_test(test_the_environments_address_may_be_ipv6),
        };

        return cmocka_run_group_tests_name("csi/kube", tests, NULL, NULL);
}
