/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout: an OCI image layout on disk (image-spec image-layout.md): "oci-layout:DIR[:tag|@digest]". No state:
 * a node that has no network gets its models by a copy into such a directory, and the copy may go on while we
 * look.
 *
 * @listed are the directories that the administrator lets pods have layouts in (policy.layouts: NULL-ended,
 * may be NULL). A layout in or below one of them is opened from there without symbolic links, so that nothing
 * that a tenant puts below leads out of it; any other one is an administrator's, and opened as its path says.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "oci/reference.h"

/* Whether the layout is in or below one of @listed. */
bool oci_layout_is_listed(const struct oci_reference *reference, char *const *listed);

/* The entry of index.json that the reference names: by digest, by tag, or the only one. ERROR_NOT_FOUND says
 * which tags there are, ERROR_DATA_LOSS that the entry's size is not the file's. */
int oci_layout_resolve(struct digest *ret, const struct oci_reference *reference, char *const *listed,
                       struct error *e);

/* The blob's file, read-only, and how long it is; not verified. Returns the descriptor, to be closed. */
int oci_layout_open(const struct oci_reference *reference, char *const *listed, const struct digest *digest,
                    uint64_t *ret_size, struct error *e);

/* A whole small blob, verified; *ret is NUL-terminated and to be freed. ERROR_DATA_LOSS: it is not what its
 * name says. */
int oci_layout_read(char **ret, size_t *ret_len, const struct oci_reference *reference, char *const *listed,
                    const struct digest *digest, size_t max, struct error *e);
