/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the bytes of a manifest to a plan. A NUL ends the manifest and begins the config; a second NUL the
 * config and begins the parent kit's. What comes out keeps the promises of plan.h.
 */
#include "oci/format.h"

#include <assert.h>
#include <string.h>

#include "base/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
        const char *manifest, *configs[2];
        size_t manifest_len, config_lens[2];
};

/* The part up to the next NUL, which is passed. */
static const char *cut(const char **data, size_t *size, size_t *ret_len) {
        const char *part = *data, *end = memchr(part, '\0', *size);

        *ret_len = end ? (size_t)(end - part) : *size;
        *data += *ret_len + (end != NULL);
        *size -= *ret_len + (end != NULL);
        return part;
}

static int make_artifact(struct oci_artifact *a, const struct input *in, unsigned config, struct error *e) {
        int r = oci_manifest_parse(&a->manifest, in->manifest, in->manifest_len, NULL, "manifest", e);
        if (r < 0)
                return r;
        a->digest.bytes[0] = (uint8_t)config;
        a->config_len = in->config_lens[config];
        a->config = strndup(in->configs[config], a->config_len);
        return a->config ? 0 : error_errno(e, ENOMEM, "no memory");
}

static int fetch(void *userdata, const struct oci_reference *reference, struct oci_artifact *ret,
                 struct error *e) {
        assert(!reference->is_layout);
        return make_artifact(ret, userdata, 1, e);
}

static void check_plan(const struct model_plan *p) {
        uint64_t size = 0;

        assert(p->n_blobs > 0 && p->n_sources > 0);
        for (size_t i = 0; i < p->n_blobs; i++) {
                const struct plan_blob *b = &p->blobs[i];
                _cleanup_free_ char *clean = NULL;

                assert(path_clean(&clean, b->path, NULL) >= 0 && strcmp(clean, b->path) == 0);
                assert(b->packing == PLAN_TAR || *b->path);
                assert((b->mode & ~0777u) == 0 && b->source < p->n_sources);
                size += b->size;
        }
        for (size_t i = 0; i < p->n_files; i++)
                assert(strcmp(p->files[i].path, "Kitfile") == 0 && p->files[i].len > 0);
        assert(size == p->size && size <= INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(oci_reference_freep) struct oci_reference *reference = NULL;
        _cleanup_(model_plan_freep) struct model_plan *plan = NULL;
        _cleanup_artifact_ struct oci_artifact artifact = { 0 };
        const struct oci_descriptor *chosen;
        const char *rest = (const char *)data;
        struct input in;
        struct error e;

        in.manifest = cut(&rest, &size, &in.manifest_len);
        for (unsigned i = 0; i < 2; i++)
                in.configs[i] = cut(&rest, &size, &in.config_lens[i]);
        if (make_artifact(&artifact, &in, 0, &e) < 0 || oci_reference_parse(&reference, "r.io/m", &e) < 0)
                return 0;
        if (artifact.manifest->is_index) {
                if (oci_index_choose(&chosen, artifact.manifest, "linux/amd64", &e) >= 0)
                        assert(chosen >= artifact.manifest->layers);
                return 0;
        }
        const struct oci_format_input input = {
                .reference = reference, .artifact = &artifact, .fetch = fetch, .userdata = &in
        };
        if (oci_format_plan(&plan, &input, &e) >= 0)
                check_plan(plan);
        return 0;
}
