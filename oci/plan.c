/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan: names of formats, and the end of a plan. How plans are made: plan_builder.c.
 *
 * The names are in the records of models (cache/record.c), in metrics and in the output of the CLI: one that
 * is changed makes cached models unreadable.
 */
#include "oci/plan.h"

#include <errno.h>
#include <string.h>

static const char *const names[] = {
        [PLAN_MODELCAR] = "modelcar",         [PLAN_MODELKIT] = "modelkit", [PLAN_MODELPACK] = "modelpack",
        [PLAN_DOCKER_MODEL] = "docker-model", [PLAN_OLLAMA] = "ollama",     [PLAN_ARTIFACT] = "artifact",
};
_Static_assert(sizeof names / sizeof *names == _PLAN_FORMAT_MAX, "one name per format");

const char *plan_format_name(enum plan_format f) {
        return (unsigned)f < _PLAN_FORMAT_MAX ? names[f] : "unknown";
}

int plan_format_parse(const char *name) {
        for (int f = 0; f < _PLAN_FORMAT_MAX; f++)
                if (strcmp(names[f], name) == 0)
                        return f;
        return -EINVAL;
}

/* The path is none of it: it says where the tree has the blob, not what the blob is. */
bool plan_blob_is_same(const struct plan_blob *a, const struct plan_blob *b) {
        return a->packing == b->packing && a->codec == b->codec && digest_equal(&a->digest, &b->digest);
}

void model_plan_free(struct model_plan *p) {
        if (!p)
                return;
        for (size_t i = 0; i < p->n_blobs; i++) {
                free(p->blobs[i].path);
                free(p->blobs[i].media_type);
        }
        for (size_t i = 0; i < p->n_files; i++) {
                free(p->files[i].path);
                free(p->files[i].data);
        }
        for (size_t i = 0; i < p->n_sources; i++)
                oci_reference_free(p->sources[i]);
        oci_reference_free(p->reference);
        free(p->sources);
        free(p->blobs);
        free(p->files);
        free(p->root);
        json_decref(p->annotations);
        free(p);
}
