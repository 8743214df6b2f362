/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept: what an unfinished layer has left in staging/, for the next transfer of the same layer.
 *
 *   staging/<hex>.<form>[.<origin>]/journal      the engine's word for what is beside it; without it nothing
 *                                                is kept
 *
 *   leave, or found at start --> kept --> taken by cache_staging_begin()
 *                                  \---> dropped: its space is needed, it is too old, the layer is here
 *
 * A kept one is a candidate and no more: whoever takes it looks for himself what in it is good, so nothing
 * here is trusted after a crash. Its name is its key. What was fetched with credentials is named after the
 * origin too, and is found only by those who ask there with credentials again; of one digest and form only
 * one is kept.
 *
 * Space. What is kept counts as used. But a job holds its layers before it reserves the space for all of
 * them: what is kept of a layer that is held is a part of that promise, and does not count twice. A
 * compressed blob (CACHE_PACKED) is no part of it, since it stays beside what is made of it.
 *
 * The list is guarded by c->lock, where it is also decided who takes an entry off it; who does has the
 * layer's guard meanwhile, so a directory is never removed and begun at once.
 */
#include "cache/store.h"

#include "base/log.h"
#include "base/path.h"
#include "base/text.h"

#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define KEPT_MAX_AGE_MS ((int64_t)24 * 60 * 60 * 1000) /* without progress */
#define HEX_LEN (DIGEST_HEX_SIZE - 1)

struct cache_kept {
        struct cache_kept *next;
        struct digest digest;
        enum cache_form form;
        uint64_t bytes;     /* of disk */
        bool is_packed;     /* most of them are a compressed blob */
        int64_t written_ms; /* since 1970: the journal was */
        char name[CACHE_STAGING_NAME_MAX];
};

void cache_staging_name(char name[static CACHE_STAGING_NAME_MAX], const struct cache_layer *l) {
        char hex[DIGEST_HEX_SIZE], origin[DIGEST_HEX_SIZE];

        snprintf(name, CACHE_STAGING_NAME_MAX, "%s.%s%s%s", digest_hex(&l->digest, hex),
                 cache_layer_file(l->form), l->is_private ? "." : "",
                 l->is_private ? digest_hex(&l->origin, origin) : "");
}

/* Of a name that cache_staging_name() could have made. */
static bool parse_name(struct cache_layer *ret, const char *name) {
        char hex[DIGEST_HEX_SIZE], again[CACHE_STAGING_NAME_MAX];
        size_t len = strlen(name);

        *ret = (struct cache_layer){ .form = CACHE_BLOB };
        if (len <= HEX_LEN || len >= sizeof again)
                return false;
        memcpy(hex, name, HEX_LEN);
        hex[HEX_LEN] = '\0';
        if (digest_parse_hex(&ret->digest, hex) < 0)
                return false;
        ret->is_private = digest_parse_hex(&ret->origin, name + len - HEX_LEN) >= 0;
        for (; ret->form < _CACHE_FORM_MAX; ret->form++) {
                cache_staging_name(again, ret);
                if (strcmp(name, again) == 0)
                        return true;
        }
        return false;
}

