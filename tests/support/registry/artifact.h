/* SPDX-License-Identifier: Apache-2.0 */
/*
 * artifact: a synthetic model as a registry shows it: a manifest and a config in memory around blobs that are
 * computed. raw: a ModelPack artifact with a blob a file. tar: a container image (modelcar) with one
 * plain-tar layer.
 */
#pragma once

#include "store.h"

struct artifact;

/* The digest of blob @index of @name if it need not be computed, else NULL. */
typedef const char *artifact_known_digest(const void *userdata, const char *name, unsigned index);

/* @spec "raw|tar:SIZE[:N[:SEED]]"; without SEED it is @name. NULL: not that, or out of memory. */
struct artifact *artifact_new(const char *name, const char *spec, artifact_known_digest *known,
                              const void *userdata);
void artifact_free(struct artifact *a);
DEFINE_CLEANUP(struct artifact *, artifact_free);

bool artifact_open_manifest(const struct artifact *a, const char *reference, struct content *ret);
bool artifact_open_blob(const struct artifact *a, const char *digest, struct content *ret);
json_t *artifact_files(const struct artifact *a);

/* "4096", "64KiB", "2GiB": bytes; 0 if it is none. */
uint64_t artifact_parse_size(const char *text);
