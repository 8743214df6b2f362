/* SPDX-License-Identifier: Apache-2.0 */
/*
 * document: manifests and configs: small, fetched whole, from a registry, its mirrors or a layout, and
 * verified.
 *
 * What the bytes are verified against: the digest that was asked for, else the one that the registry says
 * they have (Docker-Content-Digest), else nothing, and their own digest is the answer.
 */
#pragma once

#include "oci/client_state.h"
#include "oci/manifest.h"

enum oci_document_kind { OCI_DOCUMENT_MANIFEST, OCI_DOCUMENT_BLOB };

struct oci_document {
        char *data; /* NUL-terminated */
        size_t len;
        char *content_type;   /* NULL: not known */
        struct digest digest; /* of @data, always computed */
        bool is_private;      /* not everybody could have asked this */
};
void oci_document_done(struct oci_document *d); /* accepts an empty one */
#define _cleanup_document_ _cleanup_(oci_document_done)

/*
 * @digest NULL: what the reference's tag names (a registry's manifest only). At most @max bytes.
 * ERROR_DATA_LOSS: the bytes did not match their digest, twice.
 */
int oci_document_fetch(struct oci_document *ret, struct oci_client *c, const struct oci_request *r,
                       enum oci_document_kind kind, const struct digest *digest, size_t max, struct error *e);
