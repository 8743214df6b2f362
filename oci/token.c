/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token: the cache; token_service.c does the asking.
 *
 *   entry:  EMPTY -> in flight -> a token with an expiry
 *                       |-> failed: those who waited get the same failure, the next one tries again
 *
 * Entries and challenges lie in tables of fixed size; a full table gives up its oldest entry that nobody
 * waits for. Keys are digests, so no credential lies here. The lock is never held while the network is asked.
 */
#include "oci/token.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"
#include "base/text.h"

#define TOKENS_MAX 512u
#define CHALLENGES_MAX 512u
#define MARGIN_MAX_MS \
        30000 /* a token is used for 80 % of its life, and not in its last half minute if it is long */
#define WAIT_SLICE_MS 100 /* how often one who waits for another's request looks at `cancel` */

struct entry {
        struct digest key;    /* of realm, service, scope and credential */
        bool used;            /* the place is taken */
        char *token;          /* NULL: none now */
        int64_t expires_ms;   /* monotonic; of @token */
        bool in_flight;       /* a thread asks for it without the lock; the entry must stay */
        unsigned waiting;     /* threads; the entry must stay */
        uint64_t flights;     /* finished ones */
        struct error failure; /* of the last flight; kind ERROR_NONE: it succeeded */
        uint64_t age;         /* of the last use; the smallest goes first */
};

struct remembered {
        struct digest key; /* of origin and repository */
        bool used;
        struct oci_challenge challenge;
        uint64_t age;
};

struct oci_tokens {
        pthread_mutex_t lock;  /* guards what follows */
        pthread_cond_t landed; /* a flight is over */
        struct entry entries[TOKENS_MAX];
        struct remembered challenges[CHALLENGES_MAX];
        uint64_t clock; /* of `age`: one more with each use */
};

static void wipe(char **secret) {
        if (*secret)
                explicit_bzero(*secret, strlen(*secret));
        free(*secret);
        *secret = NULL;
}

/* Over the strings with their ends, so that no two lists are alike; NULL counts as "". */
static int key_of(struct digest *ret, const char *const *parts, size_t n) {
        _cleanup_(digest_stream_freep) struct digest_stream *s = NULL;
        int r = digest_stream_new(&s);

        for (size_t i = 0; r == 0 && i < n; i++) {
                const char *part = parts[i] ? parts[i] : "";

                r = digest_stream_update(s, part, strlen(part) + 1);
        }
        return r < 0 ? r : digest_stream_final(s, ret);
}

static int key_of_request(struct digest *ret, const struct oci_token_request *q) {
        const struct oci_credential *c = q->credential;
        const struct oci_challenge *ch = q->challenge;
        const char *parts[] = { ch->realm,
                                ch->service,
                                ch->scope ? ch->scope : q->repository,
                                c ? c->username : NULL,
                                c ? c->password : NULL,
                                c ? c->identity_token : NULL };

        return key_of(ret, parts, sizeof parts / sizeof *parts);
}

/* The entry of @key, or a new one in the place of the one that was used longest ago; NULL: all are being
 * waited for. */
static struct entry *entry_find(struct oci_tokens *t, const struct digest *key) {
        struct entry *oldest = NULL;

        for (size_t i = 0; i < TOKENS_MAX; i++) {
                struct entry *n = &t->entries[i];

                if (n->used && digest_equal(&n->key, key)) {
                        n->age = ++t->clock;
                        return n;
                }
                if (!n->in_flight && n->waiting == 0 &&
                    (!oldest || (oldest->used && (!n->used || n->age < oldest->age))))
                        oldest = n;
        }
        if (!oldest)
                return NULL;
        wipe(&oldest->token);
        *oldest = (struct entry){ .key = *key, .used = true, .age = ++t->clock };
        return oldest;
}

/* @refused is compared rather than an entry simply dropped: another thread may have renewed it meanwhile. */
static bool entry_serves(const struct entry *n, const char *refused) {
        return n->token && time_monotonic_ms() < n->expires_ms &&
               !(refused && strcmp(n->token, refused) == 0);
}

/* Waits, with the lock held, until another thread's request is over. -ECANCELED, or 0. */
static int entry_wait(struct oci_tokens *t, struct entry *n, const struct oci_cancel *cancel) {
        int r = 0;

        n->waiting++;
        while (n->in_flight && r == 0) {
                struct timespec until;
                bool wanted;

                clock_gettime(CLOCK_MONOTONIC, &until);
                until.tv_nsec += WAIT_SLICE_MS * 1000000L;
                until.tv_sec += until.tv_nsec / 1000000000L;
                until.tv_nsec %= 1000000000L;
                (void)pthread_cond_timedwait(&t->landed, &t->lock, &until);
                pthread_mutex_unlock(&t->lock); /* `cancelled` is foreign code */
                wanted = oci_cancel_wanted(cancel);
                pthread_mutex_lock(&t->lock);
                r = wanted ? -ECANCELED : 0;
        }
        n->waiting--;
        return r;
}

