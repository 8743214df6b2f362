/* SPDX-License-Identifier: Apache-2.0 */
/* The token cache under many threads, and what makes two requests share a token. */
#include "tests/unit/oci/world.h"

#include "oci/token.h"

#define THREADS 8

struct scene {
        struct server server;
        struct oci_http *http;
        struct oci_tokens *tokens;
        char realm[64], origin[64];
        pthread_cond_t started; /* with the server's lock */
        unsigned n_started, n_answered, wait_for;
        int status;
        const char *answer; /* NULL: a token with a number */
        char text[64];
};

static void script(struct server *server, const struct server_request *q, struct server_answer *a) {
        struct scene *s = server->userdata;

        (void)q;
        while (s->n_started < s->wait_for)
                pthread_cond_wait(&s->started, &server->lock);
        snprintf(s->text, sizeof s->text, "{\"token\":\"t%u\",\"expires_in\":300}", ++s->n_answered);
        server_answer_text(a, s->status, s->answer ? s->answer : s->text);
}

static void scene_open(struct scene *s) {
        memset(s, 0, sizeof *s);
        s->status = 200;
        pthread_cond_init(&s->started, NULL);
        server_start(&s->server, script, s);
        assert_int_equal(oci_http_new(&s->http, NULL), 0);
        assert_int_equal(oci_tokens_new(&s->tokens, NULL), 0);
        snprintf(s->realm, sizeof s->realm, "http://%s/token", s->server.host);
        snprintf(s->origin, sizeof s->origin, "http://%s", s->server.host);
}

static void scene_close(struct scene *s) {
        oci_tokens_free(s->tokens);
        oci_http_free(s->http);
        server_stop(&s->server);
        pthread_cond_destroy(&s->started);
}

struct asker {
        pthread_t thread;
        struct scene *s;
        const char *scope, *refused;
        const struct oci_credential *credential;
        char *token;
        bool fresh;
        int r;
        struct error e;
};

static void ask(struct asker *a) {
        char service[] = "reg", scope[128];
        struct oci_challenge challenge = {
                .bearer = true, .realm = a->s->realm, .service = service, .scope = scope
        };
        struct oci_token_request q = { .exchange = { .http = a->s->http, .registry = a->s->server.host },
                                       .registry_origin = a->s->origin,
                                       .repository = "m",
                                       .challenge = &challenge,
                                       .credential = a->credential,
                                       .refused = a->refused };

        snprintf(scope, sizeof scope, "%s", a->scope);
        a->token = NULL;
        a->e = (struct error){ 0 };
        a->r = oci_token_get(&a->token, &a->fresh, a->s->tokens, &q, &a->e);
}

static void *asker_main(void *userdata) {
        struct asker *a = userdata;

        pthread_mutex_lock(&a->s->server.lock);
        a->s->n_started++;
        pthread_cond_broadcast(&a->s->started);
        pthread_mutex_unlock(&a->s->server.lock);
        ask(a);
        return NULL;
}

static void ask_from_many_threads(struct scene *s, struct asker askers[static THREADS]) {
        s->wait_for = THREADS; /* the first answer waits until all are on their way */
        for (size_t i = 0; i < THREADS; i++) {
                askers[i] = (struct asker){ .s = s, .scope = "repository:m:pull" };
                assert_int_equal(pthread_create(&askers[i].thread, NULL, asker_main, &askers[i]), 0);
        }
        for (size_t i = 0; i < THREADS; i++)
                pthread_join(askers[i].thread, NULL);
}

static void test_many_threads_share_one_request(void **state) {
        struct asker askers[THREADS];
        unsigned fresh = 0;
        struct scene s;

        (void)state;
        scene_open(&s);
        ask_from_many_threads(&s, askers);
        for (size_t i = 0; i < THREADS; i++) {
                assert_int_equal(askers[i].r, 0);
                assert_string_equal(askers[i].token, "t1");
                fresh += askers[i].fresh;
                free(askers[i].token);
        }
        assert_int_equal(fresh, 1);
        assert_int_equal(s.n_answered, 1);
        scene_close(&s);
}

static void test_a_refusal_reaches_everybody_who_waited(void **state) {
        struct asker askers[THREADS];
        struct scene s;

        (void)state;
        scene_open(&s);
        s.status = 401;
        ask_from_many_threads(&s, askers);
        for (size_t i = 0; i < THREADS; i++) {
                assert_true(askers[i].r < 0);
                assert_null(askers[i].token);
                assert_int_equal(askers[i].e.kind, ERROR_UNAUTHENTICATED);
        }
        scene_close(&s);
}

