/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache: models on this node's disk.
 *
 *   <root>/layers/sha256/<hex>/blob, content, tree/
 *                                            what the blob of this digest holds, in each form that somebody
 *                                            has asked for; beside it its record, blob.json and so on
 *   <root>/models/sha256/<key>/              one model as pods see it: hard links into layers; beside it its
 *                                            record, <key>.json
 *   <root>/staging/<hex>.<form>/              what is being written, or was until it failed
 *   <root>/index.db                          SQLite (WAL): models, layers, tags, leases, pins, last use, hits
 *
 * What is under layers/ or models/ is complete and durable: it got there by one rename after its digest had
 * matched. The index is a cache of the truth on disk (the .json records) and of mountinfo: it is rebuilt when
 * it is missing or broken. Thread-safe. One process at a time: the root is locked.
 */
#pragma once

#include "base/digest.h"
#include "base/settings.h"
#include "oci/plan.h"
#include "oci/selection.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Directories in each other in a layer, with its top: what is opened by its path costs its depth. */
#define CACHE_TREE_DEPTH_MAX 256

struct cache;

/* Makes the root if missing (0700), locks it (ERROR_PRECONDITION: another process has it), removes what a
 * crash left in staging/ and what nobody can go on with, repairs the index, reconciles leases with mountinfo.
 * @s is kept by reference. */
int cache_open(struct cache **ret, const struct settings *s, struct error *e);
void cache_close(struct cache *c);
DEFINE_CLEANUP(struct cache *, cache_close);

/* @changed runs after a model has come (its reference is known then) or gone, on the thread that did it, with
 * nothing locked. To be set before other threads use the cache; it is called until they do so no more. */
void cache_on_change(struct cache *c, void (*changed)(void *userdata), void *userdata);

/* ---- tags: what a reference meant when it was last resolved ---- */

/* @reference: canonical text. -ENOENT without an error text if unknown. @ret_resolved_ms (may be NULL):
 * milliseconds since 1970. */
int cache_tag_get(struct cache *c, const char *reference, struct digest *ret, int64_t *ret_resolved_ms);
/* Now. Forgotten again after many others. */
int cache_tag_put(struct cache *c, const char *reference, const struct digest *digest, struct error *e);

/* ---- layers ---- */

/* The same bytes on the wire may be kept as they are, or decoded, or unpacked: these are different layers. */
enum cache_form {
        CACHE_BLOB,    /* a file, as on the wire */
        CACHE_CONTENT, /* a file, decoded */
        CACHE_TREE,    /* a directory, unpacked */
        _CACHE_FORM_MAX,
};
enum cache_form cache_form_of(const struct plan_blob *b);

struct cache_layer {
        struct digest digest;
        enum cache_form form;
        uint64_t size;        /* of the blob on the wire */
        uint64_t bytes;       /* of the files */
        uint64_t files;       /* regular ones */
        bool is_private;      /* fetched with credentials that not everybody has… */
        struct digest origin; /* …from here (oci_reference_origin()), and nobody else has shown to have it */
};

/* Whoever relies on the answer holds the layer first, see cache_layer_hold(). */
bool cache_layer_find(struct cache *c, const struct digest *digest, enum cache_form form,
                      struct cache_layer *ret /* may be NULL */);

/* Names in a layer's tree, before those of files (image-spec layer.md, "Whiteouts"). */
#define CACHE_WHITEOUT ".wh."
#define CACHE_WHITEOUT_OPAQUE ".wh..wh..opq"
#define CACHE_WHITEOUT_LINK ".wh..wh.link." /* the engine's: a hard link to a file of a lower layer */

/* A layer being written. Its directory descriptor is for the engine: raw data goes to the file "blob" in it,
 * decoded or not, archive members go below the directory "tree". */
struct cache_staging;
/*
 *   begin -> the engine writes -> seal: the layer is in the cache
 *                              -> abort: nothing was ever there
 *                              -> leave: what the file CACHE_JOURNAL speaks for stays for the next begin
 */
