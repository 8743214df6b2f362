/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client: resolve and plan. Both go the same way for a registry and for a layout on disk:
 *
 *   resolve: reference -> (policy) -> HEAD at each endpoint, or GET where HEAD does not tell -> digest
 *   plan:    digest -> manifest -> (index: the platform's)* -> config if its format needs it
 *            -> oci_format_plan()
 *
 * The client owns what is shared by all requests: warm connections, tokens, the administrator's keyring. All
 * calls may run on many threads; the lock guards the keyring only and is not held while the network is asked.
 */
#include "oci/client_state.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "base/path.h"
#include "base/text.h"
#include "oci/ask.h"
#include "oci/document.h"
#include "oci/exchange.h"
#include "oci/format.h"
#include "oci/layout.h"

#define CA_FILE_MAX (1u << 20)

/* ---- what the administrator has set ---- */

int oci_client_keyring(struct oci_keyring **ret, struct oci_client *c, struct error *e) {
        const char *path = c->settings->credentials.docker_config;
        struct oci_keyring *fresh = NULL;
        struct stat st;
        int r;

        if (!path || !*path) {
                *ret = NULL;
                return 0;
        }
        /* Looked at before it is read: a change in between is seen the next time. */
        if (stat(path, &st) < 0)
                return error_errno(e, errno, "credentials.dockerConfig: cannot read %s", path);
        LOCK_SCOPE(&c->lock);
        if (!c->keyring || st.st_ino != c->keyring_inode || st.st_mtim.tv_sec != c->keyring_mtime.tv_sec ||
            st.st_mtim.tv_nsec != c->keyring_mtime.tv_nsec) {
                r = oci_keyring_load(&fresh, path, e);
                if (r < 0)
                        return error_wrap(e, "credentials.dockerConfig");
                oci_keyring_free(c->keyring);
                c->keyring = fresh;
                c->keyring_inode = st.st_ino;
                c->keyring_mtime = st.st_mtim;
        }
        *ret = oci_keyring_ref(c->keyring);
        return 0;
}

static int pem_append(struct buf *pem, const char *path, struct error *e) {
        _cleanup_free_ char *text = NULL;
        size_t len = 0;

        if (path_read_absolute(&text, &len, path, CA_FILE_MAX, e) < 0)
                return error_wrap(e, "cannot use the certificates");
        if (buf_append(pem, text, len) < 0 || buf_append(pem, "\n", 1) < 0)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        return 0;
}

/* Made by c_rehash: "5ed36f99.0". */
static bool has_hashed_certificates(const char *path) {
        _cleanup_closedir_ DIR *d = path ? opendir(path) : NULL;
        const struct dirent *entry;

        while (d && (entry = readdir(d)))
                if (text_ends_with(entry->d_name, ".0"))
                        return true;
        return false;
}

/*
 * A blob of certificates takes the place of libcurl's bundle, but not of its directory of hashed names: that
 * is looked at when a certificate is wanted, so trusting one CA more costs no megabyte of parsed bundle for
 * each connection. Where it has no such names the bundle is added.
 */
int oci_client_ca(char **ret, const struct oci_client *c, const char *host, struct error *e) {
        const struct settings_registry *registry = settings_find_registry(c->settings, host);
        const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
        _cleanup_buf_ struct buf pem = BUF_INIT(2 * CA_FILE_MAX);
        int r;

        *ret = NULL;
        if (!registry || !registry->ca_file)
                return 0;
        r = pem_append(&pem, registry->ca_file, e);
        if (r < 0)
                return error_wrap(e, "registries[].caFile of %s", host);
        if (!has_hashed_certificates(v->capath) && v->cainfo && access(v->cainfo, R_OK) == 0)
                r = pem_append(&pem, v->cainfo, e);
        if (r < 0)
                return r;
        *ret = buf_take(&pem);
        return *ret ? 0 : error_set(e, ERROR_INTERNAL, "out of memory");
}

int oci_client_allows(const struct oci_client *c, const struct oci_reference *reference, struct error *e) {
        char *const *globs = c->settings->policy.allow;

        if (!globs || !globs[0] || oci_reference_matches(reference, globs))
                return 0;
        return error_set(e, ERROR_DENIED, "policy.allow on this node does not allow %s", reference->text);
}

/* ---- resolve ---- */

/* After a HEAD that failed: a GET may do better, and its answer has a body that says why if it does not. */
static bool head_is_no_answer(long status) {
        return (status >= 400 && status < 500 && status != 401 && status != 408 && status != 429) ||
               status == 501;
}

/* 1: it is there, and only its bytes tell its digest. */
static int resolve_at(struct digest *ret, bool *ret_private, long *ret_status, struct oci_client *c,
                      const struct oci_endpoint *ep, const struct oci_request *r, unsigned max_tries,
                      struct error *e) {
        const struct oci_reference *ref = r->reference;
        _cleanup_answer_ struct oci_answer a = { 0 };
        char text[DIGEST_TEXT_SIZE], path[OCI_REFERENCE_MAX];
        const char *said;
        int k;

        snprintf(path, sizeof path, "manifests/%s",
                 ref->has_digest ? digest_format(&ref->digest, text) : ref->tag);
        struct oci_ask q = { .reference = ref,
                             .keyring = r->keyring,
                             .path = path,
                             .accept = OCI_MANIFEST_ACCEPT,
                             .head = true,
                             .max_body = OCI_MANIFEST_MAX,
                             .max_tries = max_tries,
                             .cancel = { r->cancelled, r->userdata, r->retrying } };

        k = oci_ask_endpoint(&a, c, ep, &q, e);
        *ret_status = a.response.status;
        if (k < 0)
                return k;
        *ret_private = a.is_private;
        said = a.response.content_digest;
        if (ref->has_digest)
                *ret = ref->digest;
        else if (!said || digest_parse(ret, said, strlen(said)) < 0)
                return 1;
        return 0;
}

/* 0, a failure, or 1: a GET is needed to know. */
static int resolve_by_head(struct digest *ret, bool *ret_private, struct oci_client *c,
                           const struct oci_request *r, struct error *e) {
        _cleanup_endpoints_ struct oci_endpoints eps = { 0 };
        int k = oci_endpoints_of(&eps, c->settings, r->reference->host, e);

        for (size_t i = 0; i < eps.n; i++) {
                struct error failure = { 0 };
                long status = 0;

                k = resolve_at(ret, ret_private, &status, c, &eps.list[i], r,
                               i + 1 < eps.n ? OCI_TRIES_MIRROR : 0, &failure);
                if (k >= 0)
                        return k;
                if (i + 1 == eps.n)
                        return head_is_no_answer(status) ? 1 : error_copy(e, &failure);
                if (!oci_error_is_elsewhere(&failure))
                        return error_copy(e, &failure);
        }
        return k;
}

static int resolve(struct digest *ret, bool *ret_private, struct oci_client *c, const struct oci_request *r,
                   struct error *e) {
        _cleanup_document_ struct oci_document d = { 0 };
        const struct oci_reference *ref = r->reference;
        int k = oci_client_allows(c, ref, e);

        if (k < 0)
                return k;
        if (ref->is_layout) {
                *ret_private = false;
                return oci_layout_resolve(ret, ref, c->settings->policy.layouts, e);
        }
        k = resolve_by_head(ret, ret_private, c, r, e);
        if (k <= 0)
                return k;
        k = oci_document_fetch(&d, c, r, OCI_DOCUMENT_MANIFEST, ref->has_digest ? &ref->digest : NULL,
                               OCI_MANIFEST_MAX, e);
        if (k < 0)
                return k;
        *ret = d.digest;
        *ret_private = d.is_private;
        return 0;
}

int oci_resolve(struct digest *ret, bool *ret_private, struct oci_client *c, const struct oci_request *r,
                struct error *e) {
        bool is_private = false;
        struct digest digest;
        int k = resolve(&digest, &is_private, c, r, e);

        if (k < 0)
                return k;
        *ret = digest;
        *ret_private = is_private;
        return 0;
}

/* ---- plan ---- */

static int load_manifest(struct oci_manifest **ret, struct oci_client *c, const struct oci_request *r,
                         const struct digest *digest, struct error *e) {
        _cleanup_document_ struct oci_document d = { 0 };
        int k = oci_document_fetch(&d, c, r, OCI_DOCUMENT_MANIFEST, digest, OCI_MANIFEST_MAX, e);

        return k < 0 ? k : oci_manifest_parse(ret, d.data, d.len, d.content_type, r->reference->text, e);
}

/* The manifest that @digest leads to for the platform. */
static int load_through_indexes(struct oci_artifact *a, struct oci_client *c, const struct oci_request *r,
                                const struct digest *digest, struct error *e) {
        const char *platform = r->selection ? r->selection->platform : NULL;

        a->digest = *digest;
        for (unsigned depth = 0;; depth++) {
                _cleanup_(oci_manifest_freep) struct oci_manifest *m = NULL;
                const struct oci_descriptor *entry;
                int k = load_manifest(&m, c, r, &a->digest, e);

                if (k < 0)
                        return k;
                if (!m->is_index) {
                        a->manifest = take_ptr(m);
                        return 0;
                }
                if (depth == OCI_INDEX_DEPTH_MAX)
                        return error_set(e, ERROR_INVALID, "%s: more than %u indexes, one in the other",
                                         r->reference->text, OCI_INDEX_DEPTH_MAX);
                k = oci_index_choose(&entry, m, platform, e);
                if (k < 0)
                        return error_wrap(e, "%s", r->reference->text);
                a->digest = entry->digest;
        }
}

/* The manifest for the platform, and its config if the format needs it. */
static int load_artifact(struct oci_artifact *ret, struct oci_client *c, const struct oci_request *r,
                         const struct digest *digest, struct error *e) {
        _cleanup_artifact_ struct oci_artifact a = { 0 };
        _cleanup_document_ struct oci_document config = { 0 };
        const struct oci_descriptor *d;
        int k = load_through_indexes(&a, c, r, digest, e);

        if (k < 0)
                return k;
        d = &a.manifest->config;
        if (oci_format_needs_config(a.manifest)) {
                if (d->size > OCI_MANIFEST_MAX)
                        return error_set(e, ERROR_INVALID, "%s: its config is longer than %u bytes",
                                         r->reference->text, OCI_MANIFEST_MAX);
                k = oci_document_fetch(&config, c, r, OCI_DOCUMENT_BLOB, &d->digest, (size_t)d->size, e);
                if (k < 0)
                        return error_wrap(e, "config");
                a.config_len = config.len;
                a.config = take_ptr(config.data);
        }
        *ret = a;
        a = (struct oci_artifact){ 0 };
        return 0;
}

struct fetch_context {
        struct oci_client *client;
        const struct oci_request *request;
};

/* A pair without a registry is meant for the host that the user named. */
static const struct oci_keyring *keyring_for(const struct oci_request *r, const struct oci_reference *other) {
        bool same = r->reference->host && strcmp(r->reference->host, other->host) == 0;

        return same || !oci_keyring_is_single(r->keyring) ? r->keyring : NULL;
}

/* What a format calls to get a parent. The reference is an artifact's word: policy first, no layouts, and
 * only credentials that are meant for that host. */
static int fetch_other(void *userdata, const struct oci_reference *reference, struct oci_artifact *ret,
                       struct error *e) {
        const struct fetch_context *x = userdata;
        struct oci_request other = *x->request;
        struct digest digest;
        bool is_private;
        int r;

        if (reference->is_layout)
                return error_set(e, ERROR_DENIED, "an artifact must not refer to the node's disk (%s)",
                                 reference->text);
        other.reference = reference;
        other.keyring = keyring_for(x->request, reference);
        r = resolve(&digest, &is_private, x->client, &other, e);
        return r < 0 ? r : load_artifact(ret, x->client, &other, &digest, e);
}

/* The blobs will be fetched with the request's keyring, whatever repository they come from. */
static int sources_check(const struct model_plan *p, const struct oci_request *r, struct error *e) {
        for (size_t i = 0; i < p->n_sources; i++)
                if (!p->sources[i]->is_layout && keyring_for(r, p->sources[i]) != r->keyring)
                        return error_set(e, ERROR_DENIED,
                                         "%s is built on %s at another registry, and a user and password "
                                         "alone do not say for "
                                         "which: give a .dockerconfigjson",
                                         r->reference->text, p->sources[i]->text);
        return 0;
}

int oci_plan(struct model_plan **ret, struct oci_client *c, const struct oci_request *r,
             const struct digest *digest, struct error *e) {
        _cleanup_artifact_ struct oci_artifact a = { 0 };
        _cleanup_(model_plan_freep) struct model_plan *plan = NULL;
        struct fetch_context context = { c, r };
        int k = oci_client_allows(c, r->reference, e);

        if (k == 0)
                k = load_artifact(&a, c, r, digest, e);
        if (k < 0)
                return k;
        struct oci_format_input in = { .reference = r->reference,
                                       .artifact = &a,
                                       .selection = r->selection,
                                       .fetch = fetch_other,
                                       .userdata = &context };

        k = oci_format_plan(&plan, &in, e);
        if (k == 0)
                k = sources_check(plan, r, e);
        if (k < 0)
                return k;
        *ret = take_ptr(plan);
        return 0;
}

/* ---- life cycle ---- */

int oci_client_new(struct oci_client **ret, const struct settings *s, struct error *e) {
        _cleanup_(oci_client_freep) struct oci_client *c = calloc(1, sizeof *c);
        _cleanup_(oci_keyring_freep) struct oci_keyring *k = NULL;
        int r;

        if (!c)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        pthread_mutex_init(&c->lock, NULL);
        c->settings = s;
        r = oci_http_new(&c->http, e);
        if (r == 0)
                r = oci_tokens_new(&c->tokens, e);
        if (r == 0)
                r = oci_client_keyring(&k, c, e);
        if (r < 0)
                return r;
        *ret = take_ptr(c);
        return 0;
}

void oci_client_free(struct oci_client *c) {
        if (!c)
                return;
        oci_http_free(c->http);
        oci_tokens_free(c->tokens);
        oci_keyring_free(c->keyring);
        pthread_mutex_destroy(&c->lock);
        free(c);
}
