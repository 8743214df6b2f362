/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sql: the thin layer between the index and SQLite.
 *
 * WAL with synchronous=NORMAL: a commit is one append without fsync, so counting a hit costs microseconds; it
 * is safe against a killed process always, and against a power cut up to the last checkpoint, which is enough
 * for what can be rebuilt. Who needs more says so for its own transaction (see leases in index_leases.c).
 *
 * Nobody else opens the database while we have it: so the index of the log is in our memory, not in a mapped
 * file, in which a full disk would be a SIGBUS.
 *
 * On a full disk the reserve (headroom.h) is given away once, and what failed is done again if it was no part
 * of a transaction; with a transaction it is the caller who may try again. It is taken back as soon as there
 * is room.
 *
 * Codes: corruption is -EBADMSG, so that the index can move the file away and rebuild it; a full disk is
 * ERROR_NO_SPACE; the rest is ERROR_INTERNAL with SQLite's own words.
 */
#include "cache/sql.h"

#include "base/log.h"
#include "cache/headroom.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_SIZE (4 << 20)   /* SQLite starts it anew after 1000 pages */
#define BUSY_TIMEOUT_MS 5000 /* an operator's sqlite3 shell may hold the lock for a moment */

struct cache_sql {
        sqlite3 *db;
        char *path;                /* of the database, for errors */
        sqlite3_stmt **statements; /* prepared, by id */
        size_t n_statements;
        struct cache_headroom headroom;
};

static bool is_full(const struct cache_sql *s, int code) {
        int error = 0;

        if (s->db && ((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN))
                error = sqlite3_system_errno(s->db);
        return (code & 0xff) == SQLITE_FULL || error == ENOSPC || error == EDQUOT;
}

static int fail(struct cache_sql *s, int code, struct error *e) {
        const char *text = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(code);

        if (is_full(s, code))
                return error_errno(e, ENOSPC, "index %s", s->path);
        switch (code & 0xff) {
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return error_errno(e, EBADMSG, "index %s: %s", s->path, text);
        case SQLITE_BUSY:
                return error_set(e, ERROR_PRECONDITION, "index %s is open in another program; close that",
                                 s->path);
        case SQLITE_NOMEM:
                return error_errno(e, ENOMEM, "index %s", s->path);
        default:
                return error_set(e, ERROR_INTERNAL, "index %s: %s", s->path, text);
        }
}

/* Blocks for the log before they are needed: on a full disk a removal must still be written down. What cannot
 * be had now is asked for again at the next start. The log is not locked with fcntl(), so closing it here
 * drops no lock. */
static int preallocate_log(const struct cache_sql *s) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -1;
        struct stat st;

        if (asprintf(&path, "%s-wal", s->path) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0 || fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, st.st_size + LOG_SIZE) < 0)
                return -errno;
        return 0;
}

/* Half of it is for the log at once, before others write. */
static bool give_headroom(struct cache_sql *s) {
        if (!cache_headroom_give(&s->headroom))
                return false;
        log_warning("the disk of index %s is full; the reserve beside it is used", s->path);
        (void)preallocate_log(s);
        return true;
}

int cache_sql_exec(struct cache_sql *s, const char *sql, struct error *e) {
        bool is_whole = sqlite3_get_autocommit(s->db);
        int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);

        if (is_full(s, code) && give_headroom(s) && is_whole) {
                if (!sqlite3_get_autocommit(s->db))
                        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
                code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
        }
        return code == SQLITE_OK ? 0 : fail(s, code, e);
}

/* The first column of the first row of @sql, copied. */
static int query_text(struct cache_sql *s, const char *sql, char **ret, struct error *e) {
        sqlite3_stmt *st = NULL;
        int code, r = 0;

        code = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
        if (code == SQLITE_OK)
                code = sqlite3_step(st);
        if (code != SQLITE_ROW)
                r = fail(s, code, e);
        if (r == 0) {
                const char *text = (const char *)sqlite3_column_text(st, 0);

                *ret = strdup(text ? text : "");
                if (!*ret)
                        r = error_errno(e, ENOMEM, "index %s", s->path);
        }
        sqlite3_finalize(st);
        return r;
}

static int check_sound(struct cache_sql *s, struct error *e) {
        _cleanup_free_ char *text = NULL;
        int r = query_text(s, "PRAGMA quick_check(1)", &text, e);

        if (r < 0)
                return r;
        if (strcmp(text, "ok") != 0)
                return error_errno(e, EBADMSG, "index %s: %s", s->path, text);
        return 0;
}

int cache_sql_get_version(struct cache_sql *s, int64_t *ret, struct error *e) {
        _cleanup_free_ char *text = NULL;
        int r = query_text(s, "PRAGMA user_version", &text, e);

        if (r < 0)
                return r;
        *ret = strtoll(text, NULL, 10);
        return 0;
}

