/* SPDX-License-Identifier: Apache-2.0 */
/* What a client does with registries that answer in every way that registries answer. */
#include "tests/unit/oci/world.h"

#include "base/log.h"
#include "base/metrics.h"

#include <sys/mman.h>

#define ACCEPTS "application/vnd.oci.image.index.v1+json"
#define MANIFEST \
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{" \
        "\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":" \
        "\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":2}," \
        "\"layers\":[{" \
        "\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":" \
        "\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"size\":1024}]}"
#define USER "bob"
#define PASSWORD "canary-7d1f"
#define BASIC "Basic Ym9iOmNhbmFyeS03ZDFm" /* of the two */

/* What a script is told and what it remembers. */
struct scene {
        struct world w;
        struct server server, other;
        struct digest digest;        /* of MANIFEST */
        char text[DIGEST_TEXT_SIZE]; /* of the same */
        unsigned n;                  /* requests so far, for scripts that change their mind */
        unsigned tokens;
        const char *realm_host;
        unsigned junk; /* which */
};

typedef void script(struct server *, const struct server_request *, struct server_answer *);

static void scene_open(struct scene *s, script *says) {
        memset(s, 0, sizeof *s);
        assert_int_equal(digest_of(&s->digest, MANIFEST, strlen(MANIFEST)), 0);
        digest_format(&s->digest, s->text);
        server_start(&s->server, says, s);
        s->realm_host = s->server.host;
        world_add(&s->w, s->server.host, true);
        world_begin(&s->w);
}

static void scene_close(struct scene *s) {
        world_end(&s->w);
        server_stop(&s->server);
}

static int scene_resolve(struct scene *s, const char *rest, const struct oci_keyring *k) {
        struct digest digest = { 0 };
        bool is_private = false;
        int r = world_resolve(&digest, &is_private, &s->w, s->server.host, rest, k);

        if (r == 0)
                assert_true(digest_equal(&digest, &s->digest));
        return r;
}

static struct oci_keyring *pair(void) {
        struct oci_keyring *k = NULL;

        assert_int_equal(oci_keyring_single(&k, USER, PASSWORD, NULL), 0);
        return k;
}

static void say_digest(struct server_answer *a, const struct scene *s) {
        snprintf(a->headers, sizeof a->headers,
                 "Content-Type: application/vnd.oci.image.manifest.v1+json\r\nDocker-Content-Digest: %s\r\n",
                 s->text);
        server_answer_text(a, 200, MANIFEST);
}

/* Whether @text is legible in a line of the log. */
static bool logged(const char *text) {
        int fd = memfd_create("log", MFD_CLOEXEC), real = dup(STDERR_FILENO);
        char line[1024] = "";

        assert_true(fd >= 0 && real >= 0);
        dup2(fd, STDERR_FILENO);
        log_info("<%s>", text);
        dup2(real, STDERR_FILENO);
        close(real);
        assert_true(pread(fd, line, sizeof line - 1, 0) > 0);
        close(fd);
        return strstr(line, text) != NULL;
}

/* ---- resolving ---- */

static void script_plain(struct server *server, const struct server_request *q, struct server_answer *a) {
        const char *accept = server_header(q, "Accept");

        if (accept && strstr(accept, ACCEPTS) && !server_header(q, "Accept-Encoding"))
                say_digest(a, server->userdata);
        else
                a->status = 406;
}

static void test_a_tag_is_resolved_by_one_head(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_plain);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(server_count(&s.server, "HEAD /v2/m/manifests/v1"), 1);
        assert_int_equal(s.server.n_log, 1);
        assert_true(server_saw(&s.server, "User-Agent: modelstage/" MODELSTAGE_VERSION));
        scene_close(&s);
}

static void test_a_digest_is_still_asked_for(void **state) {
        char rest[128];
        struct scene s;

        (void)state;
        scene_open(&s, script_plain);
        snprintf(rest, sizeof rest, "m@%s", s.text);
        assert_int_equal(scene_resolve(&s, rest, NULL), 0);
        assert_int_equal(server_count(&s.server, "HEAD /v2/m/manifests/sha256:"), 1);
        scene_close(&s);
}

static void script_no_head(struct server *server, const struct server_request *q, struct server_answer *a) {
        if (strcmp(q->method, "HEAD") == 0)
                a->status = 405;
        else
                say_digest(a, server->userdata);
}

static void test_head_405_is_followed_by_get(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_no_head);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(server_count(&s.server, "GET /v2/m/manifests/v1"), 1);
        scene_close(&s);
}

static void script_no_digest(struct server *server, const struct server_request *q, struct server_answer *a) {
        (void)server;
        (void)q;
        server_answer_text(a, 200, MANIFEST);
}

static void test_without_a_digest_header_the_manifest_is_hashed(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_no_digest);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        scene_close(&s);
}

