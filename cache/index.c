/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index: the schema and every query. Life cycle, repair, layers and sums are here; models in index_models.c;
 * tags and leases in index_leases.c.
 *
 *   layers        digest, form -> sizes, files, private, origin          copied from the layer's record
 *   models        key -> manifest, reference, format, sizes, pin, ...    copied from the model's record;
 *                        last_used_ms, hits                              only here
 *   model_layers  model -> digest, form                                  what the tree was linked from
 *   tags          reference -> manifest digest, when it was resolved     only here
 *   leases        target -> volume, model, since when, made for what     only here
 *   seen          key                                                    temporary: put since repair_begin()
 *
 * A layer is in use while model_layers names it; rows there go with their model. A lease names its model
 * without a reference between the tables: it may outlive the row.
 *
 * Repair: begin() empties `layers` and `seen`; what is on disk is put, which keeps the hits of models that
 * have a row; end() deletes the models that were not seen. Until end() it is one transaction.
 *
 * No transaction is left open between two calls, except by the repair at start, when nobody else is here.
 */
#include "cache/index_private.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define SCHEMA_VERSION 2

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE layers (digest BLOB NOT NULL, form INTEGER NOT NULL, size INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, files INTEGER NOT NULL, private INTEGER NOT NULL, origin BLOB NOT NULL,"
    " PRIMARY KEY (digest, form)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE models (key BLOB PRIMARY KEY, manifest BLOB NOT NULL, reference TEXT NOT NULL,"
    " format INTEGER NOT NULL, size INTEGER NOT NULL, files INTEGER NOT NULL, private INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, pinned INTEGER NOT NULL,"
    " last_used_ms INTEGER NOT NULL, hits INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE model_layers (model BLOB NOT NULL REFERENCES models ON DELETE CASCADE, digest BLOB NOT "
    "NULL,"
    " form INTEGER NOT NULL, PRIMARY KEY (model, digest, form)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX model_layers_by_layer ON model_layers (digest, form);"
    "CREATE TABLE tags (reference TEXT PRIMARY KEY, digest BLOB NOT NULL, resolved_ms INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID;"
    "CREATE INDEX tags_by_age ON tags (resolved_ms);"
    /* No reference to models: a lease outlives its model's row if the mount does. */
    "CREATE TABLE leases (target TEXT PRIMARY KEY, volume TEXT NOT NULL, model BLOB NOT NULL,"
    " since_ms INTEGER NOT NULL, made_for TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX leases_by_model ON leases (model);"
    "PRAGMA user_version = 2;"
    "COMMIT";
_Static_assert(SCHEMA_VERSION == 2, "the number in the schema is the version");

#define MODEL_COLUMNS \
        "key, manifest, reference, format, size, files, private, created_ms, expires_ms, pinned," \
        " last_used_ms, hits, (SELECT count(*) FROM leases WHERE leases.model = models.key)"

static const char *const statements[_CACHE_ST_MAX] = {
        [CACHE_ST_LAYER_FIND] = "SELECT digest, form, size, bytes, files, private, origin FROM layers WHERE "
                                "digest = ? AND form = ?",
        [CACHE_ST_LAYER_PUT] = "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?, ?, ?)",
        [CACHE_ST_LAYER_DELETE_UNUSED] =
            "DELETE FROM layers WHERE digest = ?1 AND form = ?2 AND NOT EXISTS"
            " (SELECT 1 FROM model_layers m WHERE m.digest = ?1 AND m.form = ?2)",
        [CACHE_ST_LAYERS_UNUSED] =
            "SELECT digest, form, size, bytes, files, private, origin FROM layers l WHERE NOT EXISTS"
            " (SELECT 1 FROM model_layers m WHERE m.digest = l.digest AND m.form = l.form)",
        [CACHE_ST_SUMS] =
            "SELECT (SELECT count(*) FROM models), (SELECT count(*) FROM layers),"
            " (SELECT count(*) FROM leases), (SELECT coalesce(sum(bytes), 0) FROM layers),"
            " (SELECT coalesce(sum((n - 1) * bytes), 0) FROM (SELECT digest, form, count(*) AS n"
            "  FROM model_layers GROUP BY digest, form) JOIN layers USING (digest, form)),"
            " count(*), coalesce(sum(size), 0) FROM models"
            " WHERE pinned OR EXISTS (SELECT 1 FROM leases WHERE leases.model = models.key)",
        [CACHE_ST_MODEL_FIND] = "SELECT " MODEL_COLUMNS " FROM models WHERE key = ?",
        [CACHE_ST_MODEL_LIST] = "SELECT " MODEL_COLUMNS " FROM models ORDER BY reference, key",
        [CACHE_ST_MODEL_PUT] =
            "INSERT INTO models (key, manifest, reference, format, size, files, private, created_ms,"
            " expires_ms, pinned, last_used_ms, hits) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)"
            " ON CONFLICT DO UPDATE SET manifest = excluded.manifest, reference = excluded.reference,"
            " format = excluded.format, size = excluded.size, files = excluded.files,"
            " private = excluded.private, created_ms = excluded.created_ms,"
            " expires_ms = excluded.expires_ms, pinned = excluded.pinned",
        [CACHE_ST_MODEL_LAYER_PUT] = "INSERT OR IGNORE INTO model_layers VALUES (?, ?, ?)",
        [CACHE_ST_MODEL_LAYERS] = "SELECT digest, form FROM model_layers WHERE model = ?",
        [CACHE_ST_MODEL_LAYERS_DELETE] = "DELETE FROM model_layers WHERE model = ?",
        [CACHE_ST_MODEL_DELETE] = "DELETE FROM models WHERE key = ?",
        [CACHE_ST_MODEL_USED] =
            "UPDATE models SET last_used_ms = max(last_used_ms, ?2), hits = hits + ?3 WHERE key = ?1",
        [CACHE_ST_MODEL_PIN] = "UPDATE models SET pinned = ?2, expires_ms = ?3 WHERE key = ?1",
        [CACHE_ST_TAG_GET] = "SELECT digest, resolved_ms FROM tags WHERE reference = ?",
        [CACHE_ST_TAG_LIST] = "SELECT DISTINCT digest FROM tags WHERE reference = ?1"
                              " OR (reference >= ?1 || '#' AND reference < ?1 || '$')",
        [CACHE_ST_TAG_PUT] = "INSERT OR REPLACE INTO tags VALUES (?, ?, ?)",
        [CACHE_ST_TAG_TRIM] =
            "DELETE FROM tags WHERE reference IN (SELECT reference FROM tags ORDER BY resolved_ms LIMIT"
            " max(0, (SELECT count(*) FROM tags) - ?))",
        [CACHE_ST_LEASE_FIND] =
            "SELECT target, volume, model, since_ms, made_for FROM leases WHERE target = ?",
        [CACHE_ST_LEASE_LIST] =
            "SELECT target, volume, model, since_ms, made_for FROM leases ORDER BY target",
        [CACHE_ST_LEASE_PUT] =
            "INSERT INTO leases VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET volume = excluded.volume,"
            " model = excluded.model, made_for = excluded.made_for",
        [CACHE_ST_LEASE_DELETE] = "DELETE FROM leases WHERE target = ?",
        [CACHE_ST_REPAIR_SEEN] = "INSERT OR IGNORE INTO seen VALUES (?)",
};

/* Column 1 of what has a layer's identity in front. */
static int read_form(enum cache_form *ret, sqlite3_stmt *st, struct error *e) {
        int64_t form = sqlite3_column_int64(st, 1);

        if (form < 0 || form >= _CACHE_FORM_MAX)
                return error_errno(e, EBADMSG, "the index knows a layer of form %lld", (long long)form);
        *ret = (enum cache_form)form;
        return 0;
}

/* ---- life cycle ---- */

/* -EBADMSG: there is a file, and it is not an index of this version that can be used. */
static int open_sound(struct cache_sql **ret, const char *path, struct error *e) {
        _cleanup_(cache_sql_closep) struct cache_sql *s = NULL;
        int64_t version;
        int r;

        if ((r = cache_sql_open(&s, path, e)) < 0 || (r = cache_sql_get_version(s, &version, e)) < 0)
                return r;
        if (version == 0)
                r = cache_sql_exec(s, schema, e);
        else if (version != SCHEMA_VERSION)
                r = error_errno(e, EBADMSG, "index %s: version %lld", path, (long long)version);
        if (r < 0)
                return r;
        r = cache_sql_exec(s, "CREATE TEMP TABLE seen (key BLOB PRIMARY KEY) STRICT, WITHOUT ROWID", e);
        if (r < 0)
                return r;
        if (cache_sql_prepare(s, statements, _CACHE_ST_MAX, e) <
            0) /* our version number over foreign tables */
                return error_errno(e, EBADMSG, "index %s: not our tables", path);
        *ret = take_ptr(s);
        return 0;
}

/* Its log goes: with another database it would be wrong. */
static int move_away(const char *path, struct error *e) {
        static const char *const logs[] = { "-wal", "-shm" };
        char from[PATH_MAX], to[PATH_MAX];

        for (size_t i = 0; i < sizeof logs / sizeof *logs; i++) {
                snprintf(from, sizeof from, "%s%s", path, logs[i]);
                if (unlink(from) < 0 && errno != ENOENT)
                        return error_errno(e, errno, "remove %s", from);
        }
        snprintf(to, sizeof to, "%s.bad", path);
        if (rename(path, to) < 0)
                return error_errno(e, errno, "move the broken index %s away", path);
        return 0;
}

int cache_index_open(struct cache_index **ret, const char *path, struct error *e) {
        _cleanup_(cache_index_closep) struct cache_index *ix = NULL;
        struct error why;
        int r;

        ix = calloc(1, sizeof *ix);
        if (!ix)
                return error_errno(e, ENOMEM, "open index %s", path);
        pthread_mutex_init(&ix->lock, NULL);
        r = open_sound(&ix->sql, path, &why);
        if (r == -EBADMSG) {
                log_warning("%s; it is kept as %s.bad and made again from the records", why.text, path);
                r = move_away(path, e);
                if (r < 0)
                        return r;
                r = open_sound(&ix->sql, path, &why);
        }
        if (r < 0)
                return error_copy(e, &why);
        *ret = take_ptr(ix);
        return 0;
}

void cache_index_close(struct cache_index *ix) {
        if (!ix)
                return;
        cache_sql_close(ix->sql);
        pthread_mutex_destroy(&ix->lock);
        free(ix);
}

/* ---- repair ---- */

int cache_index_repair_begin(struct cache_index *ix, struct error *e) {
        LOCK_SCOPE(&ix->lock);

        return cache_sql_exec(ix->sql, "BEGIN IMMEDIATE; DELETE FROM seen; DELETE FROM layers", e);
}

int cache_index_repair_layer(struct cache_index *ix, const struct cache_layer *l, struct error *e) {
        return cache_index_layer_put(ix, l, e);
}

int cache_index_repair_model(struct cache_index *ix, const struct cache_record *rec, struct error *e) {
        LOCK_SCOPE(&ix->lock);
        int r;

        if ((r = cache_sql_run(ix->sql, CACHE_ST_MODEL_LAYERS_DELETE, e, "d", &rec->model.key)) < 0 ||
            (r = cache_index_enter_model(ix, rec, e)) < 0 ||
            (r = cache_sql_run(ix->sql, CACHE_ST_REPAIR_SEEN, e, "d", &rec->model.key)) < 0)
                return r;
        return 0;
}

/* The model's layers, into @rec. Lock held. */
static int read_refs(struct cache_index *ix, struct cache_record *rec, struct error *e) {
        _cleanup_row_ sqlite3_stmt *st = NULL;
        size_t size = 0;
        int r;

        r = cache_sql_start(&st, ix->sql, CACHE_ST_MODEL_LAYERS, e, "d", &rec->model.key);
        if (r < 0)
                return r;
        while ((r = cache_sql_step(ix->sql, st, e)) > 0) {
                struct cache_layer_ref *l;

                if (rec->n_layers == size) {
                        l = reallocarray(rec->layers, size = 2 * size + 16, sizeof *l);
                        if (!l)
                                return error_errno(e, ENOMEM, "read the layers of a model");
                        rec->layers = l;
                }
                l = &rec->layers[rec->n_layers++];
                r = cache_sql_column_digest(&l->digest, st, 0, e);
                if (r < 0)
                        return r;
                r = read_form(&l->form, st, e);
                if (r < 0)
                        return r;
        }
        return r;
}

int cache_index_repair_keep(struct cache_index *ix, const struct digest *key, struct cache_record **ret,
                            struct error *e) {
        _cleanup_(cache_record_freep) struct cache_record *rec = calloc(1, sizeof *rec);
        struct cache_model *m;
        int r;

        if (!rec)
                return error_errno(e, ENOMEM, "read a model from the index");
        r = cache_index_model_find(ix, key, &m);
        if (r < 0)
                return r == -ENOENT ? r : error_errno(e, r, "read a model from the index");
        rec->model = *m;
        free(m);
        LOCK_SCOPE(&ix->lock);
        r = read_refs(ix, rec, e);
        if (r < 0)
                return r;
        if (rec->n_layers == 0)
                return -ENOENT;
        r = cache_sql_run(ix->sql, CACHE_ST_REPAIR_SEEN, e, "d", key);
        if (r < 0)
                return r;
        *ret = take_ptr(rec);
        return 0;
}

int cache_index_repair_end(struct cache_index *ix, struct error *e) {
        LOCK_SCOPE(&ix->lock);

        return cache_sql_exec(ix->sql,
                              "DELETE FROM models WHERE key NOT IN (SELECT key FROM seen);"
                              "DELETE FROM model_layers WHERE model NOT IN (SELECT key FROM seen); COMMIT",
                              e);
}

void cache_index_repair_abort(struct cache_index *ix) {
        LOCK_SCOPE(&ix->lock);

        (void)cache_sql_exec(ix->sql, "ROLLBACK", NULL);
}

/* ---- lists ---- */

int cache_index_rows(void **ret, size_t *ret_n, size_t size, struct cache_index *ix, sqlite3_stmt *st,
                     int (*read)(void *slot, sqlite3_stmt *st, struct error *e), struct error *e) {
        size_t room = 0;
        int r;

        *ret = NULL;
        *ret_n = 0;
        while ((r = cache_sql_step(ix->sql, st, e)) > 0) {
                if (*ret_n == room) {
                        void *more = reallocarray(*ret, room = 2 * room + 16, size);

                        if (!more)
                                return error_errno(e, ENOMEM, "list what the index has");
                        *ret = more;
                }
                r = read((char *)*ret + *ret_n * size, st, e);
                if (r < 0)
                        return r;
                ++*ret_n;
        }
        return r;
}

/* ---- layers ---- */

static int read_layer(struct cache_layer *ret, sqlite3_stmt *st, struct error *e) {
        int r;

        if ((r = cache_sql_column_digest(&ret->digest, st, 0, e)) < 0 ||
            (r = read_form(&ret->form, st, e)) < 0 ||
            (r = cache_sql_column_digest(&ret->origin, st, 6, e)) < 0)
                return r;
        ret->size = (uint64_t)sqlite3_column_int64(st, 2);
        ret->bytes = (uint64_t)sqlite3_column_int64(st, 3);
        ret->files = (uint64_t)sqlite3_column_int64(st, 4);
        ret->is_private = sqlite3_column_int64(st, 5);
        return 0;
}

bool cache_index_layer_find(struct cache_index *ix, const struct digest *d, enum cache_form form,
                            struct cache_layer *ret) {
        LOCK_SCOPE(&ix->lock);
        _cleanup_row_ sqlite3_stmt *st = NULL;
        struct cache_layer l = { 0 };

        if (cache_sql_start(&st, ix->sql, CACHE_ST_LAYER_FIND, NULL, "di", d, (int64_t)form) < 0 ||
            cache_sql_step(ix->sql, st, NULL) <= 0 || read_layer(&l, st, NULL) < 0)
                return false;
        if (ret)
                *ret = l;
        return true;
}

int cache_index_layer_put(struct cache_index *ix, const struct cache_layer *l, struct error *e) {
        LOCK_SCOPE(&ix->lock);
        int r = cache_sql_run(ix->sql, CACHE_ST_LAYER_PUT, e, "diiiiid", &l->digest, (int64_t)l->form,
                              (int64_t)l->size, (int64_t)l->bytes, (int64_t)l->files, (int64_t)l->is_private,
                              &l->origin);

        return r < 0 ? r : 0;
}

int cache_index_layer_delete_unused(struct cache_index *ix, const struct cache_layer *l, struct error *e) {
        LOCK_SCOPE(&ix->lock);

        return cache_sql_run(ix->sql, CACHE_ST_LAYER_DELETE_UNUSED, e, "di", &l->digest, (int64_t)l->form);
}

static int read_layer_into(void *slot, sqlite3_stmt *st, struct error *e) {
        return read_layer(slot, st, e);
}

int cache_index_layers_unused(struct cache_index *ix, struct cache_layer **ret, size_t *ret_n,
                              struct error *e) {
        LOCK_SCOPE(&ix->lock);
        _cleanup_row_ sqlite3_stmt *st = NULL;
        _cleanup_free_ void *list = NULL;
        size_t n = 0;
        int r = cache_sql_start(&st, ix->sql, CACHE_ST_LAYERS_UNUSED, e, "");

        if (r >= 0)
                r = cache_index_rows(&list, &n, sizeof **ret, ix, st, read_layer_into, e);
        if (r < 0)
                return r;
        *ret = take_ptr(list);
        *ret_n = n;
        return 0;
}

int cache_index_sums(struct cache_index *ix, struct cache_index_sums *ret, struct error *e) {
        LOCK_SCOPE(&ix->lock);
        _cleanup_row_ sqlite3_stmt *st = NULL;
        int r;

        r = cache_sql_start(&st, ix->sql, CACHE_ST_SUMS, e, "");
        if (r < 0 || (r = cache_sql_step(ix->sql, st, e)) < 0)
                return r;
        *ret = (struct cache_index_sums){
                .models = (uint64_t)sqlite3_column_int64(st, 0),
                .layers = (uint64_t)sqlite3_column_int64(st, 1),
                .leases = (uint64_t)sqlite3_column_int64(st, 2),
                .bytes = (uint64_t)sqlite3_column_int64(st, 3),
                .saved = (uint64_t)sqlite3_column_int64(st, 4),
                .busy_models = (uint64_t)sqlite3_column_int64(st, 5),
                .busy_bytes = (uint64_t)sqlite3_column_int64(st, 6),
        };
        return 0;
}
