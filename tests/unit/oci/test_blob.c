/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs are located behind redirects, mirrors and servers without ranges, and every answer is judged for what
 * it is. */
#include "tests/unit/oci/world.h"

#define SIZE 1000u
#define CAP 100u

struct scene {
        struct world w;
        struct server server, other;
        struct oci_reference *reference;
        struct oci_blob *blob;
        char bytes[SIZE];
        struct digest digest;
        uint64_t claimed; /* size in the descriptor */
        unsigned n;
        int status;
        struct oci_keyring *keyring;
        char mirror[64];
        char *mirrors[2];
        unsigned good;    /* answers before the first refusal */
        unsigned refusal; /* the size that it tells; 0: none */
};

typedef void script(struct server *server, const struct server_request *q, struct server_answer *a);

static void scene_open(struct scene *s, script *registry, script *other) {
        char user[] = "bob";

        memset(s, 0, sizeof *s);
        for (size_t i = 0; i < SIZE; i++)
                s->bytes[i] = (char)(i * 7);
        assert_int_equal(digest_of(&s->digest, s->bytes, SIZE), 0);
        s->claimed = SIZE;
        server_start(&s->server, registry, s);
        server_start(&s->other, other ? other : registry, s);
        world_add(&s->w, s->server.host, true);
        snprintf(s->mirror, sizeof s->mirror, "http://%s", s->other.host);
        s->mirrors[0] = s->mirror;
        assert_int_equal(oci_keyring_single(&s->keyring, user, "canary-51aa", NULL), 0);
        s->reference = world_reference(s->server.host, "m:v1");
}

static void scene_begin(struct scene *s) {
        world_begin(&s->w);
        assert_int_equal(
            oci_blob_new(&s->blob, s->w.client, s->reference, s->keyring, &s->digest, s->claimed, &s->w.e),
            0);
}

static void scene_close(struct scene *s) {
        oci_blob_free(s->blob);
        oci_reference_free(s->reference);
        oci_keyring_free(s->keyring);
        world_end(&s->w);
        server_stop(&s->server);
        server_stop(&s->other);
}

static int locate(struct scene *s, char data[static CAP], size_t *ret_len) {
        s->w.e = (struct error){ 0 };
        return oci_blob_locate(s->blob, data, CAP, ret_len, &s->w.e);
}

static void must_locate(struct scene *s) {
        char data[CAP];
        size_t len = 0;

        if (locate(s, data, &len) < 0)
                fail_msg("%s", s->w.e.text);
        assert_int_equal(len, CAP < s->claimed ? CAP : s->claimed);
        assert_memory_equal(data, s->bytes, len);
}

/* One range as the engine does it. */
struct got {
        struct scene *s;
        CURL *easy;
        uint64_t from, to;
        enum oci_verdict headers, end;
        char data[SIZE];
        size_t len;
        int64_t wait_ms;
        struct error e;
};

static size_t on_data(char *p, size_t size, size_t n, void *userdata) {
        struct got *g = userdata;

        if (g->len == 0)
                g->headers = oci_blob_judge_headers(g->s->blob, g->easy, g->from, g->to, &g->e);
        if (g->headers != OCI_VERDICT_OK || size * n > g->to - g->from - g->len)
                return CURL_WRITEFUNC_ERROR;
        memcpy(g->data + g->len, p, size * n);
        g->len += size * n;
        return size * n;
}

static struct got fetch_with(CURL *easy, struct scene *s, uint64_t from, uint64_t to) {
        struct got g = { .s = s, .easy = easy, .from = from, .to = to, .wait_ms = -1 };
        CURLcode code;

        assert_int_equal(oci_blob_prepare(s->blob, easy, from, to, &g.e), 0);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &g);
        code = curl_easy_perform(easy);
        g.end = oci_blob_judge(s->blob, easy, code, from, to, &g.wait_ms, &g.e);
        return g;
}

static struct got fetch(struct scene *s, uint64_t from, uint64_t to) {
        CURL *easy = curl_easy_init();
        struct got g = fetch_with(easy, s, from, to);

        curl_easy_cleanup(easy);
        return g;
}