#define CACHE_JOURNAL "journal"
#define CACHE_PACKED "packed" /* a compressed blob as it comes, beside what is made of it */
/* @as: digest and form, and whom it would be shown to: what an earlier one has left is found again by whoever
 * asks in the same way, public or with credentials at the same origin. It may be anything, since it may come
 * from before a crash: what is not CACHE_JOURNAL's is to be removed. */
int cache_staging_begin(struct cache_staging **ret, struct cache *c, const struct cache_layer *as,
                        struct error *e);
int cache_staging_dir(const struct cache_staging *s); /* borrowed; "blob" or "tree" is made below it */
/* The digest has matched and every file's data is durable: writes the record, renames, syncs the directories,
 * enters the index. Frees @s in every case. If someone else was faster that is success. */
int cache_staging_seal(struct cache_staging *s, const struct cache_layer *layer, struct error *e);
void cache_staging_abort(struct cache_staging *s); /* removes what is there, frees; NULL is fine */
/* After a failure: without the journal it is an abort. What stays takes space until it is needed elsewhere,
 * or for a day. Frees; NULL is fine. */
void cache_staging_leave(struct cache_staging *s);

/* ---- space ---- */

/* Promises @bytes of disk to a job before its first byte is asked for. ERROR_NO_SPACE says needed, free and
 * what is in the way. Reservations may grow (compressed archives) and shrink (as bytes are written they are
 * no longer only promised). */
struct cache_reservation;
/* Collects layers that nothing uses and drops unfinished ones that wait to be gone on with, the oldest first,
 * if that is what it takes. Zero bytes are fine. What is here of a layer that the caller holds is a part of
 * what it reserves for it. */
int cache_reserve(struct cache_reservation **ret, struct cache *c, uint64_t bytes, struct error *e);
int cache_reservation_grow(struct cache_reservation *r, uint64_t bytes, struct error *e);
/* For what is written only to be gone on with after a failure: counts as written at once, and is only given
 * out if several times as much is free, so that nothing is in want of it. -ENOSPC, or another negative
 * errno. */
int cache_reservation_spare(struct cache_reservation *r, uint64_t bytes);
void cache_reservation_give_back(struct cache_reservation *r, uint64_t bytes); /* it is gone */
/* Never below zero; waits for nothing but a mutex that is held for moments. */
void cache_reservation_consume(struct cache_reservation *r, uint64_t bytes);
void cache_reservation_release(struct cache_reservation *r); /* NULL is fine */

struct cache_space {
        uint64_t capacity, used, reserved, free; /* bytes; free: what a new model may take */
        uint64_t partial;               /* of what is used: unfinished layers that nobody is bringing now */
        uint64_t models, layers, saved; /* how many; bytes that shared layers did not take again */
};
/* Asks the index and the file system; takes no lock while it does. */
int cache_space(struct cache *c, struct cache_space *ret, struct error *e);

/* ---- models ---- */

struct cache_model {
        struct digest key, manifest;
        char *reference; /* canonical, as first asked for */
        enum plan_format format;
        uint64_t size, files;             /* of the tree as pods see it */
        uint64_t hits;                    /* requests that found it here */
        int64_t last_used_ms, created_ms; /* since 1970 */
        unsigned mounts;                  /* leases now */
        bool pinned;
        bool is_private; /* fetched with credentials that not everybody has */
        int64_t
            expires_ms; /* ttl of a warm, since 1970; 0: none. Kept for eviction, which does not exist yet */
        char *path;     /* absolute, of the tree */
};
void cache_model_free(struct cache_model *m);
DEFINE_CLEANUP(struct cache_model *, cache_model_free);

/* -ENOENT without an error text if it is not here. */
int cache_model_find(struct cache *c, const struct digest *key, struct cache_model **ret);
/* Counts a use. */
void cache_model_used(struct cache *c, const struct digest *key, bool hit);
/* All; *ret is to be freed with cache_model_list_free(). */
int cache_model_list(struct cache *c, struct cache_model ***ret, size_t *ret_n, struct error *e);
void cache_model_list_free(struct cache_model **list, size_t n);
/* Models that @text names: a reference (with any selection) or a manifest digest "sha256:…" or its
 * unambiguous prefix of at least 6 hex digits. ERROR_NOT_FOUND if none. A reference names what it meant when
 * it was last resolved, on each platform; models that it meant before are named by their digests. */
