/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record: the small .json files beside layers and models. They are the truth from which the index is rebuilt,
 * so they hold what must outlive it: what a tree is made of, who may see it, its pin.
 */
#pragma once

#include "base/json.h"
#include "cache/cache.h"

#define RECORD_MAX (8u << 20) /* annotations come from a manifest of at most 4 MiB */

/* A layer by its identity on disk. */
struct cache_layer_ref {
        struct digest digest;
        enum cache_form form;
};

struct cache_record {             /* what a model's record says, as far as the program needs it */
        struct cache_model model; /* without path, hits, mounts; last used is when it was made */
        struct cache_layer_ref *layers;
        size_t n_layers;
};
void cache_record_free(struct cache_record *r);
DEFINE_CLEANUP(struct cache_record *, cache_record_free);

/* What a new model's record says beside its plan. */
struct cache_record_facts {
        const struct digest *key;
        const struct oci_selection *selection; /* may be NULL */
        uint64_t size, files;                  /* of the tree as it was written */
        bool is_private;
        int64_t created_ms; /* since 1970 */
};

/* The text of a layer's record; to be freed. */
int cache_record_layer_print(char **ret, const struct cache_layer *l, struct error *e);
/* -EOPNOTSUPP, here and below: a later version of this program wrote it. */
int cache_record_layer_parse(struct cache_layer *ret, const char *text, size_t len, struct error *e);

/* A new model's record, not pinned. ERROR_INVALID: too many layers, or a name in it is not UTF-8. */
int cache_record_model_new(json_t **ret, const struct model_plan *plan,
                           const struct cache_record_facts *facts, struct error *e);
/* What @rec knows, once more; the rest (annotations, names for people) is lost. */
int cache_record_model_again(json_t **ret, const struct cache_record *rec, struct error *e);
/* Changes pin and expiry (milliseconds since 1970; 0 or less: none) in @record. */
int cache_record_model_pin(json_t *record, bool pin, int64_t expires_ms, struct error *e);
/* The text; to be freed. */
int cache_record_model_print(char **ret, const json_t *record, struct error *e);
/* @ret_json (may be NULL): the tree; the caller owns the reference. */
int cache_record_model_parse(struct cache_record **ret, json_t **ret_json, const char *text, size_t len,
                             struct error *e);