static void answer_range(struct server_answer *a, const struct scene *s, const struct server_request *q) {
        const char *range = server_header(q, "Range");
        unsigned from, to;

        a->body = s->bytes;
        a->len = SIZE;
        if (!range || sscanf(range, "bytes=%u-%u", &from, &to) != 2 || from >= SIZE)
                return;
        if (to >= SIZE)
                to = SIZE - 1;
        a->status = 206;
        a->body = s->bytes + from;
        a->len = to - from + 1;
        snprintf(a->headers, sizeof a->headers, "Content-Range: bytes %u-%u/%u\r\n", from, to, SIZE);
}

/* ---- scripts ---- */

static void script_ranges(struct server *server, const struct server_request *q, struct server_answer *a) {
        answer_range(a, server->userdata, q);
}

static void script_no_ranges(struct server *server, const struct server_request *q, struct server_answer *a) {
        struct scene *s = server->userdata;

        (void)q;
        a->body = s->bytes;
        a->len = SIZE;
}

static void script_ranges_later_not(struct server *server, const struct server_request *q,
                                    struct server_answer *a) {
        struct scene *s = server->userdata;

        if (s->n++ == 0)
                script_ranges(server, q, a);
        else
                script_no_ranges(server, q, a);
}

static void script_shifted(struct server *server, const struct server_request *q, struct server_answer *a) {
        script_ranges(server, q, a);
        if (((struct scene *)server->userdata)->n++ > 0)
                snprintf(a->headers, sizeof a->headers, "Content-Range: bytes 1-%zu/%u\r\n", a->len, SIZE);
}

static void script_status_later(struct server *server, const struct server_request *q,
                                struct server_answer *a) {
        struct scene *s = server->userdata;

        if (s->n++ == 0)
                script_ranges(server, q, a);
        else
                a->status = s->status;
        if (s->n > 1 && s->status == 429)
                snprintf(a->headers, sizeof a->headers, "Retry-After: 7\r\n");
}

static void script_basic_redirect(struct server *server, const struct server_request *q,
                                  struct server_answer *a) {
        struct scene *s = server->userdata;

        if (!server_header(q, "Authorization")) {
                a->status = 401;
                snprintf(a->headers, sizeof a->headers, "WWW-Authenticate: Basic realm=\"x\"\r\n");
                return;
        }
        a->status = 307;
        snprintf(a->headers, sizeof a->headers, "Location: http://%s/signed?sig=secret%u\r\n", s->other.host,
                 s->n);
}

/* Signed addresses that work once they have the right number. */
static void script_store(struct server *server, const struct server_request *q, struct server_answer *a) {
        struct scene *s = server->userdata;
        char sig[32];

        snprintf(sig, sizeof sig, "sig=secret%u", s->n);
        if (strstr(q->target, sig))
                answer_range(a, s, q);
        else
                a->status = 403;
}

static void script_basic(struct server *server, const struct server_request *q, struct server_answer *a) {
        if (server_header(q, "Authorization")) {
                script_ranges(server, q, a);
                return;
        }
        a->status = 401;
        snprintf(a->headers, sizeof a->headers, "WWW-Authenticate: Basic realm=\"x\"\r\n");
}

static void script_missing(struct server *server, const struct server_request *q, struct server_answer *a) {
        (void)server;
        (void)q;
        a->status = 404;
}

/* ---- tests ---- */

static void test_the_first_bytes_come_with_the_location(void **state) {
        struct scene s;
        struct got g;

        (void)state;
        scene_open(&s, script_ranges, NULL);
        scene_begin(&s);
        must_locate(&s);
        assert_true(oci_blob_has_ranges(s.blob));
        assert_int_equal(oci_blob_file(s.blob), -1);
        assert_string_equal(oci_blob_host(s.blob), s.server.host);
        assert_string_equal(oci_blob_registry(s.blob), s.server.host);
        assert_true(server_saw(&s.server, "Range: bytes=0-99"));
        g = fetch(&s, 100, 1000);
        assert_int_equal(g.headers, OCI_VERDICT_OK);
        assert_int_equal(g.end, OCI_VERDICT_OK);
        assert_int_equal(g.len, 900);
        assert_memory_equal(g.data, s.bytes + 100, 900);
        assert_int_equal(s.server.n_log, 2);
        scene_close(&s);
}

