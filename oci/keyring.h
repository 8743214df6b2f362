/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyring: who we are at which registry: Docker's config.json, Kubernetes' .dockerconfigjson, or one user and
 * password. Immutable once made; secrets are given to log_redact() and wiped on free.
 */
#pragma once

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct oci_credential {
        char *username, *password; /* Basic, or the token endpoint's */
        char *identity_token;      /* a refresh token instead */
        char *registry_token;      /* used as Bearer as it is */
};

struct oci_keyring;
/* Docker's config.json: auths (host, host:port, https://host/v1/, host/path, *.globs). credHelpers and
 * credsStore are ignored here. ERROR_INVALID never quotes the document. */
int oci_keyring_parse(struct oci_keyring **ret, const char *json, size_t len, struct error *e);
/* The same from a file; ERROR_NOT_FOUND if there is none. */
int oci_keyring_load(struct oci_keyring **ret, const char *path, struct error *e);
/* One pair for the one registry that a request is about. */
int oci_keyring_single(struct oci_keyring **ret, const char *username, const char *password, struct error *e);
/* Made by oci_keyring_single(): matches any host, so it must not be asked about another one (a mirror, a
 * parent kit's). */
bool oci_keyring_is_single(const struct oci_keyring *k);
/* One more owner; returns @k. NULL is fine. */
struct oci_keyring *oci_keyring_ref(const struct oci_keyring *k);
void oci_keyring_free(struct oci_keyring *k); /* one owner less */
DEFINE_CLEANUP(struct oci_keyring *, oci_keyring_free);

/* The @n-th best match for host/repository by Kubernetes' keyring rules (longest path first), or NULL. NULL
 * keyring: NULL. */
const struct oci_credential *oci_keyring_find(const struct oci_keyring *k, const char *host,
                                              const char *repository, size_t n);
/* Identifies the keyring without telling it: equal keyrings, equal digests. NULL: all zero. */
void oci_keyring_fingerprint(struct digest *ret, const struct oci_keyring *k);
