/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_builder: where formats put the blobs that they find, and where the rules hold that are the same for
 * all of them: clean paths, no two files in one place, no file where a directory has to be, bounded sizes,
 * the selection.
 *
 *   plan_builder_init -> one oci_format_*() that adds -> plan_builder_finish -> plan_builder_done
 */
#pragma once

#include "oci/manifest.h"
#include "oci/plan.h"
#include "oci/selection.h"

#define PLAN_BLOBS_MAX 8192 /* layers of an artifact and of those it is built on */

struct plan_builder {
        struct model_plan *plan;
        size_t n_allocated; /* places in plan->blobs */
        unsigned source;    /* of the blobs that are added from now on */
};

/* An empty plan of one source, the artifact's own repository. @manifest: its digest. */
int plan_builder_init(struct plan_builder *b, const struct oci_reference *reference,
                      const struct digest *manifest, enum plan_format format, struct error *e);
void plan_builder_done(struct plan_builder *b);
#define _cleanup_builder_ _cleanup_(plan_builder_done)

/* Another repository; the blobs that are added from now on come from there. */
int plan_builder_add_source(struct plan_builder *b, const struct oci_reference *reference, struct error *e);

/* The default root, clean. */
int plan_builder_set_root(struct plan_builder *b, const char *root, bool if_present, struct error *e);

/* A file. @path is as the artifact has it and is cleaned here. */
int plan_builder_add_raw(struct plan_builder *b, const struct oci_descriptor *layer, enum plan_codec codec,
                         const char *path, mode_t mode, int64_t mtime, struct error *e);
/* An archive whose members go below @directory, which is cleaned here. */
int plan_builder_add_tar(struct plan_builder *b, const struct oci_descriptor *layer, enum plan_codec codec,
                         const char *directory, bool whiteouts, struct error *e);

/* A file that no blob holds. Takes @data, which is malloc()ed, even when it fails. */
int plan_builder_add_made(struct plan_builder *b, const char *path, char *data, size_t len, mode_t mode,
                          struct error *e);

/* Checks the whole, leaves out what the selection does not want, sums up. */
int plan_builder_finish(struct model_plan **ret, struct plan_builder *b,
                        const struct oci_selection *selection, struct error *e);
