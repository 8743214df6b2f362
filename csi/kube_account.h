/* SPDX-License-Identifier: Apache-2.0 */
/* kube_account: the service account that Kubernetes mounts into a pod: token and ca.crt of one directory. */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct csi_kube_account;

/* @with_ca: false for plain HTTP, where ca.crt is of no use. Reads nothing yet. */
int csi_kube_account_new(struct csi_kube_account **ret, const char *dir, bool with_ca, struct error *e);
void csi_kube_account_free(struct csi_kube_account *a);
DEFINE_CLEANUP(struct csi_kube_account *, csi_kube_account_free);

struct csi_kube_credentials {
        char *token;
        char *ca_pem; /* NULL without @with_ca */
};
void csi_kube_credentials_done(struct csi_kube_credentials *c); /* wipes */

/*
 * As they are now: read again if that was a minute ago, or if they were @refused. What cannot be read again
 * stays as it was. ERROR_UNAVAILABLE: there never was anything to read. @now_ms is monotonic.
 */
int csi_kube_account_get(struct csi_kube_credentials *ret, struct csi_kube_account *a, bool refused,
                         int64_t now_ms, struct error *e);