static void script_unknown(struct server *server, const struct server_request *q, struct server_answer *a) {
        (void)server;
        (void)q;
        server_answer_text(a, 404,
                           "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"no\\u0007 such\"}]}");
}

static void test_an_unknown_tag_is_not_found_with_the_registrys_code(void **state) {
        char text[128];
        struct scene s;

        (void)state;
        scene_open(&s, script_unknown);
        assert_true(scene_resolve(&s, "m:v9", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_NOT_FOUND);
        snprintf(text, sizeof text, "no such model %s/m:v9 (MANIFEST_UNKNOWN)", s.server.host);
        assert_string_equal(s.w.e.text, text);
        scene_close(&s);
}

static void script_name_invalid(struct server *server, const struct server_request *q,
                                struct server_answer *a) {
        (void)server;
        (void)q;
        server_answer_text(a, 400, "{\"errors\":[{\"code\":\"NAME_INVALID\"}]}");
}

static void test_an_invalid_name_is_not_found_too(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_name_invalid);
        assert_true(scene_resolve(&s, "m:v9", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_NOT_FOUND);
        scene_close(&s);
}

static void script_denied(struct server *server, const struct server_request *q, struct server_answer *a) {
        (void)server;
        (void)q;
        server_answer_text(a, 403, "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"not for you\"}]}");
}

static void test_a_403_is_denied_in_the_registrys_words(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_denied);
        assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_DENIED);
        assert_non_null(strstr(s.w.e.text, "DENIED: not for you"));
        scene_close(&s);
}

/* ---- credentials ---- */

static void script_bearer(struct server *server, const struct server_request *q, struct server_answer *a) {
        struct scene *s = server->userdata;
        const char *auth = server_header(q, "Authorization");
        static char token[64], answer[128];

        if (strncmp(q->target, "/token?", 7) == 0) {
                if (!strstr(q->target, "service=reg") || !strstr(q->target, "scope=repository%3am%3apull"))
                        a->status = 400;
                else if (auth && strcmp(auth, BASIC) != 0)
                        a->status = 401;
                else {
                        snprintf(answer, sizeof answer, "{\"token\":\"t%u%s\",\"expires_in\":300}",
                                 ++s->tokens, auth ? "-bob" : "");
                        server_answer_text(a, 200, answer);
                }
                return;
        }
        snprintf(token, sizeof token, "Bearer t%u", s->tokens);
        if (s->tokens > 0 && auth && strncmp(auth, token, strlen(token)) == 0) {
                say_digest(a, s);
                return;
        }
        a->status = 401;
        snprintf(a->headers, sizeof a->headers,
                 "WWW-Authenticate: Bearer "
                 "realm=\"http://%s/token\",service=\"reg\",scope=\"repository:m:pull\"\r\n",
                 s->realm_host);
}

static void test_an_anonymous_token_is_asked_for_once_and_is_not_private(void **state) {
        struct digest digest;
        bool is_private = true;
        struct scene s;

        (void)state;
        scene_open(&s, script_bearer);
        for (int i = 0; i < 3; i++)
                assert_int_equal(world_resolve(&digest, &is_private, &s.w, s.server.host, "m:v1", NULL), 0);
        assert_false(is_private);
        assert_int_equal(server_count(&s.server, "GET /token"), 1);
        assert_int_equal(server_count(&s.server, "HEAD /v2/m"), 4); /* only the first had to be refused */
        scene_close(&s);
}

static void test_credentials_buy_a_token_of_their_own_and_go_to_the_realm_only(void **state) {
        struct oci_keyring *k = pair();
        struct digest digest;
        bool is_private = false;
        struct scene s;

        (void)state;
        scene_open(&s, script_bearer);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(world_resolve(&digest, &is_private, &s.w, s.server.host, "m:v1", k), 0);
        assert_true(is_private);
        assert_int_equal(s.tokens, 2);
        for (size_t i = 0; i < s.server.n_log; i++)
                if (strstr(s.server.log[i].head, BASIC))
                        assert_true(strncmp(s.server.log[i].target, "/token?", 7) == 0);
        oci_keyring_free(k);
        scene_close(&s);
}

static void script_bearer_expiring(struct server *server, const struct server_request *q,
                                   struct server_answer *a) {
        struct scene *s = server->userdata;

        if (strncmp(q->target, "/v2/", 4) == 0 && s->tokens == 1 && ++s->n > 2)
                a->status = 401; /* the first token is no good any more */
        else
                script_bearer(server, q, a);
        if (a->status == 401)
                snprintf(a->headers, sizeof a->headers,
                         "WWW-Authenticate: Bearer "
                         "realm=\"http://%s/token\",service=\"reg\",scope=\"repository:m:pull\"\r\n",
                         s->server.host);
}

static void test_a_cached_token_that_is_refused_is_renewed_once(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_bearer_expiring);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(s.tokens, 1);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(s.tokens, 2);
        scene_close(&s);
}

