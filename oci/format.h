/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format: from a manifest to a plan; the only place that knows what media types mean.
 *
 * No network and no disk in here: the client fetches and verifies, the formats say what they need. One file a
 * format (format_image.c, format_modelpack.c, …); each turns layers into blobs with plan_builder.h and knows
 * nothing of the selection, which is applied to the finished list.
 */
#pragma once

#include "oci/manifest.h"
#include "oci/plan.h"
#include "oci/selection.h"

/* A manifest with what its format wants to see of it. */
struct oci_artifact {
        struct oci_manifest *manifest; /* never an index */
        struct digest digest;          /* of the manifest's bytes */
        char *config;                  /* verified; NULL unless oci_format_needs_config() */
        size_t config_len;
};

void oci_artifact_done(struct oci_artifact *a); /* frees what is inside; accepts an empty one */
#define _cleanup_artifact_ _cleanup_(oci_artifact_done)

struct oci_format_input {
        const struct oci_reference *reference;
        const struct oci_artifact *artifact;
        const struct oci_selection *selection; /* may be NULL */
        /*
         * Fetches another artifact that this one is built on (the parent of a ModelKit), resolved to a
         * manifest like any reference. @reference was written by whoever made the artifact: it is never a
         * layout on disk, and it gets the same policy check as a user's, and credentials only if they are
         * meant for its host (a keyring from oci_keyring_single() is meant for the host of the user's own
         * reference alone).
         */
        int (*fetch)(void *userdata, const struct oci_reference *reference, struct oci_artifact *ret,
                     struct error *e);
        void *userdata;
};

/* Whether the config blob has to be fetched (at most OCI_MANIFEST_MAX bytes of it) before the artifact can be
 * planned. */
bool oci_format_needs_config(const struct oci_manifest *m);

/* The format of a manifest, from its types alone. */
enum plan_format oci_format_of(const struct oci_manifest *m);

/*
 * Plans what the selection wants of the artifact. ERROR_INVALID: the artifact is malformed, unsafe, of a kind
 * that has no files, or the selection leaves nothing of it; ERROR_UNIMPLEMENTED: a format that is known and
 * cannot be served.
 */
int oci_format_plan(struct model_plan **ret, const struct oci_format_input *in, struct error *e);

/* ---- for the formats only ---- */

struct plan_builder;
/* Each adds the blobs of its format, and maybe the default root, to @b. ERROR_INVALID says which layer is
 * wrong. */
int oci_format_image(struct plan_builder *b, const struct oci_format_input *in, struct error *e);
int oci_format_modelpack(struct plan_builder *b, const struct oci_format_input *in, struct error *e);
int oci_format_modelkit(struct plan_builder *b, const struct oci_format_input *in, struct error *e);
int oci_format_docker(struct plan_builder *b, const struct oci_format_input *in, struct error *e);
int oci_format_artifact(struct plan_builder *b, const struct oci_format_input *in, struct error *e);

/* enum plan_codec of a container image's layer, or -EINVAL. */
int oci_format_image_codec(const char *media_type);
/* enum plan_codec of @packing if it is @kind ("tar", "raw") alone or with "+gzip" or "+zstd" behind it, or
 * -EINVAL. */
int oci_format_codec(const char *packing, const char *kind);
/* Adds a raw layer as its annotations describe it; @name if they name no path. A directory is passed over. */
int oci_format_add_file(struct plan_builder *b, const struct oci_descriptor *layer, enum plan_codec codec,
                        const char *name, struct error *e);