static void must_get(struct asker *a, const char *token) {
        ask(a);
        if (a->r < 0)
                fail_msg("%s", a->e.text);
        assert_string_equal(a->token, token);
        free(a->token);
}

static void test_tokens_are_kept_apart_by_scope_and_by_who_asked(void **state) {
        char user[] = "bob", password[] = "canary-99b2", other[] = "eve";
        struct oci_credential bob = { .username = user, .password = password };
        struct oci_credential eve = { .username = other, .password = password };
        struct scene s;

        (void)state;
        scene_open(&s);
        struct asker a = { .s = &s, .scope = "repository:m:pull" };

        must_get(&a, "t1");
        must_get(&a, "t1");
        a.scope = "repository:n:pull";
        must_get(&a, "t2");
        a.credential = &bob;
        must_get(&a, "t3");
        a.credential = &eve;
        must_get(&a, "t4");
        a.credential = &bob;
        must_get(&a, "t3");
        scene_close(&s);
}

static void test_a_refused_token_is_replaced_and_only_that(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s);
        struct asker a = { .s = &s, .scope = "repository:m:pull" };

        must_get(&a, "t1");
        a.refused = "t1";
        must_get(&a, "t2");
        must_get(&a, "t2"); /* somebody else has replaced it already */
        scene_close(&s);
}

static void test_answers_that_are_no_tokens_are_unavailable(void **state) {
        static const char *const answers[] = { "",
                                               "{}",
                                               "[]",
                                               "{\"token\":\"\"}",
                                               "{\"token\":7}",
                                               "<h",
                                               "{\"token\": canary-51aa",
                                               "{\"token\":\"x\",\"expires_in\":-1}" };

        (void)state;
        for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
                struct scene s;

                scene_open(&s);
                s.answer = answers[i];
                struct asker a = { .s = &s, .scope = "repository:m:pull" };

                ask(&a);
                assert_true(a.r < 0);
                assert_null(a.token);
                assert_int_equal(a.e.kind, ERROR_UNAVAILABLE);
                assert_null(strstr(a.e.text, "the the"));
                assert_null(strstr(a.e.text, "canary")); /* no words of an answer that may hold a token */
                scene_close(&s);
        }
}

static void test_a_table_that_is_full_forgets_its_oldest(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s);
        struct asker a = { .s = &s };
        char scope[64], token[16];

        for (unsigned i = 1; i <= 513; i++) {
                snprintf(scope, sizeof scope, "repository:m%u:pull", i);
                snprintf(token, sizeof token, "t%u", i);
                a.scope = scope;
                must_get(&a, token);
        }
        must_get(&a, "t513");
        a.scope = "repository:m1:pull";
        must_get(&a, "t514");
        scene_close(&s);
}

static void test_challenges_are_remembered_by_origin_and_repository(void **state) {
        char realm[] = "https://auth/token";
        struct oci_challenge c = { .bearer = true, .realm = realm }, got = { 0 };
        struct oci_tokens *t = NULL;

        (void)state;
        assert_int_equal(oci_tokens_new(&t, NULL), 0);
        oci_tokens_remember(t, "https://r:443", "m", &c);
        assert_false(oci_tokens_recall(&got, t, "https://r:443", "n"));
        assert_false(oci_tokens_recall(&got, t, "https://s:443", "m"));
        assert_true(oci_tokens_recall(&got, t, "https://r:443", "m"));
        assert_string_equal(got.realm, realm);
        assert_true(got.bearer);
        oci_challenge_done(&got);
        oci_tokens_free(t);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_many_threads_share_one_request),
                cmocka_unit_test(test_a_refusal_reaches_everybody_who_waited),
                cmocka_unit_test(test_tokens_are_kept_apart_by_scope_and_by_who_asked),
                cmocka_unit_test(test_a_refused_token_is_replaced_and_only_that),
                cmocka_unit_test(test_answers_that_are_no_tokens_are_unavailable),
                cmocka_unit_test(test_a_table_that_is_full_forgets_its_oldest),
                cmocka_unit_test(test_challenges_are_remembered_by_origin_and_repository),
        };

        return cmocka_run_group_tests_name("token", tests, NULL, NULL);
}