static void script_bearer_never(struct server *server, const struct server_request *q,
                                struct server_answer *a) {
        script_bearer(server, q, a);
        if (a->status == 200 && strncmp(q->target, "/v2/", 4) == 0) {
                struct scene *s = server->userdata;

                a->status = 401;
                snprintf(a->headers, sizeof a->headers,
                         "WWW-Authenticate: Bearer "
                         "realm=\"http://%s/token\",service=\"reg\",scope=\"repository:m:pull\"\r\n",
                         s->server.host);
        }
}

static void test_a_registry_that_never_accepts_its_own_tokens_is_given_up(void **state) {
        struct oci_keyring *k = pair();
        struct scene s;

        (void)state;
        scene_open(&s, script_bearer_never);
        assert_true(scene_resolve(&s, "m:v1", k) < 0);
        assert_int_equal(s.w.e.kind, ERROR_UNAUTHENTICATED);
        assert_null(strstr(s.w.e.text, PASSWORD));
        assert_int_equal(s.tokens, 1);
        oci_keyring_free(k);
        scene_close(&s);
}

static void script_basic(struct server *server, const struct server_request *q, struct server_answer *a) {
        const char *auth = server_header(q, "Authorization");

        if (auth && strcmp(auth, BASIC) == 0) {
                say_digest(a, server->userdata);
                return;
        }
        a->status = 401;
        snprintf(a->headers, sizeof a->headers, "WWW-Authenticate: Basic realm=\"a, b\"\r\n");
}

static void test_basic_is_private_and_wrong_passwords_are_unauthenticated(void **state) {
        struct oci_keyring *k = pair(), *wrong = NULL;
        struct digest digest;
        bool is_private = false;
        struct scene s;

        (void)state;
        scene_open(&s, script_basic);
        assert_int_equal(world_resolve(&digest, &is_private, &s.w, s.server.host, "m:v1", k), 0);
        assert_true(is_private);
        assert_int_equal(oci_keyring_single(&wrong, USER, "not-it-4711", NULL), 0);
        assert_true(scene_resolve(&s, "m:v1", wrong) < 0);
        assert_int_equal(s.w.e.kind, ERROR_UNAUTHENTICATED);
        assert_null(strstr(s.w.e.text, "not-it-4711"));
        assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_UNAUTHENTICATED);
        assert_non_null(strstr(s.w.e.text, "credentials.dockerConfig"));
        oci_keyring_free(wrong);
        oci_keyring_free(k);
        scene_close(&s);
}

/* Says everything that it was told, as some do; the password in the clear, too. */
static void say_echo(struct server_answer *a, const char *what) {
        static char body[10240];

        snprintf(body, sizeof body,
                 "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"you sent <%s> (%s) %180s%s\"}]}", what,
                 PASSWORD, "", what);
        server_answer_text(a, 403, body);
}

static void script_echo_basic(struct server *server, const struct server_request *q,
                              struct server_answer *a) {
        const char *auth = server_header(q, "Authorization");

        (void)server;
        if (auth) {
                say_echo(a, auth);
                return;
        }
        a->status = 401;
        snprintf(a->headers, sizeof a->headers, "WWW-Authenticate: Basic realm=\"x\"\r\n");
}

static void script_echo_bearer(struct server *server, const struct server_request *q,
                               struct server_answer *a) {
        const char *auth = server_header(q, "Authorization");

        if (strncmp(q->target, "/token?", 7) == 0)
                server_answer_text(a, 200, "{\"token\":\"canary/t0ken\"}");
        else if (auth)
                say_echo(a, auth);
        else {
                a->status = 401;
                snprintf(a->headers, sizeof a->headers,
                         "WWW-Authenticate: Bearer realm=\"http://%s/token\"\r\n", server->host);
        }
}

static void test_a_registry_that_echoes_credentials_is_not_quoted_with_them(void **state) {
        static const struct {
                script *says;
                const char *scheme, *sent;
        } cases[] = { { script_echo_basic, "Basic", &BASIC[6] },
                      { script_echo_bearer, "Bearer", "canary/t0ken" } };
        struct settings_header own = { (char *)"X-Key", (char *)"canary-header" };
        struct oci_keyring *k = pair();

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char said[64];
                struct scene s;

                scene_open(&s, cases[i].says);
                s.w.registries[0].headers = &own;
                s.w.registries[0].n_headers = 1;
                assert_true(scene_resolve(&s, "m:v1", k) < 0);
                assert_int_equal(s.w.e.kind, ERROR_DENIED);
                snprintf(said, sizeof said, "DENIED: you sent <%s [redacted]> ([redacted])", cases[i].scheme);
                assert_non_null(strstr(s.w.e.text, said));
                assert_null(strstr(s.w.e.text, "canary"));
                for (size_t n = strlen(cases[i].sent); n >= 4; n--) { /* nor a piece of it at the cut */
                        char piece[64];

                        snprintf(piece, sizeof piece, "%.*s", (int)n, cases[i].sent);
                        assert_null(strstr(s.w.e.text, piece));
                }
                assert_true(logged(cases[i].sent) == false);
                scene_close(&s);
        }
        oci_keyring_free(k);
}

