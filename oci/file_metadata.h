/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_metadata: what ModelPack, ModelKit and Docker's models say about a file in a layer's annotations.
 *
 *   org.cncf.model.filepath             "weights/model-00001.safetensors"
 *   org.cncf.model.file.metadata+json   {"name": "...", "mode": 420, "mtime": "2025-01-31T12:00:00Z",
 *                                        "typeflag": 48}
 *
 * Both may be missing, and older names of both are read as well. Owners, sizes and all else in it are not
 * looked at.
 */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct oci_file_metadata {
        char *name;        /* NULL: not told */
        mode_t mode;       /* permission bits; 0: not told */
        int64_t mtime;     /* seconds since 1970; 0: not told */
        bool is_directory; /* such a layer brings no file */
};

/* The annotations' filepath, also under its older name; NULL: none. */
const char *oci_file_path(const json_t *annotations);

/* No metadata at all is an empty result. ERROR_INVALID: malformed, or the entry is neither a file nor a
 * directory. */
int oci_file_metadata_read(struct oci_file_metadata *ret, const json_t *annotations, struct error *e);
void oci_file_metadata_done(struct oci_file_metadata *m);
#define _cleanup_metadata_ _cleanup_(oci_file_metadata_done)
