/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens are random and remembered (a ring: the oldest go first), each for one repository and until its time
 * is over. Signed addresses need no memory: an HMAC over digest and expiry with a key made at start. What the
 * clients send is compared and forgotten; only its scheme is ever reported.
 */
#include "auth.h"

#include "base/cleanup.h"
#include "stats.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define TOKENS 4096
#define SECRET_LEN 32

struct token {
        char text[48];
        char repository[256]; /* empty: only the version check */
        int64_t expires_ms;
};

static struct {
        pthread_mutex_t lock; /* guards tokens and n */
        struct token tokens[TOKENS];
        uint64_t n;
        unsigned token_port;
} auth = { .lock = PTHREAD_MUTEX_INITIALIZER };

static unsigned char secret[SECRET_LEN];
static pthread_once_t secret_once = PTHREAD_ONCE_INIT;

static void make_secret(void) {
        if (getrandom(secret, sizeof secret, 0) != sizeof secret)
                abort();
}

static int64_t now_ms(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void auth_set_token_port(unsigned port) {
        auth.token_port = port;
}

/* Is this "Basic base64(user:password)" of the knobs? */
static bool is_basic(const char *authorization, const struct knobs *k) {
        char plain[2 * KNOB_TEXT_MAX], base64[4 * KNOB_TEXT_MAX];
        int n = snprintf(plain, sizeof plain, "%s:%s", knob_text(k, user), knob_text(k, password));

        if (strncasecmp(authorization, "Basic ", 6) != 0)
                return false;
        EVP_EncodeBlock((unsigned char *)base64, (const unsigned char *)plain, n);
        return strcmp(authorization + 6, base64) == 0;
}

static bool is_token(const char *authorization, const char *repository) {
        if (strncasecmp(authorization, "Bearer ", 7) != 0)
                return false;
        LOCK_SCOPE(&auth.lock);
        for (unsigned i = 0; i < TOKENS; i++) {
                const struct token *t = &auth.tokens[i];

                if (t->text[0] && strcmp(t->text, authorization + 7) == 0)
                        return now_ms() < t->expires_ms &&
                               (!repository || strcmp(t->repository, repository) == 0);
        }
        return false;
}

static bool challenge(struct http_answer *a, const char *repository) {
        a->status = 401;
        http_answer_header(
            a, "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%u/token\",service=\"fault-registry\"",
            auth.token_port);
        if (repository)
                http_answer_header(a, ",scope=\"repository:%s:pull\"", repository);
        http_answer_header(a, "\r\n");
        return false;
}

bool auth_allows(const struct http_request *r, const struct knobs *k, const char *repository,
                 struct http_answer *a) {
        const char *mode = knob_text(k, auth);

        if (strcmp(mode, "bearer") == 0 && !is_token(r->authorization, repository))
                return challenge(a, repository);
        if (strcmp(mode, "basic") == 0 && !is_basic(r->authorization, k)) {
                a->status = 401;
                http_answer_header(a, "WWW-Authenticate: Basic realm=\"fault-registry\"\r\n");
                return false;
        }
        if (repository && strcmp(repository, knob_text(k, deny)) == 0) {
                a->status = 403;
                return false;
        }
        return true;
}

/* "repository:NAME:pull" -> NAME. */
static void scope_repository(const char *scope, char *ret, size_t size) {
        const char *name = strchr(scope, ':'), *end = name ? strrchr(name + 1, ':') : NULL;

        snprintf(ret, size, "%.*s", end ? (int)(end - name - 1) : 0, end ? name + 1 : "");
}

static void issue(const char *scope, uint64_t seconds, char *ret, size_t size) {
        unsigned char random[16];
        size_t len = 0;

        if (getrandom(random, sizeof random, 0) != sizeof random)
                abort();
        for (unsigned i = 0; i < sizeof random; i++)
                len += (size_t)snprintf(ret + len, size - len, "%02x", random[i]);
        LOCK_SCOPE(&auth.lock);
        struct token *t = &auth.tokens[auth.n++ % TOKENS];

        snprintf(t->text, sizeof t->text, "%s", ret);
        scope_repository(scope, t->repository, sizeof t->repository);
        t->expires_ms = now_ms() + (int64_t)seconds * 1000;
}

bool auth_answer_token(struct http_connection *c, const struct http_request *r, const struct knobs *k,
                       int *ret_status) {
        struct http_answer a = { .status = 200, .type = "application/json" };
        char scope[300] = "", token[48], text[256];
        bool known = is_basic(r->authorization, k);

        if (!known && (r->authorization[0] || !knob_number(k, anonymous))) {
                *ret_status = a.status = 401;
                return http_answer_text(c, r, &a, "{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}");
        }
        http_query_get(r->query, "scope", scope, sizeof scope);
        issue(scope, knob_number(k, token_seconds), token, sizeof token);
        stats_token();
        *ret_status = 200;
        snprintf(text, sizeof text, "{\"token\":\"%s\",\"expires_in\":%llu}", token,
                 (unsigned long long)knob_number(k, token_seconds));
        return http_answer_text(c, r, &a, text);
}

static void signature_of(const char *digest, const char *expires, char ret[static 65]) {
        unsigned char mac[EVP_MAX_MD_SIZE] = { 0 };
        char text[160];
        int n = snprintf(text, sizeof text, "%.80s %.40s", digest, expires);

        pthread_once(&secret_once, make_secret);
        HMAC(EVP_sha256(), secret, SECRET_LEN, (unsigned char *)text, (size_t)n, mac, NULL);
        for (unsigned i = 0; i < 32; i++)
                snprintf(ret + 2 * i, 3, "%02x", mac[i]);
}

void auth_sign(const char *digest, uint64_t seconds, char ret[static AUTH_SIGNED_MAX]) {
        char expires[24], signature[65];

        snprintf(expires, sizeof expires, "%lld", (long long)now_ms() + (long long)seconds * 1000);
        signature_of(digest, expires, signature);
        snprintf(ret, AUTH_SIGNED_MAX, "?expires=%s&signature=%s", expires, signature);
}

int auth_check_signed(const struct http_request *r, const char *digest) {
        char expires[24] = "", given[80] = "", signature[65];

        if (r->authorization[0])
                return 400;
        http_query_get(r->query, "expires", expires, sizeof expires);
        http_query_get(r->query, "signature", given, sizeof given);
        signature_of(digest, expires, signature);
        return strcmp(given, signature) == 0 && now_ms() <= strtoll(expires, NULL, 10) ? 200 : 403;
}