static void test_each_matching_credential_is_tried_in_turn(void **state) {
        char json[512];
        struct oci_keyring *k = NULL;
        struct scene s;
        int n;

        (void)state;
        scene_open(&s, script_basic);
        n = snprintf(json, sizeof json,
                     "{\"auths\":{\"%s/m\":{\"username\":\"old\",\"password\":\"old\"},"
                     "\"%s\":{\"username\":\"" USER "\",\"password\":\"" PASSWORD "\"}}}",
                     s.server.host, s.server.host);
        assert_int_equal(oci_keyring_parse(&k, json, (size_t)n, NULL), 0);
        assert_int_equal(scene_resolve(&s, "m:v1", k), 0);
        assert_int_equal(server_count(&s.server, "HEAD "), 3);
        oci_keyring_free(k);
        scene_close(&s);
}

static void write_config(const char *path, const char *host, const char *password) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        fprintf(f, "{\"auths\":{\"%s\":{\"username\":\"" USER "\",\"password\":\"%s\"}}}", host, password);
        assert_int_equal(fclose(f), 0);
}

static void test_the_administrators_file_is_read_again_when_it_changed(void **state) {
        char dir[] = "/tmp/modelstage-test-XXXXXX", path[64], next[64];
        struct scene s;

        (void)state;
        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof path, "%s/config.json", dir);
        snprintf(next, sizeof next, "%s/next", dir);
        scene_open(&s, script_basic);
        write_config(path, s.server.host, "wrong");
        s.w.settings.credentials.docker_config = path;
        assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_UNAUTHENTICATED);
        write_config(next, s.server.host, PASSWORD);
        assert_int_equal(rename(next, path), 0);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(unlink(path), 0);
        assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
        assert_non_null(strstr(s.w.e.text, "credentials.dockerConfig"));
        assert_int_equal(rmdir(dir), 0);
        scene_close(&s);
}

static void script_identity(struct server *server, const struct server_request *q, struct server_answer *a) {
        if (strcmp(q->method, "POST") == 0) {
                bool good = strstr(q->body, "grant_type=refresh_token") &&
                            strstr(q->body, "refresh_token=id%2Ftok") &&
                            strstr(q->body, "scope=repository%3Am%3Apull") &&
                            strstr(q->body, "service=reg") && !server_header(q, "Authorization");
                struct scene *s = server->userdata;

                s->tokens++;
                server_answer_text(a, good ? 200 : 400, "{\"access_token\":\"t1\"}");
                return;
        }
        script_bearer(server, q, a);
}

static void test_an_identity_token_is_posted(void **state) {
        struct oci_keyring *k = NULL;
        char json[256];
        struct scene s;
        int n;

        (void)state;
        scene_open(&s, script_identity);
        n = snprintf(json, sizeof json, "{\"auths\":{\"%s\":{\"identitytoken\":\"id/tok\"}}}", s.server.host);
        assert_int_equal(oci_keyring_parse(&k, json, (size_t)n, NULL), 0);
        assert_int_equal(scene_resolve(&s, "m:v1", k), 0);
        assert_int_equal(server_count(&s.server, "POST /token"), 1);
        oci_keyring_free(k);
        scene_close(&s);
}

static void test_a_realm_at_a_private_address_gets_nothing(void **state) {
        struct oci_keyring *k = pair();
        struct scene s;

        (void)state;
        scene_open(&s, script_bearer);
        s.realm_host = "10.255.255.1";
        assert_true(scene_resolve(&s, "m:v1", k) < 0);
        assert_int_equal(s.w.e.kind, ERROR_DENIED);
        assert_non_null(strstr(s.w.e.text, "private address"));
        oci_keyring_free(k);
        scene_close(&s);
}

static void script_token_with_line_break(struct server *server, const struct server_request *q,
                                         struct server_answer *a) {
        script_bearer(server, q, a);
        if (strncmp(q->target, "/token?", 7) == 0)
                server_answer_text(a, 200, "{\"token\":\"t1\\r\\nX-Evil: 1\"}");
}

static void test_a_token_cannot_smuggle_a_header(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_token_with_line_break);
        assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_UNAUTHENTICATED);
        assert_false(server_saw(&s.server, "X-Evil"));
        scene_close(&s);
}

/* ---- trying again ---- */