static void test_a_small_blob_takes_one_request(void **state) {
        char data[SIZE + 1];
        struct scene s;
        size_t len = 0;

        (void)state;
        scene_open(&s, script_ranges, NULL);
        scene_begin(&s);
        assert_int_equal(oci_blob_locate(s.blob, data, sizeof data, &len, &s.w.e), 0);
        assert_int_equal(len, SIZE);
        assert_memory_equal(data, s.bytes, SIZE);
        assert_int_equal(s.server.n_log, 1);
        scene_close(&s);
}

static void test_without_a_buffer_one_byte_is_asked_for(void **state) {
        struct scene s;
        size_t len = 1;

        (void)state;
        scene_open(&s, script_ranges, NULL);
        scene_begin(&s);
        assert_int_equal(oci_blob_locate(s.blob, NULL, 0, &len, &s.w.e), 0);
        assert_int_equal(len, 0);
        assert_true(oci_blob_has_ranges(s.blob));
        assert_true(server_saw(&s.server, "Range: bytes=0-0\r\n") ||
                    server_saw(&s.server, "Range: bytes=0-0"));
        scene_close(&s);
}

static void test_a_server_without_ranges_gives_the_whole_blob(void **state) {
        struct scene s;
        struct got g;

        (void)state;
        scene_open(&s, script_no_ranges, NULL);
        scene_begin(&s);
        must_locate(&s);
        assert_false(oci_blob_has_ranges(s.blob));
        g = fetch(&s, 0, SIZE);
        assert_int_equal(g.end, OCI_VERDICT_OK);
        assert_memory_equal(g.data, s.bytes, SIZE);
        assert_null(server_header(&s.server.log[1], "Range"));
        scene_close(&s);
}

static void test_ranges_that_stop_working_degrade_the_blob(void **state) {
        static script *const scripts[] = { script_ranges_later_not, script_shifted };

        (void)state;
        for (size_t i = 0; i < 2; i++) {
                struct scene s;
                struct got g;

                scene_open(&s, scripts[i], NULL);
                scene_begin(&s);
                must_locate(&s);
                assert_true(oci_blob_has_ranges(s.blob));
                g = fetch(&s, 100, 200);
                assert_int_equal(g.headers, OCI_VERDICT_NO_RANGES);
                assert_int_equal(g.end, OCI_VERDICT_NO_RANGES);
                assert_int_equal(g.len, 0);
                assert_false(oci_blob_has_ranges(s.blob));
                scene_close(&s);
        }
}

static void test_a_size_that_differs_from_the_manifests_is_data_loss(void **state) {
        static script *const scripts[] = { script_ranges, script_no_ranges };
        static const uint64_t claims[] = { SIZE - 1, SIZE + 1, CAP / 2 };

        (void)state;
        for (size_t i = 0; i < 2; i++)
                for (size_t k = 0; k < 3; k++) {
                        char data[CAP];
                        struct scene s;
                        size_t len = 0;

                        scene_open(&s, scripts[i], NULL);
                        s.claimed = claims[k];
                        scene_begin(&s);
                        if (locate(&s, data, &len) ==
                            0) { /* a body that was cut has no end to be checked yet */
                                struct got g = fetch(&s, 0, s.claimed);

                                assert_int_equal(g.end, OCI_VERDICT_FATAL);
                                s.w.e = g.e;
                        }
                        assert_int_equal(s.w.e.kind, ERROR_DATA_LOSS);
                        scene_close(&s);
                }
}