int cache_model_match(struct cache *c, const char *text, struct cache_model ***ret, size_t *ret_n,
                      struct error *e);

/*
 * Makes the model's tree from layers that are all here: hard links, later layers win, whiteouts and opaque
 * directories applied, selection applied, durable, one rename. If it is here already that is success.
 * ERROR_INVALID: nothing is selected, the root is missing, or two raw blobs in one place. ERROR_NOT_FOUND: a
 * layer is not here.
 */
int cache_model_build(struct cache *c, const struct digest *key, const struct model_plan *plan,
                      const struct oci_selection *selection, bool is_private, struct error *e);
/* In the record, so that it outlives the index. @expires_ms 0: none. ERROR_NOT_FOUND. */
int cache_model_pin(struct cache *c, const struct digest *key, bool pin, int64_t expires_ms, struct error *e);
/* Tree, record, index entry, and layers that nothing uses any more. ERROR_PRECONDITION while it has leases.
 */
int cache_model_remove(struct cache *c, const struct digest *key, uint64_t *ret_freed, struct error *e);

struct cache_file {
        char *path;
        uint64_t size;
        mode_t mode; /* with the type */
};
/* The tree's regular files in path order; to be freed with cache_file_list_free(). */
int cache_model_files(struct cache *c, const struct digest *key, struct cache_file **ret, size_t *ret_n,
                      struct error *e);
/* The same with its directories and symbolic links: a directory comes before what is in it. */
int cache_model_entries(struct cache *c, const struct digest *key, struct cache_file **ret, size_t *ret_n,
                        struct error *e);
void cache_file_list_free(struct cache_file *list, size_t n);
/* The record as JSON (reference, digest, format, layers, annotations, …); the caller owns the reference. */
int cache_model_record(struct cache *c, const struct digest *key, json_t **ret, struct error *e);

/* Layers in use by a running job must not be collected: hold them from before the check "is it here" to after
 * the build. */
void cache_layer_hold(struct cache *c, const struct digest *digest);
void cache_layer_unhold(struct cache *c, const struct digest *digest);

/* ---- publications: a lease and a mount ---- */

struct cache_lease {
        char *volume_id;   /* CSI's, or "cli"; "": not known */
        char *made_for;    /* what was asked for (stager_request_name()); "": not known */
        char *target;      /* absolute, clean */
        struct digest key; /* of the model */
        int64_t since_ms;  /* since 1970 */
};
void cache_lease_free(struct cache_lease *l);
DEFINE_CLEANUP(struct cache_lease *, cache_lease_free);

/* Lease first, then the mount. The same volume, target and key again is success without a second mount;
 * another key or volume that is mounted there is ERROR_EXISTS. @made_for is kept with it. Makes the last
 * component of @target (0750) if it is missing. */
int cache_publish(struct cache *c, const char *volume_id, const struct digest *key, const char *made_for,
                  const char *target, struct error *e);
/* Unmounts, removes the directory @target if it is empty (unless @keep_target: then it was there before us),
 * then the lease. Not published, or no such path, is success. A mount at the target that shows no model, of
 * this cache or another one, is ERROR_PRECONDITION, and is left alone with the lease. @volume_id NULL: any;
 * another volume's target is success too, and is left alone: this volume has nothing there. */
int cache_unpublish(struct cache *c, const char *volume_id, const char *target, bool keep_target,
                    struct error *e);
/* -ENOENT without an error text. @volume_id NULL: any. A lease without a volume (its mount was found at
 * start) is every volume's. */
int cache_lease_find(struct cache *c, const char *volume_id, const char *target, struct cache_lease **ret);
/* Whether @l's target shows its model now. ERROR_EXISTS: something else is mounted there. */
int cache_lease_is_mounted(bool *ret, struct cache *c, const struct cache_lease *l, struct error *e);
/* 0 if the index cannot be asked. */
unsigned cache_lease_count(struct cache *c);
