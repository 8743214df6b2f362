/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube: a small client of the Kubernetes API server, with the pod's own service account.
 *
 *   csi_kube_new -> csi_kube_get, _post, _patch … -> csi_kube_cancel -> csi_kube_free
 *
 * The address is kubernetes.apiServer, else KUBERNETES_SERVICE_HOST and _PORT; token and ca.crt lie in
 * kubernetes.serviceAccount and are read again when they may have been rotated (the token once a minute and
 * after a 401). Each request has a deadline of its own, in which 401 (once, with a fresh token), 429, 5xx
 * and connection errors are tried again, Retry-After respected. Answers are capped and strictly parsed,
 * but strings in them may have NULs (base/json.h): anybody may write some into an annotation.
 * Thread-safe; every call blocks.
 */
#pragma once

#include "base/json.h"
#include "base/settings.h"

struct csi_kube;

/* *ret is NULL when this is no cluster (no address, or no service account given): not an error.
 * Strings of @s are copied. */
int csi_kube_new(struct csi_kube **ret, const struct settings *s, struct error *e);
/* Calls that run now or are made later end with ERROR_CANCELLED, soon. NULL is fine. */
void csi_kube_cancel(struct csi_kube *k);
void csi_kube_free(struct csi_kube *k); /* no call may be running */
DEFINE_CLEANUP(struct csi_kube *, csi_kube_free);

enum csi_kube_patch {
        CSI_KUBE_JSON_PATCH,  /* application/json-patch+json */
        CSI_KUBE_MERGE_PATCH, /* application/merge-patch+json */
};

/*
 * @path begins with "/api"; its variable parts are checked names (csi_kube_name_is_valid()). *ret is the
 * answer, the caller's; ret may be NULL. ERROR_NOT_FOUND 404, ERROR_EXISTS 409, ERROR_UNAUTHENTICATED 401,
 * ERROR_DENIED 403, ERROR_INVALID 400 and 422, ERROR_UNAVAILABLE what may go away, ERROR_TIMEOUT when
 * @timeout_ms is over first; the text has the Status's message, and does not say what was asked:
 * error_wrap() it.
 *
 * What was sent may have arrived although its answer was lost, and is then sent again: give an object that
 * you POST a name of its own (ERROR_EXISTS: it had arrived), and a JSON patch that must not be done twice a
 * test.
 */
int csi_kube_get(struct csi_kube *k, const char *path, int64_t timeout_ms, json_t **ret, struct error *e);
int csi_kube_post(struct csi_kube *k, const char *path, const json_t *body, int64_t timeout_ms, json_t **ret,
                  struct error *e);
int csi_kube_patch(struct csi_kube *k, const char *path, enum csi_kube_patch type, const json_t *body,
                   int64_t timeout_ms, json_t **ret, struct error *e);

/* A DNS-1123 subdomain, at most 253 bytes: what may stand in a path as the name of an object or namespace. */
bool csi_kube_name_is_valid(const char *name);