static void test_a_redirect_keeps_range_and_drops_credentials(void **state) {
        struct settings_header headers[1];
        char name[] = "X-Configured", value[] = "for-the-registry";
        struct scene s;
        struct got g;

        (void)state;
        scene_open(&s, script_basic_redirect, script_store);
        headers[0] = (struct settings_header){ name, value };
        s.w.registries[0].headers = headers;
        s.w.registries[0].n_headers = 1;
        scene_begin(&s);
        must_locate(&s);
        assert_string_equal(oci_blob_host(s.blob), s.other.host);
        assert_string_equal(oci_blob_registry(s.blob), s.server.host);
        g = fetch(&s, 500, 600);
        assert_int_equal(g.end, OCI_VERDICT_OK);
        assert_memory_equal(g.data, s.bytes + 500, 100);
        assert_int_equal(server_count(&s.server, "GET "),
                         2); /* refused, redirected; ranges go to the store */
        assert_true(server_saw(&s.server, "X-Configured: for-the-registry"));
        assert_true(server_saw(&s.other, "Range: bytes=500-599"));
        assert_false(server_saw(&s.other, "Authorization"));
        assert_false(server_saw(&s.other, "X-Configured"));
        scene_close(&s);
}

static void test_a_signed_address_that_expired_is_located_again(void **state) {
        struct scene s;
        struct got g;

        (void)state;
        scene_open(&s, script_basic_redirect, script_store);
        scene_begin(&s);
        must_locate(&s);
        pthread_mutex_lock(&s.other.lock);
        pthread_mutex_lock(&s.server.lock);
        s.n++;
        pthread_mutex_unlock(&s.server.lock);
        pthread_mutex_unlock(&s.other.lock);
        g = fetch(&s, 0, 10);
        assert_int_equal(g.end, OCI_VERDICT_LOCATE);
        assert_null(strstr(g.e.text, "secret"));
        must_locate(&s);
        g = fetch(&s, 0, 10);
        assert_int_equal(g.end, OCI_VERDICT_OK);
        scene_close(&s);
}

static void test_addresses_that_never_work_are_given_up(void **state) {
        char data[CAP];
        struct scene s;
        size_t len = 0;
        unsigned n = 0;

        (void)state;
        scene_open(&s, script_ranges, NULL);
        scene_begin(&s);
        while (locate(&s, data, &len) == 0)
                assert_true(++n <= 100);
        assert_int_equal(n, 8);
        assert_int_equal(s.w.e.kind, ERROR_UNAVAILABLE);
        scene_close(&s);
}

static void test_each_status_has_its_verdict(void **state) {
        static const struct {
                int status;
                enum oci_verdict verdict;
                enum error_kind kind;
        } cases[] = {
                { 401, OCI_VERDICT_LOCATE, ERROR_UNAUTHENTICATED },
                { 403, OCI_VERDICT_FATAL, ERROR_DENIED },
                { 404, OCI_VERDICT_FATAL, ERROR_NOT_FOUND },
                { 416, OCI_VERDICT_FATAL, ERROR_DATA_LOSS },
                { 429, OCI_VERDICT_RETRY, ERROR_UNAVAILABLE },
                { 500, OCI_VERDICT_RETRY, ERROR_UNAVAILABLE },
                { 503, OCI_VERDICT_RETRY, ERROR_UNAVAILABLE },
                { 302, OCI_VERDICT_LOCATE, ERROR_UNAVAILABLE },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct scene s;
                struct got g;

                scene_open(&s, script_status_later, NULL);
                s.status = cases[i].status;
                scene_begin(&s);
                must_locate(&s);
                g = fetch(&s, 100, 200);
                if (g.end != cases[i].verdict || g.e.kind != cases[i].kind)
                        fail_msg("%d: verdict %d, %s", cases[i].status, (int)g.end, g.e.text);
                assert_true(cases[i].status == 429 ? g.wait_ms == 7000 : g.wait_ms >= 0 && g.wait_ms <= 5000);
                scene_close(&s);
        }
}

static void script_refuse(struct server *server, const struct server_request *q, struct server_answer *a) {
        struct scene *s = server->userdata;

        if (s->n++ < s->good) {
                script_ranges(server, q, a);
                return;
        }
        a->status = 416;
        if (s->refusal)
                snprintf(a->headers, sizeof a->headers, "Content-Range: bytes */%u\r\n", s->refusal);
}

