/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_private: what the files of the index share.
 *
 * A query in its usual form: LOCK_SCOPE(&ix->lock), a _cleanup_row_ statement, cache_sql_start() with the
 * parameters, cache_sql_step() until 0. The cleanup resets the statement before the lock is let go.
 */
#pragma once

#include "cache/index.h"
#include "cache/sql.h"

#include <limits.h>
#include <pthread.h>

struct cache_index {
        pthread_mutex_t lock;  /* guards sql */
        struct cache_sql *sql; /* owned */
};

enum { /* statements, by their place in the table of index.c */
       CACHE_ST_LAYER_FIND,
       CACHE_ST_LAYER_PUT,
       CACHE_ST_LAYER_DELETE_UNUSED,
       CACHE_ST_LAYERS_UNUSED,
       CACHE_ST_SUMS,
       CACHE_ST_MODEL_FIND,
       CACHE_ST_MODEL_LIST,
       CACHE_ST_MODEL_PUT,
       CACHE_ST_MODEL_LAYER_PUT,
       CACHE_ST_MODEL_LAYERS,
       CACHE_ST_MODEL_LAYERS_DELETE,
       CACHE_ST_MODEL_DELETE,
       CACHE_ST_MODEL_USED,
       CACHE_ST_MODEL_PIN,
       CACHE_ST_TAG_GET,
       CACHE_ST_TAG_LIST,
       CACHE_ST_TAG_PUT,
       CACHE_ST_TAG_TRIM,
       CACHE_ST_LEASE_FIND,
       CACHE_ST_LEASE_LIST,
       CACHE_ST_LEASE_PUT,
       CACHE_ST_LEASE_DELETE,
       CACHE_ST_REPAIR_SEEN,
       _CACHE_ST_MAX,
};

/* The rows of a started statement as a list of things of @size bytes, to be freed: @read fills each one from
 * its row; it may be a pointer to a thing of its own. What was read belongs to the caller, also when it
 * fails. The caller holds the lock. */
int cache_index_rows(void **ret, size_t *ret_n, size_t size, struct cache_index *ix, sqlite3_stmt *st,
                     int (*read)(void *slot, sqlite3_stmt *st, struct error *e), struct error *e);

/* Model and layers, inside the caller's transaction; the caller holds the lock. */
int cache_index_enter_model(struct cache_index *ix, const struct cache_record *rec, struct error *e);
