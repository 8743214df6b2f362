/* SPDX-License-Identifier: Apache-2.0 */
/*
 * document: endpoints in order; each gets a second chance after bytes that do not match, because a proxy's
 * broken cache entry or a cut transfer is more common than an attack, and then the next endpoint is asked.
 *
 *   for each endpoint: ask -> verify --mismatch--> ask again -> verify --mismatch--> the next endpoint
 *                       \-- a failure that another endpoint may not have ----------------^
 *
 * Mirrors are tried fewer times than the last one, the host itself. A layout has one copy and no second
 * chance.
 */
#include "oci/document.h"

#include <stdio.h>
#include <string.h>

#include "base/metrics.h"
#include "oci/ask.h"
#include "oci/client_state.h"
#include "oci/exchange.h"
#include "oci/layout.h"

#define MISMATCHES_MAX 2u /* per endpoint */

void oci_document_done(struct oci_document *d) {
        free(d->data);
        free(d->content_type);
        *d = (struct oci_document){ 0 };
}

/* What the bytes must be: @wanted, or what the registry itself says that they are, or whatever they are. */
static int document_verify(struct oci_document *d, const struct oci_http_response *a,
                           const struct digest *wanted, const struct oci_reference *ref, const char *host,
                           struct error *e) {
        const char *claim = a->content_digest;
        struct digest claimed;

        if (digest_of(&d->digest, d->data, d->len) < 0)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        if (!wanted && claim && digest_parse(&claimed, claim, strlen(claim)) == 0)
                wanted = &claimed;
        if (!wanted || digest_equal(wanted, &d->digest))
                return 0;
        metric_add(DIGEST_MISMATCHES, 1, ref->host);
        return error_set(e, ERROR_DATA_LOSS, "%s sent for %s what does not match its digest", host,
                         ref->text);
}

static int fetch_once(struct oci_document *ret, struct oci_client *c, const struct oci_endpoint *ep,
                      const struct oci_ask *q, const struct digest *digest, struct error *e) {
        _cleanup_document_ struct oci_document d = { 0 };
        _cleanup_answer_ struct oci_answer a = { 0 };
        int r = oci_ask_endpoint(&a, c, ep, q, e);

        if (r < 0)
                return r;
        d.len = a.response.body.len;
        d.data = buf_take(&a.response.body);
        if (!d.data)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        d.content_type = take_ptr(a.response.content_type);
        d.is_private = a.is_private;
        r = document_verify(&d, &a.response, digest, q->reference, ep->host, e);
        if (r < 0)
                return r;
        *ret = d;
        d = (struct oci_document){ 0 };
        return 0;
}

/* One endpoint, asked again after bytes that do not match. */
static int fetch_from(struct oci_document *ret, struct oci_client *c, const struct oci_endpoint *ep,
                      const struct oci_ask *q, const struct digest *digest, struct error *e) {
        for (unsigned tried = 1;; tried++) {
                struct error failure = { 0 };
                int r = fetch_once(ret, c, ep, q, digest, &failure);

                if (r == 0 || failure.kind != ERROR_DATA_LOSS || tried == MISMATCHES_MAX)
                        return r < 0 ? error_copy(e, &failure) : 0;
                metric_add(REGISTRY_RETRIES, 1, q->reference->host, "digest");
        }
}

static int fetch_from_layout(struct oci_document *ret, const struct oci_client *c,
                             const struct oci_reference *ref, const struct digest *digest, size_t max,
                             struct error *e) {
        struct oci_document d = { .digest = *digest };
        int r = oci_layout_read(&d.data, &d.len, ref, c->settings->policy.layouts, digest, max, e);

        if (r == 0)
                *ret = d;
        return r;
}

int oci_document_fetch(struct oci_document *ret, struct oci_client *c, const struct oci_request *r,
                       enum oci_document_kind kind, const struct digest *digest, size_t max,
                       struct error *e) {
        bool is_manifest = kind == OCI_DOCUMENT_MANIFEST;
        _cleanup_endpoints_ struct oci_endpoints eps = { 0 };
        char text[DIGEST_TEXT_SIZE], path[OCI_REFERENCE_MAX];
        int k;

        if (r->reference->is_layout)
                return fetch_from_layout(ret, c, r->reference, digest, max, e);
        snprintf(path, sizeof path, "%s/%s", is_manifest ? "manifests" : "blobs",
                 digest ? digest_format(digest, text) : r->reference->tag);
        struct oci_ask q = { .reference = r->reference,
                             .keyring = r->keyring,
                             .path = path,
                             .accept = is_manifest ? OCI_MANIFEST_ACCEPT : NULL,
                             .max_body = max,
                             .cancel = { r->cancelled, r->userdata, r->retrying } };

        k = oci_endpoints_of(&eps, c->settings, r->reference->host, e);
        for (size_t i = 0; i < eps.n; i++) {
                struct error failure = { 0 };

                q.max_tries = i + 1 < eps.n ? OCI_TRIES_MIRROR : 0;
                k = fetch_from(ret, c, &eps.list[i], &q, digest, &failure);
                if (k == 0 || !oci_error_is_elsewhere(&failure) || i + 1 == eps.n)
                        return k < 0 ? error_copy(e, &failure) : 0;
        }
        return k;
}
