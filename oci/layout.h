/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout: an OCI image layout on disk (image-spec image-layout.md): "oci-layout:DIR[:tag|@digest]". No state:
 * a node that has no network gets its models by a copy into such a directory, and the copy may go on while we
 * look.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "oci/reference.h"

/* The entry of index.json that the reference names: by digest, by tag, or the only one. ERROR_NOT_FOUND says
 * which tags there are, ERROR_DATA_LOSS that the entry's size is not the file's. */
int oci_layout_resolve(struct digest *ret, const struct oci_reference *reference, struct error *e);

/* The blob's file, read-only, and how long it is; not verified. Returns the descriptor, to be closed. */
int oci_layout_open(const struct oci_reference *reference, const struct digest *digest, uint64_t *ret_size,
                    struct error *e);

/* A whole small blob, verified; *ret is NUL-terminated and to be freed. ERROR_DATA_LOSS: it is not what its
 * name says. */
int oci_layout_read(char **ret, size_t *ret_len, const struct oci_reference *reference,
                    const struct digest *digest, size_t max, struct error *e);
