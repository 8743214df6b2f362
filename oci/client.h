/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client: the registries as one node sees them: which are plain HTTP, whose CA, which mirrors, which
 * administrator's credentials, and the tokens that were handed out. Thread-safe; the calls here block on the
 * network and retry what is worth retrying (408, 429 with Retry-After, 5xx, lost connections) with backoff
 * and jitter.
 */
#pragma once

#include "base/settings.h"
#include "oci/keyring.h"
#include "oci/plan.h"
#include "oci/reference.h"
#include "oci/selection.h"

struct oci_client;

/* @s is kept by reference. Reads credentials.dockerConfig again whenever the file has changed. */
int oci_client_new(struct oci_client **ret, const struct settings *s, struct error *e);
void oci_client_free(struct oci_client *c);
DEFINE_CLEANUP(struct oci_client *, oci_client_free);

/* From a request; @cancelled is polled while waiting, @retrying told why it takes so long (NULL: no longer);
 * both may be NULL. @keyring NULL: the administrator's alone. */
struct oci_request {
        const struct oci_reference *reference;
        const struct oci_keyring *keyring;
        const struct oci_selection *selection; /* platform; may be NULL */
        bool (*cancelled)(void *userdata);
        void (*retrying)(void *userdata, const char *why);
        void *userdata;
};

/*
 * What the reference names now: the digest of its manifest; for an index, of the index. HEAD, or GET where
 * HEAD is not answered. *ret_private: the registry asked for credentials that not everybody has.
 * ERROR_NOT_FOUND, ERROR_UNAUTHENTICATED, ERROR_DENIED, ERROR_UNAVAILABLE, ERROR_INVALID (not a manifest).
 */
int oci_resolve(struct digest *ret, bool *ret_private, struct oci_client *c, const struct oci_request *r,
                struct error *e);

/*
 * Fetches and verifies the manifest @digest (and, through an index, the platform's) and what its format needs
 * to be understood, and plans it. Blobs that the selection leaves out are not in the plan (raw files;
 * archives stay whole).
 */
int oci_plan(struct model_plan **ret, struct oci_client *c, const struct oci_request *r,
             const struct digest *digest, struct error *e);

/* Whether policy.allow lets this node have it; ERROR_DENIED. oci_resolve() and oci_plan() ask it themselves:
 * this is for answers from the cache. */
int oci_client_allows(const struct oci_client *c, const struct oci_reference *reference, struct error *e);
