/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sql: one SQLite connection with its prepared statements, in our shape of errors.
 *
 * Not thread-safe: the index, its only user, holds a mutex around every call.
 */
#pragma once

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

struct cache_sql;

/* Opens or makes the database at @path, in WAL mode and for us alone. -EBADMSG: what is there is not a sound
 * database. ERROR_PRECONDITION: another program has it open. */
int cache_sql_open(struct cache_sql **ret, const char *path, struct error *e);
void cache_sql_close(struct cache_sql *s);
DEFINE_CLEANUP(struct cache_sql *, cache_sql_close);

/* Statements without parameters and rows, separated by semicolons. */
int cache_sql_exec(struct cache_sql *s, const char *sql, struct error *e);
int cache_sql_get_version(struct cache_sql *s, int64_t *ret, struct error *e); /* user_version; 0: new */

/* Prepares @n statements; their place in @texts is their id. */
int cache_sql_prepare(struct cache_sql *s, const char *const *texts, size_t n, struct error *e);

/*
 * @types, one letter a parameter: 'd' const struct digest *, 's' const char *, 'i' int64_t. Text and digests
 * are borrowed until the statement is reset.
 *
 * cache_sql_start() binds; then cache_sql_step() gives 1 for a row, 0 at the end. cache_sql_run() does it all
 * for a statement without rows, and returns how many rows it changed.
 */
int cache_sql_start(sqlite3_stmt **ret, struct cache_sql *s, unsigned id, struct error *e, const char *types,
                    ...);
int cache_sql_step(struct cache_sql *s, sqlite3_stmt *st, struct error *e);
int cache_sql_run(struct cache_sql *s, unsigned id, struct error *e, const char *types, ...);

/* The statement's row is read: the database is free for others. */
void cache_sql_done(sqlite3_stmt *st);
DEFINE_CLEANUP(sqlite3_stmt *, cache_sql_done);
#define _cleanup_row_ _cleanup_(cache_sql_donep)

/* ERROR_INTERNAL if the column does not hold 32 bytes. */
int cache_sql_column_digest(struct digest *ret, sqlite3_stmt *st, int column, struct error *e);
