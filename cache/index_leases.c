/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_leases: what references meant, and what is mounted where.
 *
 *   tag     a reference, as text -> the manifest that it meant when it was last resolved, and when that was.
 *           Losing one costs a question to the registry; there are TAGS_MAX of them at most
 *   lease   a target -> volume, model, made for which request. Losing one would leave a mount without an
 *           owner; so it is on the disk before the mount is made (lease.c), and there is no limit
 *
 * Every function takes the index's lock.
 */
#include "cache/index_private.h"

#include <string.h>

#define TAGS_MAX 10000 /* pods choose references: beyond this the oldest are forgotten */

/* ---- tags ---- */

int cache_index_tag_get(struct cache_index *ix, const char *reference, struct digest *ret, int64_t *ret_ms) {
        LOCK_SCOPE(&ix->lock);
        _cleanup_row_ sqlite3_stmt *st = NULL;
        struct digest d;
        int r;

        r = cache_sql_start(&st, ix->sql, CACHE_ST_TAG_GET, NULL, "s", reference);
        if (r < 0 || (r = cache_sql_step(ix->sql, st, NULL)) < 0)
                return r;
        if (r == 0)
                return -ENOENT;
        r = cache_sql_column_digest(&d, st, 0, NULL);
        if (r < 0)
                return r;
        *ret = d;
        if (ret_ms)
                *ret_ms = sqlite3_column_int64(st, 1);
        return 0;
}

static int read_digest_into(void *slot, sqlite3_stmt *st, struct error *e) {
        return cache_sql_column_digest(slot, st, 0, e);
}

int cache_index_tag_list(struct cache_index *ix, const char *reference, struct digest **ret, size_t *ret_n,
                         struct error *e) {
        LOCK_SCOPE(&ix->lock);
        _cleanup_row_ sqlite3_stmt *st = NULL;
        _cleanup_free_ void *list = NULL;
        size_t n = 0;
        int r = cache_sql_start(&st, ix->sql, CACHE_ST_TAG_LIST, e, "s", reference);

        if (r >= 0)
                r = cache_index_rows(&list, &n, sizeof **ret, ix, st, read_digest_into, e);
        if (r < 0)
                return r;
        *ret = take_ptr(list);
        *ret_n = n;
        return 0;
}

int cache_index_tag_put(struct cache_index *ix, const char *reference, const struct digest *d, int64_t now_ms,
                        struct error *e) {
        LOCK_SCOPE(&ix->lock);
        int r;

        r = cache_sql_run(ix->sql, CACHE_ST_TAG_PUT, e, "sdi", reference, d, now_ms);
        if (r >= 0)
                r = cache_sql_run(ix->sql, CACHE_ST_TAG_TRIM, e, "i", (int64_t)TAGS_MAX);
        return r < 0 ? r : 0;
}

/* ---- leases ---- */

void cache_lease_free(struct cache_lease *l) {
        if (!l)
                return;
        free(l->volume_id);
        free(l->target);
        free(l->made_for);
        free(l);
}

void cache_lease_list_free(struct cache_lease **list, size_t n) {
        for (size_t i = 0; i < n; i++)
                cache_lease_free(list[i]);
        free(list);
}

static int read_lease(struct cache_lease **ret, sqlite3_stmt *st, struct error *e) {
        _cleanup_(cache_lease_freep) struct cache_lease *l = calloc(1, sizeof *l);
        const char *target = (const char *)sqlite3_column_text(st, 0);
        const char *volume = (const char *)sqlite3_column_text(st, 1);
        const char *made_for = (const char *)sqlite3_column_text(st, 4);
        int r;

        if (!l || !target || !volume || !made_for || !(l->target = strdup(target)) ||
            !(l->volume_id = strdup(volume)) || !(l->made_for = strdup(made_for)))
                return error_errno(e, ENOMEM, "read a lease from the index");
        r = cache_sql_column_digest(&l->key, st, 2, e);
        if (r < 0)
                return r;
        l->since_ms = sqlite3_column_int64(st, 3);
        *ret = take_ptr(l);
        return 0;
}

int cache_index_lease_find(struct cache_index *ix, const char *target, struct cache_lease **ret) {
        LOCK_SCOPE(&ix->lock);
        _cleanup_row_ sqlite3_stmt *st = NULL;
        int r;

        r = cache_sql_start(&st, ix->sql, CACHE_ST_LEASE_FIND, NULL, "s", target);
        if (r < 0 || (r = cache_sql_step(ix->sql, st, NULL)) < 0)
                return r;
        return r > 0 ? read_lease(ret, st, NULL) : -ENOENT;
}

static int read_lease_into(void *slot, sqlite3_stmt *st, struct error *e) {
        return read_lease(slot, st, e);
}

int cache_index_lease_list(struct cache_index *ix, struct cache_lease ***ret, size_t *ret_n,
                           struct error *e) {
        LOCK_SCOPE(&ix->lock);
        _cleanup_row_ sqlite3_stmt *st = NULL;
        void *list = NULL;
        size_t n = 0;
        int r;

        r = cache_sql_start(&st, ix->sql, CACHE_ST_LEASE_LIST, e, "");
        if (r >= 0)
                r = cache_index_rows(&list, &n, sizeof(struct cache_lease *), ix, st, read_lease_into, e);
        if (r < 0) {
                cache_lease_list_free(list, n);
                return r;
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

int cache_index_lease_put(struct cache_index *ix, const char *volume_id, const char *target,
                          const struct digest *key, const char *made_for, int64_t now_ms, struct error *e) {
        LOCK_SCOPE(&ix->lock);
        int r;

        /* The one transaction that waits for the disk: a lease says whose a mount is, and nothing else does.
         */
        r = cache_sql_exec(ix->sql, "PRAGMA synchronous=FULL", e);
        if (r < 0)
                return r;
        r = cache_sql_run(ix->sql, CACHE_ST_LEASE_PUT, e, "ssdis", target, volume_id, key, now_ms, made_for);
        (void)cache_sql_exec(ix->sql, "PRAGMA synchronous=NORMAL", NULL);
        return r < 0 ? r : 0;
}

int cache_index_lease_delete(struct cache_index *ix, const char *target, struct error *e) {
        LOCK_SCOPE(&ix->lock);
        int r = cache_sql_run(ix->sql, CACHE_ST_LEASE_DELETE, e, "s", target);

        return r < 0 ? r : 0;
}
