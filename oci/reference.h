/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference: "[oci://]host[:port]/repository[:tag][@digest]" and "oci-layout:DIR[:tag|@digest]".
 *
 * "modelstage://" and KServe's "oci+MODE://" are taken for "oci://". Docker Hub's short names follow Docker's
 * rules ("busybox" is docker.io/library/busybox:latest). With tag and digest the digest decides. The text is
 * canonical: what is accepted prints back to an equal reference.
 *
 * Plain data, immutable once parsed. References come from pods and from artifacts: whoever parses one that an
 * artifact wrote has to refuse layouts, which name directories of this node.
 */
#pragma once

#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>

#define OCI_REFERENCE_MAX 4096

struct oci_reference {
        bool is_layout;
        char *host;       /* "docker.io", "127.0.0.1:5000"; NULL for a layout */
        char *repository; /* "library/busybox"; for a layout the directory, absolute and clean */
        char *tag;        /* NULL if none was given and there is a digest; "latest" if there was neither
                           * (registry); a layout without either has NULL: its only manifest */
        bool has_digest;
        struct digest digest;
        char *text; /* canonical, for people and as a key */
};

/* ERROR_INVALID says what is wrong and where. */
int oci_reference_parse(struct oci_reference **ret, const char *text, struct error *e);
int oci_reference_copy(struct oci_reference **ret, const struct oci_reference *r);
void oci_reference_free(struct oci_reference *r);
DEFINE_CLEANUP(struct oci_reference *, oci_reference_free);

/* Whether one of @globs (NULL-ended) allows it; each may be written with the tag in mind or without. One
 * without a slash, but for "*" and "**", allows nothing. */
bool oci_reference_matches(const struct oci_reference *r, char *const *globs);

/* Kubernetes' default: Always for the tag "latest" and for none, IfNotPresent for other tags and for digests.
 */
bool oci_reference_wants_always(const struct oci_reference *r);
/* Names the repository, whatever tag or digest: equal for references that one permission to read covers. */
int oci_reference_origin(struct digest *ret, const struct oci_reference *r);
/* The text with @digest instead of tag: "host/repo@sha256:…"; to be freed. */
char *oci_reference_pinned(const struct oci_reference *r, const struct digest *digest);