static void test_a_refused_range_is_told_as_what_it_is(void **state) {
        static const struct {
                unsigned refusal;
                enum oci_verdict verdict;
                enum error_kind kind;
                const char *says;
        } cases[] = {
                { 0, OCI_VERDICT_FATAL, ERROR_DATA_LOSS, "it has less than the" },
                { SIZE / 2, OCI_VERDICT_FATAL, ERROR_DATA_LOSS, "and the manifest says" },
                { SIZE, OCI_VERDICT_NO_RANGES, ERROR_UNAVAILABLE, "refuses ranges of sha256:" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                for (unsigned good = 0; good < 2; good++) {
                        char data[CAP];
                        struct scene s;
                        struct got g = { .end = cases[i].verdict };
                        size_t len;

                        scene_open(&s, script_refuse, NULL);
                        s.refusal = cases[i].refusal;
                        s.good = good;
                        scene_begin(&s);
                        if (good) {
                                must_locate(&s);
                                g = fetch(&s, 100, 200);
                        } else {
                                assert_true(locate(&s, data, &len) < 0);
                                g.e = s.w.e;
                        }
                        if (g.end != cases[i].verdict || g.e.kind != cases[i].kind ||
                            !strstr(g.e.text, cases[i].says))
                                fail_msg("%u, %u: verdict %d, %s", cases[i].refusal, good, (int)g.end,
                                         g.e.text);
                        scene_close(&s);
                }
}

static void script_junk_later(struct server *server, const struct server_request *q,
                              struct server_answer *a) {
        struct scene *s = server->userdata;

        if (s->n++ == 0) {
                script_ranges(server, q, a);
                return;
        }
        a->raw = "garbage garbage garbage\r\n";
        a->len = strlen(a->raw);
}

static void test_an_answer_that_is_no_http_is_tried_again(void **state) {
        struct scene s;
        struct got g;

        (void)state;
        scene_open(&s, script_junk_later, NULL);
        scene_begin(&s);
        must_locate(&s);
        g = fetch(&s, 100, 200);
        assert_int_equal(g.end, OCI_VERDICT_RETRY);
        assert_int_equal(g.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(g.e.text, "does not answer in HTTP"));
        scene_close(&s);
}

static void test_a_connection_that_is_refused_is_tried_again_later(void **state) {
        struct scene s;
        struct got g;

        (void)state;
        scene_open(&s, script_ranges, NULL);
        scene_begin(&s);
        must_locate(&s);
        server_stop(&s.server);
        g = fetch(&s, 0, 10);
        assert_int_equal(g.end, OCI_VERDICT_RETRY);
        assert_int_equal(g.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(g.e.text, s.server.host));
        server_start(&s.server, script_ranges, &s); /* for scene_close() */
        scene_close(&s);
}

static void test_a_handle_used_before_leaves_nothing_behind(void **state) {
        CURL *easy = curl_easy_init();
        struct scene with, without;
        struct got g;

        (void)state;
        scene_open(&with, script_basic, NULL);
        scene_begin(&with);
        must_locate(&with);
        scene_open(&without, script_no_ranges, NULL);
        scene_begin(&without);
        must_locate(&without);
        g = fetch_with(easy, &with, 10, 20);
        assert_int_equal(g.end, OCI_VERDICT_OK);
        g = fetch_with(easy, &without, 0, SIZE);
        assert_int_equal(g.end, OCI_VERDICT_OK);
        assert_false(server_saw(&without.server, "Authorization"));
        assert_null(server_header(&without.server.log[without.server.n_log - 1], "Range"));
        curl_easy_cleanup(easy);
        scene_close(&with);
        scene_close(&without);
}

static void test_a_transfer_survives_the_next_locate(void **state) {
        CURL *easy = curl_easy_init();
        struct got g = { .wait_ms = -1 };
        struct scene s;

        (void)state;
        scene_open(&s, script_basic, NULL);
        scene_begin(&s);
        must_locate(&s);
        g.s = &s;
        g.easy = easy;
        g.to = 50;
        assert_int_equal(oci_blob_prepare(s.blob, easy, 0, 50, &g.e), 0);
        must_locate(&s); /* the prepared transfer still uses the older headers */
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &g);
        assert_int_equal(curl_easy_perform(easy), CURLE_OK);
        assert_int_equal(g.len, 50);
        curl_easy_cleanup(easy);
        scene_close(&s);
}

static void test_a_mirror_without_the_blob_is_passed_over(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_ranges, script_missing);
        s.w.registries[0].mirrors = s.mirrors;
        scene_begin(&s);
        must_locate(&s);
        assert_string_equal(oci_blob_host(s.blob), s.server.host);
        assert_int_equal(s.other.n_log, 1);
        scene_close(&s);
}

