/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest: OCI manifests and indexes and Docker's equivalents, parsed and validated (image-spec manifest.md,
 * image-index.md; manifest.c); and the choice of a platform (platform.c).
 *
 * Both kinds of document are one type, because a reference may name either. All text belongs to the document
 * and lives as long as the manifest. Immutable once parsed.
 *
 *   oci_manifest_parse -> (is_index: oci_index_choose, fetch that, parse again; at most OCI_INDEX_DEPTH_MAX
 *                          times)
 *                      -> oci_format_plan -> oci_manifest_free
 */
#pragma once

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OCI_MANIFEST_MAX (4u * 1024 * 1024) /* bytes of a manifest, an index or a config */
#define OCI_LAYERS_MAX 4096                 /* layers of a manifest, entries of an index */
#define OCI_INDEX_DEPTH_MAX 3               /* indexes that may be passed on the way to a manifest */

#define OCI_TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_TYPE_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_TYPE_CONFIG "application/vnd.oci.image.config.v1+json"
#define OCI_TYPE_EMPTY "application/vnd.oci.empty.v1+json"
#define DOCKER_TYPE_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_TYPE_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define DOCKER_TYPE_CONFIG "application/vnd.docker.container.image.v1+json"

/* For the Accept header of a manifest request. */
#define OCI_MANIFEST_ACCEPT \
        OCI_TYPE_MANIFEST ", " OCI_TYPE_INDEX ", " DOCKER_TYPE_MANIFEST ", " DOCKER_TYPE_LIST

struct oci_descriptor {
        const char *media_type;    /* "" if the document has none */
        const char *artifact_type; /* "" if none */
        struct digest digest;
        uint64_t size;                           /* at most INT64_MAX */
        const json_t *annotations;               /* an object of strings, or NULL */
        const char *os, *architecture, *variant; /* of an index entry; "" if unknown */
};

struct oci_manifest {
        bool is_index;
        const char *artifact_type;     /* "" if none */
        struct oci_descriptor config;  /* of a manifest; media_type "" and size 0 for an index */
        struct oci_descriptor *layers; /* of a manifest its layers, of an index its entries */
        size_t n_layers;
        json_t *annotations; /* an object of strings, or NULL */
        json_t *document;    /* owns all of the above but the array */
};

/*
 * @content_type: the answer's header, or NULL (a layout). Where it and the document's mediaType name
 * different kinds the document is refused, and so is one that is both a manifest and an index, schema 1, a
 * digest that is not SHA-256, more than the caps above. @what names the document in errors. ERROR_INVALID.
 */
int oci_manifest_parse(struct oci_manifest **ret, const char *data, size_t len, const char *content_type,
                       const char *what, struct error *e);
void oci_manifest_free(struct oci_manifest *m);
DEFINE_CLEANUP(struct oci_manifest *, oci_manifest_free);

/*
 * The entry of @index for @platform ("os/arch[/variant]"; NULL: the node's); a manifest or another index. A
 * sole entry that names no platform, or that is an artifact rather than an image, fits everywhere. The entry
 * belongs to @index. ERROR_NOT_FOUND says which platforms there are.
 */
int oci_index_choose(const struct oci_descriptor **ret, const struct oci_manifest *index,
                     const char *platform, struct error *e);

/* "linux/amd64", of the machine that we run on. */
const char *oci_platform_of_node(void);

/* Value of an annotation, or NULL. @annotations may be NULL. */
const char *oci_annotation(const json_t *annotations, const char *key);