static void script_throttled(struct server *server, const struct server_request *q, struct server_answer *a) {
        struct scene *s = server->userdata;

        (void)q;
        if (s->n++ == 0) {
                a->status = 429;
                snprintf(a->headers, sizeof a->headers, "Retry-After: 0\r\n");
        } else {
                say_digest(a, s);
        }
}

static void test_429_is_asked_again_and_counted(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_throttled);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(s.server.n_log, 2);
        assert_true(
            metric_value(METRIC_REGISTRY_RETRIES, (const char *[]){ s.server.host, "throttled", NULL }) == 1);
        assert_true(metric_value(METRIC_REGISTRY_REQUESTS, (const char *[]){ s.server.host, "429", NULL }) ==
                    1);
        assert_true(metric_value(METRIC_REGISTRY_REQUESTS, (const char *[]){ s.server.host, "200", NULL }) ==
                    1);
        scene_close(&s);
}

static void script_broken(struct server *server, const struct server_request *q, struct server_answer *a) {
        (void)server;
        (void)q;
        a->status = 503;
        snprintf(a->headers, sizeof a->headers, "Retry-After: 0\r\n");
}

static void script_resets_once(struct server *server, const struct server_request *q,
                               struct server_answer *a) {
        struct scene *s = server->userdata;

        (void)q;
        if (s->n++ == 0)
                a->reset = true;
        else
                say_digest(a, s);
}

struct troubles { /* what a request was told while it waited */
        char first[256];
        unsigned n, ends;
};

static void note_trouble(void *userdata, const char *why) {
        struct troubles *t = userdata;

        if (!why)
                t->ends++;
        else if (t->n++ == 0)
                snprintf(t->first, sizeof t->first, "%s", why);
}

/* Why a pod waits is worth a word even when all goes well in the end. */
static void test_who_waits_is_told_why_and_when_it_is_over(void **state) {
        static const struct {
                script *says;
                const char *why;
                unsigned n;
        } cases[] = { { script_throttled, " answered with HTTP 429", 1 },
                      { script_broken, " answered with HTTP 503", 4 },
                      { script_resets_once, " cannot be reached: ", 1 } };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct troubles told = { 0 };
                struct digest digest;
                bool is_private;
                struct scene s;
                char why[256];

                scene_open(&s, cases[i].says);
                struct oci_reference *ref = world_reference(s.server.host, "m:v1");
                struct oci_request q = { .reference = ref, .retrying = note_trouble, .userdata = &told };

                (void)oci_resolve(&digest, &is_private, s.w.client, &q, &s.w.e);
                oci_reference_free(ref);
                snprintf(why, sizeof why, "%s%s", s.server.host, cases[i].why);
                assert_memory_equal(told.first, why, strlen(why));
                assert_int_equal(told.n, cases[i].n);
                assert_int_equal(told.ends, 1);
                scene_close(&s);
        }
}

static void test_a_server_that_stays_broken_is_unavailable_after_five_tries(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_broken);
        assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(s.w.e.text, s.server.host));
        assert_int_equal(s.server.n_log, 5);
        scene_close(&s);
}

static void test_a_reset_connection_is_tried_again(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_resets_once);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(s.server.n_log, 2);
        scene_close(&s);
}

/* What is no HTTP, as libcurl's three ways to say so: no status line, headers without end, a strange one. */
static void say_junk(struct server_answer *a, unsigned kind) {
        static char endless[200000];

        if (kind == 1) {
                memset(endless, 'a', sizeof endless);
                memcpy(endless, "HTTP/1.1 200 OK\r\nX: ", 20);
        }
        a->raw = kind == 0 ? "SSH-2.0-OpenSSH_9.2p1\r\n" : kind == 1 ? endless : "HTTP/1.1 7\r\n\r\n";
        a->len = kind == 1 ? sizeof endless : strlen(a->raw);
}

static void script_junk_once(struct server *server, const struct server_request *q, struct server_answer *a) {
        struct scene *s = server->userdata;

        (void)q;
        if (s->n++ == 0)
                say_junk(a, s->junk);
        else
                say_digest(a, s);
}

static void script_junk(struct server *server, const struct server_request *q, struct server_answer *a) {
        (void)q;
        say_junk(a, ((struct scene *)server->userdata)->junk);
}

static void test_one_answer_that_is_no_http_is_forgiven(void **state) {
        (void)state;
        for (unsigned junk = 0; junk < 3; junk++) {
                struct scene s;

                scene_open(&s, script_junk_once);
                s.junk = junk;
                if (scene_resolve(&s, "m:v1", NULL) < 0)
                        fail_msg("junk %u: %s", junk, s.w.e.text);
                assert_int_equal(s.server.n_log, 2);
                scene_close(&s);
        }
}

