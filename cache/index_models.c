/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_models: the rows of models and the layers that they use.
 *
 * A row is a copy of the model's record, and what only the index counts: hits and last use. Putting a model
 * that has a row leaves these two alone. Its layers are added to those that are there; only the repair takes
 * them away first. The number of mounts is no column: it is counted from the leases when the row is read. The
 * path is no business of the index: model.c fills it in.
 *
 * Every function takes the index's lock, except cache_index_enter_model(), whose caller holds it.
 */
#include "cache/index_private.h"

#include <string.h>

static int read_model(struct cache_model **ret, sqlite3_stmt *st, struct error *e) {
        _cleanup_(cache_model_freep) struct cache_model *m = calloc(1, sizeof *m);
        const char *reference = (const char *)sqlite3_column_text(st, 2);
        int64_t format = sqlite3_column_int64(st, 3);
        int r;

        if (!m || !reference || !(m->reference = strdup(reference)))
                return error_errno(e, ENOMEM, "read a model from the index");
        if ((r = cache_sql_column_digest(&m->key, st, 0, e)) < 0 ||
            (r = cache_sql_column_digest(&m->manifest, st, 1, e)) < 0)
                return r;
        m->format = format >= 0 && format < _PLAN_FORMAT_MAX ? (enum plan_format)format : PLAN_ARTIFACT;
        m->size = (uint64_t)sqlite3_column_int64(st, 4);
        m->files = (uint64_t)sqlite3_column_int64(st, 5);
        m->is_private = sqlite3_column_int64(st, 6);
        m->created_ms = sqlite3_column_int64(st, 7);
        m->expires_ms = sqlite3_column_int64(st, 8);
        m->pinned = sqlite3_column_int64(st, 9);
        m->last_used_ms = sqlite3_column_int64(st, 10);
        m->hits = (uint64_t)sqlite3_column_int64(st, 11);
        m->mounts = (unsigned)sqlite3_column_int64(st, 12);
        *ret = take_ptr(m);
        return 0;
}

int cache_index_model_find(struct cache_index *ix, const struct digest *key, struct cache_model **ret) {
        LOCK_SCOPE(&ix->lock);
        _cleanup_row_ sqlite3_stmt *st = NULL;
        int r;

        r = cache_sql_start(&st, ix->sql, CACHE_ST_MODEL_FIND, NULL, "d", key);
        if (r < 0 || (r = cache_sql_step(ix->sql, st, NULL)) < 0)
                return r;
        return r > 0 ? read_model(ret, st, NULL) : -ENOENT;
}

static int read_model_into(void *slot, sqlite3_stmt *st, struct error *e) {
        return read_model(slot, st, e);
}

int cache_index_model_list(struct cache_index *ix, struct cache_model ***ret, size_t *ret_n,
                           struct error *e) {
        LOCK_SCOPE(&ix->lock);
        _cleanup_row_ sqlite3_stmt *st = NULL;
        void *list = NULL;
        size_t n = 0;
        int r;

        r = cache_sql_start(&st, ix->sql, CACHE_ST_MODEL_LIST, e, "");
        if (r >= 0)
                r = cache_index_rows(&list, &n, sizeof(struct cache_model *), ix, st, read_model_into, e);
        if (r < 0) {
                cache_model_list_free(list, n);
                return r;
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

int cache_index_enter_model(struct cache_index *ix, const struct cache_record *rec, struct error *e) {
        const struct cache_model *m = &rec->model;
        int r;

        r = cache_sql_run(ix->sql, CACHE_ST_MODEL_PUT, e, "ddsiiiiiiii", &m->key, &m->manifest, m->reference,
                          (int64_t)m->format, (int64_t)m->size, (int64_t)m->files, (int64_t)m->is_private,
                          m->created_ms, m->expires_ms, (int64_t)m->pinned, m->last_used_ms);
        for (size_t i = 0; r >= 0 && i < rec->n_layers; i++)
                r = cache_sql_run(ix->sql, CACHE_ST_MODEL_LAYER_PUT, e, "ddi", &m->key,
                                  &rec->layers[i].digest, (int64_t)rec->layers[i].form);
        return r < 0 ? r : 0;
}

int cache_index_model_put(struct cache_index *ix, const struct cache_record *rec, struct error *e) {
        LOCK_SCOPE(&ix->lock);
        int r;

        r = cache_sql_exec(ix->sql, "BEGIN IMMEDIATE", e);
        if (r < 0)
                return r;
        r = cache_index_enter_model(ix, rec, e);
        if (r >= 0)
                r = cache_sql_exec(ix->sql, "COMMIT", e);
        if (r < 0)
                (void)cache_sql_exec(ix->sql, "ROLLBACK", NULL);
        return r;
}

int cache_index_model_delete(struct cache_index *ix, const struct digest *key, struct error *e) {
        LOCK_SCOPE(&ix->lock);
        int r = cache_sql_run(ix->sql, CACHE_ST_MODEL_DELETE, e, "d", key);

        return r < 0 ? r : 0;
}

int cache_index_model_used(struct cache_index *ix, const struct digest *key, bool hit, int64_t now_ms,
                           struct error *e) {
        LOCK_SCOPE(&ix->lock);
        int r = cache_sql_run(ix->sql, CACHE_ST_MODEL_USED, e, "dii", key, now_ms, (int64_t)hit);

        return r < 0 ? r : 0;
}

int cache_index_model_pin(struct cache_index *ix, const struct digest *key, bool pin, int64_t expires_ms,
                          struct error *e) {
        LOCK_SCOPE(&ix->lock);
        int r = cache_sql_run(ix->sql, CACHE_ST_MODEL_PIN, e, "dii", key, (int64_t)pin, expires_ms);

        return r < 0 ? r : 0;
}