/* The flight of this thread is over. */
static void entry_land(struct oci_tokens *t, struct entry *n, const char *token, int64_t life_ms,
                       const struct error *failure) {
        int64_t margin = life_ms / 5;

        LOCK_SCOPE(&t->lock);
        n->in_flight = false;
        n->flights++;
        n->failure = *failure;
        wipe(&n->token);
        if (token) {
                n->token = strdup(token);
                n->expires_ms =
                    time_monotonic_ms() + life_ms - (margin < MARGIN_MAX_MS ? margin : MARGIN_MAX_MS);
        }
        pthread_cond_broadcast(&t->landed);
}

/*
 * Finds out, under the lock, what there is to do: 1: *ret is the cached token; 0: *ret_entry is ours to fill;
 * negative: the flight that we waited for failed, or we are cancelled.
 */
static int entry_board(char **ret, struct entry **ret_entry, struct oci_tokens *t, const struct digest *key,
                       const struct oci_token_request *q, struct error *e) {
        LOCK_SCOPE(&t->lock);

        for (;;) {
                struct entry *n = entry_find(t, key);
                uint64_t flights;

                if (!n)
                        return error_set(e, ERROR_UNAVAILABLE,
                                         "too many tokens are being asked for at once; try again");
                if (entry_serves(n, q->refused)) {
                        *ret = strdup(n->token);
                        return *ret ? 1 : error_set(e, ERROR_INTERNAL, "out of memory");
                }
                if (!n->in_flight) {
                        n->in_flight = true;
                        *ret_entry = n;
                        return 0;
                }
                flights = n->flights;
                if (entry_wait(t, n, &q->cancel) < 0)
                        return error_set(e, ERROR_CANCELLED, "cancelled while waiting for a token");
                if (n->flights != flights && n->failure.kind != ERROR_NONE &&
                    n->failure.kind != ERROR_CANCELLED)
                        return error_copy(e, &n->failure);
        }
}

int oci_token_get(char **ret, bool *ret_fresh, struct oci_tokens *t, const struct oci_token_request *q,
                  struct error *e) {
        struct error failure = { 0 };
        struct digest key;
        struct entry *n = NULL;
        char *token = NULL;
        int64_t life_ms = 0;
        int r;

        if (key_of_request(&key, q) < 0)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        r = entry_board(&token, &n, t, &key, q, e);
        if (r < 0)
                return r;
        if (r == 0) {
                r = oci_token_ask(&token, &life_ms, q, &failure);
                entry_land(t, n, r < 0 ? NULL : token, life_ms, &failure);
                if (r < 0)
                        return error_copy(e, &failure);
        }
        *ret_fresh = n != NULL;
        *ret = token;
        return 0;
}

/* ---- challenges ---- */

static char *copy_or_null(const char *s) {
        return s ? strdup(s) : NULL;
}

static struct oci_challenge challenge_copy(const struct oci_challenge *c) {
        return (struct oci_challenge){ .basic = c->basic,
                                       .bearer = c->bearer,
                                       .realm = copy_or_null(c->realm),
                                       .service = copy_or_null(c->service),
                                       .scope = copy_or_null(c->scope) };
}

/* The place of @key, or with @make one for it: a free one or the one used longest ago. */
static struct remembered *remembered_find(struct oci_tokens *t, const struct digest *key, bool make) {
        struct remembered *oldest = &t->challenges[0];

        for (size_t i = 0; i < CHALLENGES_MAX; i++) {
                struct remembered *m = &t->challenges[i];

                if (m->used && digest_equal(&m->key, key))
                        return m;
                if (oldest->used && (!m->used || m->age < oldest->age))
                        oldest = m;
        }
        return make ? oldest : NULL;
}

void oci_tokens_remember(struct oci_tokens *t, const char *origin, const char *repository,
                         const struct oci_challenge *c) {
        struct remembered *m;
        struct digest key;

        if (key_of(&key, (const char *[]){ origin, repository }, 2) < 0)
                return;
        LOCK_SCOPE(&t->lock);
        m = remembered_find(t, &key, true);
        oci_challenge_done(&m->challenge);
        *m = (struct remembered){
                .key = key, .used = true, .challenge = challenge_copy(c), .age = ++t->clock
        };
}

bool oci_tokens_recall(struct oci_challenge *ret, struct oci_tokens *t, const char *origin,
                       const char *repository) {
        struct remembered *m;
        struct digest key;

        if (key_of(&key, (const char *[]){ origin, repository }, 2) < 0)
                return false;
        LOCK_SCOPE(&t->lock);
        m = remembered_find(t, &key, false);
        if (!m)
                return false;
        m->age = ++t->clock;
        *ret = challenge_copy(&m->challenge);
        return true;
}

int oci_tokens_new(struct oci_tokens **ret, struct error *e) {
        struct oci_tokens *t = calloc(1, sizeof *t);
        pthread_condattr_t attr;

        if (!t)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&t->landed, &attr);
        pthread_condattr_destroy(&attr);
        pthread_mutex_init(&t->lock, NULL);
        *ret = t;
        return 0;
}

void oci_tokens_free(struct oci_tokens *t) {
        if (!t)
                return;
        for (size_t i = 0; i < TOKENS_MAX; i++)
                wipe(&t->entries[i].token);
        for (size_t i = 0; i < CHALLENGES_MAX; i++)
                oci_challenge_done(&t->challenges[i].challenge);
        pthread_cond_destroy(&t->landed);
        pthread_mutex_destroy(&t->lock);
        free(t);
}