static void test_a_server_that_speaks_no_http_is_called_that(void **state) {
        (void)state;
        for (unsigned junk = 0; junk < 3; junk++) {
                char expected[64];
                struct scene s;

                scene_open(&s, script_junk);
                s.junk = junk;
                assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
                snprintf(expected, sizeof expected, "%s does not answer in HTTP", s.server.host);
                assert_int_equal(s.w.e.kind, ERROR_UNAVAILABLE);
                assert_string_equal(s.w.e.text, expected);
                assert_int_equal(s.server.n_log, 3);
                scene_close(&s);
        }
}

static void script_head_with_body(struct server *server, const struct server_request *q,
                                  struct server_answer *a) {
        if (strcmp(q->method, "HEAD") != 0) {
                say_digest(a, server->userdata);
                return;
        }
        a->raw = "HTTP/1.1 405 No\r\nContent-Length: 10\r\n\r\nhead body.";
        a->len = strlen(a->raw);
}

static void test_a_body_behind_head_does_not_answer_the_next_request(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_head_with_body);
        if (scene_resolve(&s, "m:v1", NULL) < 0)
                fail_msg("%s", s.w.e.text);
        assert_int_equal(server_count(&s.server, "HEAD"), 1);
        scene_close(&s);
}

static void test_nobody_listening_is_unavailable_and_names_the_host(void **state) {
        char host[sizeof((struct server *)NULL)->host];
        struct digest digest;
        bool is_private;
        struct scene s;

        (void)state;
        scene_open(&s, script_plain);
        memcpy(host, s.server.host, sizeof host);
        server_stop(&s.server);
        assert_true(world_resolve(&digest, &is_private, &s.w, host, "m:v1", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(s.w.e.text, host));
        assert_true(metric_value(METRIC_REGISTRY_REQUESTS, (const char *[]){ host, "0", NULL }) == 3);
        world_end(&s.w);
}

static void test_plain_http_that_is_not_configured_is_refused_with_advice(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_plain);
        s.w.registries[0].plain_http = false;
        assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(s.w.e.text, "plainHttp"));
        assert_int_equal(s.server.n_log, 0);
        scene_close(&s);
}

static bool want_cancel(void *userdata) {
        struct scene *s = userdata;

        return server_count(&s->server, "HEAD") > 0;
}

static void script_silent(struct server *server, const struct server_request *q, struct server_answer *a) {
        (void)server;
        (void)q;
        a->silent = true;
}

static void test_waiting_for_a_silent_server_can_be_cancelled(void **state) {
        struct oci_reference *ref;
        struct digest digest;
        bool is_private;
        struct scene s;

        (void)state;
        scene_open(&s, script_silent);
        ref = world_reference(s.server.host, "m:v1");
        assert_true(
            oci_resolve(&digest, &is_private, s.w.client,
                        &(struct oci_request){ .reference = ref, .cancelled = want_cancel, .userdata = &s },
                        &s.w.e) < 0);
        assert_int_equal(s.w.e.kind, ERROR_CANCELLED);
        oci_reference_free(ref);
        scene_close(&s);
}

/* ---- manifests ---- */

static int scene_plan(struct scene *s, struct model_plan **ret) {
        struct oci_reference *ref = world_reference(s->server.host, "m:v1");
        int r;

        s->w.e = (struct error){ 0 };
        r = oci_plan(ret, s->w.client, &(struct oci_request){ .reference = ref }, &s->digest, &s->w.e);
        oci_reference_free(ref);
        return r;
}

static void test_a_manifest_becomes_a_plan(void **state) {
        struct model_plan *plan = NULL;
        struct scene s;

        (void)state;
        scene_open(&s, script_plain);
        assert_int_equal(scene_plan(&s, &plan), 0);
        assert_int_equal(plan->format, PLAN_MODELCAR);
        assert_int_equal(plan->n_blobs, 1);
        assert_int_equal(plan->size, 1024);
        assert_true(digest_equal(&plan->manifest, &s.digest));
        model_plan_free(plan);
        scene_close(&s);
}

static void script_wrong_bytes(struct server *server, const struct server_request *q,
                               struct server_answer *a) {
        struct scene *s = server->userdata;

        (void)q;
        s->n++;
        say_digest(a, s);
        a->body = s->tokens && s->n > s->tokens ? MANIFEST : MANIFEST " ";
        a->len = strlen(a->body);
}

static void test_wrong_bytes_twice_are_data_loss(void **state) {
        struct model_plan *plan = NULL;
        struct scene s;

        (void)state;
        scene_open(&s, script_wrong_bytes);
        assert_true(scene_plan(&s, &plan) < 0);
        assert_int_equal(s.w.e.kind, ERROR_DATA_LOSS);
        assert_int_equal(s.server.n_log, 2);
        assert_null(plan);
        assert_true(metric_value(METRIC_DIGEST_MISMATCHES, (const char *[]){ s.server.host, NULL }) == 2);
        scene_close(&s);
}