static char *beside(const char *path, const char *name) {
        const char *slash = strrchr(path, '/');
        char *ret;

        return asprintf(&ret, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name) < 0 ? NULL : ret;
}

int cache_sql_open(struct cache_sql **ret, const char *path, struct error *e) {
        _cleanup_(cache_sql_closep) struct cache_sql *s = NULL;
        int code, r;

        s = calloc(1, sizeof *s);
        if (!s || !(s->path = strdup(path)) || !(s->headroom.path = beside(path, "reserve")))
                return error_errno(e, ENOMEM, "open index %s", path);
        code = sqlite3_open_v2(
            path, &s->db,
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
        if (code != SQLITE_OK)
                return fail(s, code, e);
        sqlite3_busy_timeout(s->db, BUSY_TIMEOUT_MS);
        r = cache_sql_exec(s,
                           "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA "
                           "synchronous=NORMAL; PRAGMA foreign_keys=ON;"
                           "PRAGMA trusted_schema=OFF",
                           e);
        if (r < 0)
                return r;
        r = check_sound(s, e);
        if (r < 0)
                return r;
        if (preallocate_log(s) == -ENOSPC)
                (void)give_headroom(s);
        cache_headroom_take(&s->headroom);
        *ret = take_ptr(s);
        return 0;
}

void cache_sql_close(struct cache_sql *s) {
        if (!s)
                return;
        for (size_t i = 0; i < s->n_statements; i++)
                sqlite3_finalize(s->statements[i]);
        free(s->statements);
        sqlite3_close(s->db);
        free(s->headroom.path);
        free(s->path);
        free(s);
}

int cache_sql_prepare(struct cache_sql *s, const char *const *texts, size_t n, struct error *e) {
        s->statements = calloc(n, sizeof *s->statements);
        if (!s->statements)
                return error_errno(e, ENOMEM, "open index %s", s->path);
        for (size_t i = 0; i < n; i++) {
                int code = sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                              &s->statements[i], NULL);

                if (code != SQLITE_OK)
                        return fail(s, code, e);
                s->n_statements++;
        }
        return 0;
}

static int bind(sqlite3_stmt *st, const char *types, va_list ap) {
        int code = SQLITE_OK;

        for (int i = 1; *types && code == SQLITE_OK; types++, i++)
                switch (*types) {
                case 'd':
                        code = sqlite3_bind_blob(st, i, va_arg(ap, const struct digest *)->bytes,
                                                 sizeof(struct digest), SQLITE_STATIC);
                        break;
                case 's':
                        code = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
                        break;
                case 'i':
                        code = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
                        break;
                default:
                        code = SQLITE_MISUSE;
                }
        return code;
}

static int start(sqlite3_stmt **ret, struct cache_sql *s, unsigned id, struct error *e, const char *types,
                 va_list ap) {
        sqlite3_stmt *st = s->statements[id];
        int code;

        sqlite3_reset(st);
        code = bind(st, types, ap);
        if (code != SQLITE_OK)
                return fail(s, code, e);
        *ret = st;
        return 0;
}

int cache_sql_start(sqlite3_stmt **ret, struct cache_sql *s, unsigned id, struct error *e, const char *types,
                    ...) {
        va_list ap;
        int r;

        va_start(ap, types);
        r = start(ret, s, id, e, types, ap);
        va_end(ap);
        return r;
}

int cache_sql_step(struct cache_sql *s, sqlite3_stmt *st, struct error *e) {
        int code = sqlite3_step(st);

        if (code == SQLITE_ROW)
                return 1;
        if (code == SQLITE_DONE)
                return 0;
        return fail(s, code, e);
}

int cache_sql_run(struct cache_sql *s, unsigned id, struct error *e, const char *types, ...) {
        _cleanup_row_ sqlite3_stmt *st = NULL;
        bool is_whole;
        va_list ap;
        int r;

        va_start(ap, types);
        r = start(&st, s, id, e, types, ap);
        va_end(ap);
        if (r < 0)
                return r;
        is_whole = sqlite3_get_autocommit(s->db);
        r = cache_sql_step(s, st, e);
        if (r == -ENOSPC && give_headroom(s) && is_whole) {
                sqlite3_reset(st);
                r = cache_sql_step(s, st, e);
        }
        if (r < 0)
                return r;
        if (s->headroom.is_given)
                cache_headroom_take(&s->headroom);
        return sqlite3_changes(s->db);
}

void cache_sql_done(sqlite3_stmt *st) {
        sqlite3_reset(st);
        sqlite3_clear_bindings(st);
}

int cache_sql_column_digest(struct digest *ret, sqlite3_stmt *st, int column, struct error *e) {
        const void *bytes = sqlite3_column_blob(st, column);

        if (!bytes || sqlite3_column_bytes(st, column) != (int)sizeof ret->bytes)
                return error_set(e, ERROR_INTERNAL, "the index holds something that is not a digest");
        memcpy(ret->bytes, bytes, sizeof ret->bytes);
        return 0;
}