static void test_a_mirror_that_fails_in_the_middle_is_left_for_the_host(void **state) {
        struct scene s;
        struct got g;

        (void)state;
        scene_open(&s, script_ranges, script_status_later);
        s.status = 404;
        s.w.registries[0].mirrors = s.mirrors;
        scene_begin(&s);
        must_locate(&s);
        assert_string_equal(oci_blob_host(s.blob), s.other.host);
        g = fetch(&s, 100, 200);
        assert_int_equal(g.end, OCI_VERDICT_LOCATE);
        must_locate(&s);
        assert_string_equal(oci_blob_host(s.blob), s.server.host);
        assert_int_equal(fetch(&s, 100, 200).end, OCI_VERDICT_OK);
        scene_close(&s);
}

static void test_a_mirror_with_wrong_bytes_is_not_trusted_again(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_ranges, NULL);
        s.w.registries[0].mirrors = s.mirrors;
        scene_begin(&s);
        must_locate(&s);
        assert_string_equal(oci_blob_host(s.blob), s.other.host);
        assert_true(oci_blob_distrust(s.blob));
        must_locate(&s);
        assert_string_equal(oci_blob_host(s.blob), s.server.host);
        assert_false(oci_blob_distrust(s.blob));
        scene_close(&s);
}

static void test_a_missing_blob_is_not_found_by_name(void **state) {
        char data[CAP];
        struct scene s;
        size_t len;

        (void)state;
        scene_open(&s, script_missing, NULL);
        scene_begin(&s);
        assert_true(locate(&s, data, &len) < 0);
        assert_int_equal(s.w.e.kind, ERROR_NOT_FOUND);
        assert_non_null(strstr(s.w.e.text, "sha256:"));
        assert_non_null(strstr(s.w.e.text, s.server.host));
        scene_close(&s);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_first_bytes_come_with_the_location),
                cmocka_unit_test(test_a_small_blob_takes_one_request),
                cmocka_unit_test(test_without_a_buffer_one_byte_is_asked_for),
                cmocka_unit_test(test_a_server_without_ranges_gives_the_whole_blob),
                cmocka_unit_test(test_ranges_that_stop_working_degrade_the_blob),
                cmocka_unit_test(test_a_size_that_differs_from_the_manifests_is_data_loss),
                cmocka_unit_test(test_a_redirect_keeps_range_and_drops_credentials),
                cmocka_unit_test(test_a_signed_address_that_expired_is_located_again),
                cmocka_unit_test(test_addresses_that_never_work_are_given_up),
                cmocka_unit_test(test_each_status_has_its_verdict),
                cmocka_unit_test(test_a_refused_range_is_told_as_what_it_is),
                cmocka_unit_test(test_an_answer_that_is_no_http_is_tried_again),
                cmocka_unit_test(test_a_connection_that_is_refused_is_tried_again_later),
                cmocka_unit_test(test_a_handle_used_before_leaves_nothing_behind),
                cmocka_unit_test(test_a_transfer_survives_the_next_locate),
                cmocka_unit_test(test_a_mirror_without_the_blob_is_passed_over),
                cmocka_unit_test(test_a_mirror_that_fails_in_the_middle_is_left_for_the_host),
                cmocka_unit_test(test_a_mirror_with_wrong_bytes_is_not_trusted_again),
                cmocka_unit_test(test_a_missing_blob_is_not_found_by_name),
        };

        return cmocka_run_group_tests_name("blob", tests, NULL, NULL);
}