static void test_wrong_bytes_once_are_forgiven(void **state) {
        struct model_plan *plan = NULL;
        struct scene s;

        (void)state;
        scene_open(&s, script_wrong_bytes);
        s.tokens = 1;
        assert_int_equal(scene_plan(&s, &plan), 0);
        model_plan_free(plan);
        scene_close(&s);
}

static void script_huge(struct server *server, const struct server_request *q, struct server_answer *a) {
        static char huge[5u << 20];

        (void)q;
        say_digest(a, server->userdata);
        memset(huge, ' ', sizeof huge);
        a->body = huge;
        a->len = sizeof huge;
}

static void test_a_manifest_over_the_cap_is_refused(void **state) {
        struct model_plan *plan = NULL;
        struct scene s;

        (void)state;
        scene_open(&s, script_huge);
        assert_true(scene_plan(&s, &plan) < 0);
        assert_int_equal(s.w.e.kind, ERROR_INVALID);
        scene_close(&s);
}

static void test_policy_denies_before_anybody_is_asked(void **state) {
        char glob[] = "other.example.com/**";
        char *allow[] = { glob, NULL };
        struct model_plan *plan = NULL;
        struct scene s;

        (void)state;
        scene_open(&s, script_plain);
        s.w.settings.policy.allow = allow;
        assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_DENIED);
        assert_true(scene_plan(&s, &plan) < 0);
        assert_int_equal(s.w.e.kind, ERROR_DENIED);
        assert_int_equal(s.server.n_log, 0);
        snprintf(glob, sizeof glob, "127.0.0.1*/*");
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        scene_close(&s);
}

/* ---- mirrors and redirects ---- */

struct duo {
        char url[64];
        char *mirrors[2];
};

static void scene_add_mirror(struct scene *s, struct duo *d, script *says) {
        server_start(&s->other, says, s);
        snprintf(d->url, sizeof d->url, "http://%s", s->other.host);
        d->mirrors[0] = d->url;
        d->mirrors[1] = NULL;
        s->w.registries[0].mirrors = d->mirrors;
}

static void test_a_mirror_answers_instead_of_the_host(void **state) {
        struct scene s;
        struct duo d;

        (void)state;
        scene_open(&s, script_plain);
        scene_add_mirror(&s, &d, script_plain);
        assert_int_equal(scene_resolve(&s, "m:v1", NULL), 0);
        assert_int_equal(s.server.n_log, 0);
        assert_true(server_saw(&s.other, "ns=127.0.0.1"));
        server_stop(&s.other);
        scene_close(&s);
}

static void test_a_mirrors_failure_falls_through_to_the_host(void **state) {
        static void (*const scripts[])(struct server *, const struct server_request *,
                                       struct server_answer *) = {
                script_unknown,
                script_denied,
                script_broken,
                script_basic,
        };

        (void)state;
        for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
                struct oci_keyring *k = pair();
                struct scene s;
                struct duo d;

                scene_open(&s, script_plain);
                scene_add_mirror(&s, &d, scripts[i]);
                assert_int_equal(scene_resolve(&s, "m:v1", k), 0);
                assert_true(s.other.n_log > 0 && s.server.n_log == 1);
                assert_false(server_saw(&s.other, BASIC)); /* the pair is for the host */
                oci_keyring_free(k);
                server_stop(&s.other);
                scene_close(&s);
        }
}

static void test_a_mirrors_wrong_bytes_fall_through_to_the_host(void **state) {
        struct model_plan *plan = NULL;
        struct scene s;
        struct duo d;

        (void)state;
        scene_open(&s, script_plain);
        scene_add_mirror(&s, &d, script_wrong_bytes);
        assert_int_equal(scene_plan(&s, &plan), 0);
        assert_int_equal(s.other.n_log, 2);
        model_plan_free(plan);
        server_stop(&s.other);
        scene_close(&s);
}

static void script_redirects_in_circles(struct server *server, const struct server_request *q,
                                        struct server_answer *a) {
        (void)q;
        a->status = 307;
        snprintf(a->headers, sizeof a->headers, "Location: http://%s/again\r\n", server->host);
}

static void test_a_circle_of_redirects_ends(void **state) {
        struct scene s;

        (void)state;
        scene_open(&s, script_redirects_in_circles);
        assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
        assert_int_equal(s.w.e.kind, ERROR_UNAVAILABLE);
        assert_int_equal(s.server.n_log, 11);
        scene_close(&s);
}

static void script_redirects_nowhere(struct server *server, const struct server_request *q,
                                     struct server_answer *a) {
        (void)server;
        (void)q;
        a->status = 307;
}

static void script_teapot(struct server *server, const struct server_request *q, struct server_answer *a) {
        (void)server;
        (void)q;
        a->status = 418;
}

