/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index: what is in the cache, and who uses it, in SQLite, so that questions across many models are one
 * query.
 *
 * A cache of the truth on disk: layers and models are compared with their records at each start; hits, last
 * use, tags and leases live only here. Thread-safe; the mutex is held for one statement or one short
 * transaction.
 *
 * Functions without an error parameter give -ENOENT for "not here" and another negative errno if the database
 * failed. What they return belongs to the caller.
 */
#pragma once

#include "cache/cache.h"
#include "cache/record.h"

struct cache_index;

/* Opens @path; one that is corrupt or of another version is moved to @path.bad and made anew. */
int cache_index_open(struct cache_index **ret, const char *path, struct error *e);
void cache_index_close(struct cache_index *ix);
DEFINE_CLEANUP(struct cache_index *, cache_index_close);

/* ---- at start: between begin and end, put what is on disk; what was not put is gone at the end ---- */

/* begin, put everything, end; or abort, and the index is as it was. */
int cache_index_repair_begin(struct cache_index *ix, struct error *e);
int cache_index_repair_layer(struct cache_index *ix, const struct cache_layer *l, struct error *e);
int cache_index_repair_model(struct cache_index *ix, const struct cache_record *rec, struct error *e);
/* What the index knew of a model before the repair, and still does if this is called between begin and end:
 * it stays, without having been put. -ENOENT without a text: not enough for a record. */
int cache_index_repair_keep(struct cache_index *ix, const struct digest *key, struct cache_record **ret,
                            struct error *e);
int cache_index_repair_end(struct cache_index *ix, struct error *e);
void cache_index_repair_abort(struct cache_index *ix);

/* ---- tags ---- */

/* @ret_ms (may be NULL): when it was put. */
int cache_index_tag_get(struct cache_index *ix, const char *reference, struct digest *ret, int64_t *ret_ms);
/* Beyond some thousands the oldest are forgotten. */
int cache_index_tag_put(struct cache_index *ix, const char *reference, const struct digest *d, int64_t now_ms,
                        struct error *e);

/* ---- layers ---- */

/* False also if the index failed: then the layer is staged once more. @ret may be NULL. */
bool cache_index_layer_find(struct cache_index *ix, const struct digest *d, enum cache_form form,
                            struct cache_layer *ret);
int cache_index_layer_put(struct cache_index *ix, const struct cache_layer *l, struct error *e);
/* 1: it was there and no model used it, now it is not here; 0: it stays. */
int cache_index_layer_delete_unused(struct cache_index *ix, const struct cache_layer *l, struct error *e);
/* Those that no model uses; *ret is to be freed. */
int cache_index_layers_unused(struct cache_index *ix, struct cache_layer **ret, size_t *ret_n,
                              struct error *e);

struct cache_index_sums {
        uint64_t models, layers, leases;
        uint64_t bytes;                   /* of all layers */
        uint64_t saved;                   /* bytes that shared layers did not take again */
        uint64_t busy_models, busy_bytes; /* mounted or pinned */
};
int cache_index_sums(struct cache_index *ix, struct cache_index_sums *ret, struct error *e);

/* ---- models; their path is not filled in ---- */

int cache_index_model_find(struct cache_index *ix, const struct digest *key, struct cache_model **ret);
int cache_index_model_list(struct cache_index *ix, struct cache_model ***ret, size_t *ret_n, struct error *e);
/* The row and its layers, in one transaction. Hits and last use of a row that is there stay. */
int cache_index_model_put(struct cache_index *ix, const struct cache_record *rec, struct error *e);
/* With its rows in model_layers. Tags and leases stay. */
int cache_index_model_delete(struct cache_index *ix, const struct digest *key, struct error *e);
/* Sets the last use, and counts a hit if it is one. A model that is not here is success. */
int cache_index_model_used(struct cache_index *ix, const struct digest *key, bool hit, int64_t now_ms,
                           struct error *e);
int cache_index_model_pin(struct cache_index *ix, const struct digest *key, bool pin, int64_t expires_ms,
                          struct error *e);

/* ---- leases ---- */

int cache_index_lease_find(struct cache_index *ix, const char *target, struct cache_lease **ret);
int cache_index_lease_list(struct cache_index *ix, struct cache_lease ***ret, size_t *ret_n, struct error *e);
void cache_lease_list_free(struct cache_lease **list, size_t n);
/* Enters it, or gives the one at this target another volume, model and request; on disk when this returns. */
int cache_index_lease_put(struct cache_index *ix, const char *volume_id, const char *target,
                          const struct digest *key, const char *made_for, int64_t now_ms, struct error *e);
/* Not durable at once: a lease that comes back has no mount, and the next start drops it. */
int cache_index_lease_delete(struct cache_index *ix, const char *target, struct error *e);