/* Blocks of all that is in staging/@name; what cannot be seen is not counted. */
static uint64_t disk_usage(const struct cache *c, const char *name) {
        _cleanup_free_ char *path = NULL;
        uint64_t bytes = 0;

        if (asprintf(&path, "%s/staging/%s", c->root, name) < 0) {
                path = NULL;
                return 0;
        }
        FTS *fts = fts_open((char *[]){ path, NULL }, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
        for (const FTSENT *f; fts && (f = fts_read(fts));)
                if (f->fts_info == FTS_F || f->fts_info == FTS_D)
                        bytes += (uint64_t)f->fts_statp->st_blocks * 512;
        if (fts)
                (void)fts_close(fts);
        return bytes;
}

/* When the journal in staging/@name was written; -1: there is none. */
static int64_t journal_time(const struct cache *c, const char *name) {
        char path[CACHE_STAGING_NAME_MAX + sizeof CACHE_JOURNAL];
        struct stat st;

        snprintf(path, sizeof path, "%s/%s", name, CACHE_JOURNAL);
        if (fstatat(c->staging_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                return -1;
        return (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
}

static bool is_old(int64_t written_ms) {
        int64_t age = time_now_ms() - written_ms;

        return age > KEPT_MAX_AGE_MS ||
               age < -KEPT_MAX_AGE_MS; /* a clock that was wrong is no reason to keep */
}

static bool has_packed(const struct cache *c, const char *name) {
        char path[CACHE_STAGING_NAME_MAX + sizeof CACHE_PACKED];

        snprintf(path, sizeof path, "%s/%s", name, CACHE_PACKED);
        return faccessat(c->staging_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool cache_kept_add(struct cache *c, const char *name) {
        int64_t written_ms = journal_time(c, name);
        struct cache_kept *k;
        struct cache_layer l;

        if (written_ms < 0 || is_old(written_ms) || !parse_name(&l, name))
                return false;
        k = malloc(sizeof *k);
        if (!k)
                return false;
        *k = (struct cache_kept){
                .digest = l.digest,
                .form = l.form,
                .written_ms = written_ms,
                .bytes = disk_usage(c, name),
                .is_packed = has_packed(c, name),
        };
        snprintf(k->name, sizeof k->name, "%s", name);
        LOCK_SCOPE(&c->lock);
        k->next = c->kept;
        c->kept = k;
        return true;
}

/* Lock held. */
static struct cache_kept *unlink_kept(struct cache_kept **at) {
        struct cache_kept *k = *at;

        *at = k->next;
        k->next = NULL;
        return k;
}

/* NULL: there is none of that name. */
static struct cache_kept *unlink_name(struct cache *c, const char *name) {
        LOCK_SCOPE(&c->lock);

        for (struct cache_kept **at = &c->kept; *at; at = &(*at)->next)
                if (strcmp((*at)->name, name) == 0)
                        return unlink_kept(at);
        return NULL;
}

void cache_kept_take(struct cache *c, const char *name) {
        free(unlink_name(c, name));
}

uint64_t cache_kept_bytes(struct cache *c, bool held) {
        LOCK_SCOPE(&c->lock);
        uint64_t bytes = 0;

        for (const struct cache_kept *k = c->kept; k; k = k->next)
                if ((cache_is_held(c, &k->digest) && !k->is_packed) == held)
                        bytes += k->bytes;
        return bytes;
}

void cache_kept_free_list(struct cache *c) {
        while (c->kept)
                free(unlink_kept(&c->kept));
}

/* ---- dropping ---- */

/* Off the list already; the layer's guard is ours. */
static int discard(struct cache *c, struct cache_kept *k, const char *why, struct error *e) {
        char size[TEXT_SHORT];
        int r = cache_discard(c, c->staging_fd, k->name, e);

        log_info("What was fetched of %.*s, %s, is given up: %s", (int)HEX_LEN, k->name,
                 text_format_size(k->bytes, size), why);
        free(k);
        return r;
}

int cache_kept_drop_layer(struct cache *c, const struct digest *digest, enum cache_form form, const char *but,
                          const char *why, struct error *e) {
        int r = 0;

        while (r >= 0) {
                struct cache_kept *found = NULL;
                {
                        LOCK_SCOPE(&c->lock);
                        for (struct cache_kept **at = &c->kept; *at && !found;) {
                                struct cache_kept *k = *at;
                                if (k->form == form && digest_equal(&k->digest, digest) &&
                                    !(but && strcmp(k->name, but) == 0))
                                        found = unlink_kept(at);
                                else
                                        at = &k->next;
                        }
                }
                if (!found)
                        return 0;
                r = discard(c, found, why, e);
        }
        return r;
}

/* The one that nobody has gone on with for longest; @held: also one that a job holds. */
static bool find_oldest(struct cache *c, bool held, char name[static CACHE_STAGING_NAME_MAX],
                        int64_t *ret_written_ms) {
        LOCK_SCOPE(&c->lock);
        const struct cache_kept *oldest = NULL;

        for (const struct cache_kept *k = c->kept; k; k = k->next)
                if ((held || !cache_is_held(c, &k->digest)) &&
                    (!oldest || k->written_ms <= oldest->written_ms))
                        oldest = k;
        if (!oldest)
                return false;
        memcpy(name, oldest->name, sizeof oldest->name);
        *ret_written_ms = oldest->written_ms;
        return true;
}

static int drop_name(struct cache *c, const char *name, const char *why, struct error *e) {
        char hex[DIGEST_HEX_SIZE];

        snprintf(hex, sizeof hex, "%s", name);
        CACHE_GUARD_SCOPE(c, CACHE_GUARD_LAYER, hex);
        struct cache_kept *found = unlink_name(c, name);
        return found ? discard(c, found, why, e) : 0; /* else somebody goes on with it */
}

int cache_kept_drop_oldest(struct cache *c, bool held, struct error *e) {
        char name[CACHE_STAGING_NAME_MAX];
        int64_t written_ms;

        if (!find_oldest(c, held, name, &written_ms))
                return 0;
        int r = drop_name(c, name, "the space is needed", e);
        return r < 0 ? r : 1;
}

void cache_kept_expire(struct cache *c) {
        char name[CACHE_STAGING_NAME_MAX];
        int64_t written_ms;
        struct error e;

        while (find_oldest(c, false, name, &written_ms) && is_old(written_ms))
                if (drop_name(c, name, "nobody has gone on with it", &e) < 0)
                        log_warning("staging/%s cannot be removed: %s", name, e.text);
}