static void test_a_status_is_said_once(void **state) {
        static const struct {
                script *says;
                const char *expected;
        } cases[] = {
                { script_redirects_nowhere,
                  "%s redirects us for %s/m:v1 without saying where to (HTTP 307)" },
                { script_teapot, "%s gave an answer for %s/m:v1 that makes no sense (HTTP 418)" },
                { script_broken, "%s failed to answer for %s/m:v1 (HTTP 503)" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char expected[256], *p = expected;
                struct scene s;

                scene_open(&s, cases[i].says);
                for (const char *c = cases[i].expected; *c; c++)
                        if (c[0] == '%' && c[1] == 's' && c++)
                                p += sprintf(p, "%s", s.server.host);
                        else
                                *p++ = *c;
                *p = '\0';
                assert_true(scene_resolve(&s, "m:v1", NULL) < 0);
                assert_string_equal(s.w.e.text, expected);
                scene_close(&s);
        }
}

static void script_no_json(struct server *server, const struct server_request *q, struct server_answer *a) {
        (void)server;
        (void)q;
        server_answer_text(a, 200, "no manifest");
}

static void test_a_manifest_that_is_no_json_is_called_that(void **state) {
        struct model_plan *plan = NULL;
        char expected[128];
        struct scene s;

        (void)state;
        scene_open(&s, script_no_json);
        assert_int_equal(digest_of(&s.digest, "no manifest", 11), 0);
        assert_true(scene_plan(&s, &plan) < 0);
        snprintf(expected, sizeof expected, "%s/m:v1: the manifest is not valid JSON: line 1, ",
                 s.server.host);
        assert_true(strncmp(s.w.e.text, expected, strlen(expected)) == 0);
        scene_close(&s);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_tag_is_resolved_by_one_head),
                cmocka_unit_test(test_a_digest_is_still_asked_for),
                cmocka_unit_test(test_head_405_is_followed_by_get),
                cmocka_unit_test(test_without_a_digest_header_the_manifest_is_hashed),
                cmocka_unit_test(test_an_unknown_tag_is_not_found_with_the_registrys_code),
                cmocka_unit_test(test_an_invalid_name_is_not_found_too),
                cmocka_unit_test(test_a_403_is_denied_in_the_registrys_words),
                cmocka_unit_test(test_an_anonymous_token_is_asked_for_once_and_is_not_private),
                cmocka_unit_test(test_credentials_buy_a_token_of_their_own_and_go_to_the_realm_only),
                cmocka_unit_test(test_a_cached_token_that_is_refused_is_renewed_once),
                cmocka_unit_test(test_a_registry_that_never_accepts_its_own_tokens_is_given_up),
                cmocka_unit_test(test_basic_is_private_and_wrong_passwords_are_unauthenticated),
                cmocka_unit_test(test_a_registry_that_echoes_credentials_is_not_quoted_with_them),
                cmocka_unit_test(test_each_matching_credential_is_tried_in_turn),
                cmocka_unit_test(test_the_administrators_file_is_read_again_when_it_changed),
                cmocka_unit_test(test_an_identity_token_is_posted),
                cmocka_unit_test(test_a_realm_at_a_private_address_gets_nothing),
                cmocka_unit_test(test_a_token_cannot_smuggle_a_header),
                cmocka_unit_test(test_429_is_asked_again_and_counted),
                cmocka_unit_test(test_who_waits_is_told_why_and_when_it_is_over),
                cmocka_unit_test(test_a_server_that_stays_broken_is_unavailable_after_five_tries),
                cmocka_unit_test(test_a_reset_connection_is_tried_again),
                cmocka_unit_test(test_one_answer_that_is_no_http_is_forgiven),
                cmocka_unit_test(test_a_server_that_speaks_no_http_is_called_that),
                cmocka_unit_test(test_a_body_behind_head_does_not_answer_the_next_request),
                cmocka_unit_test(test_nobody_listening_is_unavailable_and_names_the_host),
                cmocka_unit_test(test_plain_http_that_is_not_configured_is_refused_with_advice),
                cmocka_unit_test(test_waiting_for_a_silent_server_can_be_cancelled),
                cmocka_unit_test(test_a_manifest_becomes_a_plan),
                cmocka_unit_test(test_wrong_bytes_twice_are_data_loss),
                cmocka_unit_test(test_wrong_bytes_once_are_forgiven),
                cmocka_unit_test(test_a_manifest_over_the_cap_is_refused),
                cmocka_unit_test(test_policy_denies_before_anybody_is_asked),
                cmocka_unit_test(test_a_mirror_answers_instead_of_the_host),
                cmocka_unit_test(test_a_mirrors_failure_falls_through_to_the_host),
                cmocka_unit_test(test_a_mirrors_wrong_bytes_fall_through_to_the_host),
                cmocka_unit_test(test_a_circle_of_redirects_ends),
                cmocka_unit_test(test_a_status_is_said_once),
                cmocka_unit_test(test_a_manifest_that_is_no_json_is_called_that),
        };

        return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
