/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest: hostile JSON becomes a struct whose every field has been checked, so that nothing above looks at
 * JSON again.
 *
 * What kind of document it is decides itself from three witnesses that have to agree: the answer's
 * Content-Type, the mediaType inside, and the members. A document that can be read both ways would let two
 * clients see two different artifacts under one digest (CVE-2021-41190), so it is refused. Unknown members
 * are ignored.
 */
#include "oci/manifest.h"

#include <string.h>

#include "base/json.h"

enum kind { KIND_UNKNOWN, KIND_MANIFEST, KIND_INDEX, KIND_SCHEMA1 };

static const struct {
        const char *type;
        enum kind kind;
} types[] = {
        { OCI_TYPE_MANIFEST, KIND_MANIFEST },
        { DOCKER_TYPE_MANIFEST, KIND_MANIFEST },
        { OCI_TYPE_INDEX, KIND_INDEX },
        { DOCKER_TYPE_LIST, KIND_INDEX },
        { "application/vnd.docker.distribution.manifest.v1+json", KIND_SCHEMA1 },
        { "application/vnd.docker.distribution.manifest.v1+prettyjws", KIND_SCHEMA1 },
};

/* @type may carry parameters ("; charset=utf-8"). Types that say nothing of the kind (text/plain) are
 * unknown. */
static enum kind kind_of_type(const char *type) {
        size_t n = strcspn(type, "; \t");

        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
                if (strlen(types[i].type) == n && strncasecmp(type, types[i].type, n) == 0)
                        return types[i].kind;
        return KIND_UNKNOWN;
}

/* ---- descriptors ---- */

static int check_annotations(const json_t *annotations, struct error *e) {
        const char *key;
        json_t *value;

        json_object_foreach ((json_t *)annotations, key, value) {
                if (!json_is_string(value))
                        return error_set(e, ERROR_INVALID, "annotation \"%s\" is not a string", key);
        }
        return 0;
}

static int get_annotations(json_t **ret, const json_t *object, struct error *e) {
        json_t *annotations = NULL;

        /* Go's encoders write null for an empty map. */
        if (!json_is_null(json_object_get(object, "annotations"))) {
                int r = json_opt_object(&annotations, object, "annotations", e);
                if (r < 0)
                        return r;
        }
        if (annotations && check_annotations(annotations, e) < 0)
                return -EINVAL;
        *ret = annotations;
        return 0;
}

static int parse_digest(struct digest *ret, const json_t *object, struct error *e) {
        const char *text;

        int r = json_get_string(&text, object, "digest", e);
        if (r < 0)
                return r;
        r = digest_parse(ret, text, strlen(text));
        if (r == -EOPNOTSUPP)
                return error_set(e, ERROR_INVALID, "digest \"%s\" is not a SHA-256, which is all we know",
                                 text);
        if (r < 0)
                return error_set(e, ERROR_INVALID, "\"%s\" is not a digest", text);
        return 0;
}

static int parse_platform(struct oci_descriptor *d, const json_t *object, struct error *e) {
        json_t *platform;

        d->os = d->architecture = d->variant = "";
        if (json_is_null(json_object_get(object, "platform")))
                return 0;
        int r = json_opt_object(&platform, object, "platform", e);
        if (r < 0 || !platform)
                return r;
        r = json_opt_string(&d->os, platform, "os", "", e);
        if (r < 0)
                return r;
        r = json_opt_string(&d->architecture, platform, "architecture", "", e);
        return r < 0 ? r : json_opt_string(&d->variant, platform, "variant", "", e);
}

static int parse_descriptor(struct oci_descriptor *d, const json_t *object, struct error *e) {
        json_t *annotations = NULL;

        if (!json_is_object(object))
                return error_set(e, ERROR_INVALID, "is not an object");
        int r = json_opt_string(&d->media_type, object, "mediaType", "", e);
        if (r < 0)
                return r;
        r = json_opt_string(&d->artifact_type, object, "artifactType", "", e);
        if (r < 0)
                return r;
        r = parse_digest(&d->digest, object, e);
        if (r < 0)
                return r;
        r = json_get_size(&d->size, object, "size", e);
        if (r < 0)
                return r;
        if (d->size > INT64_MAX)
                return error_set(e, ERROR_INVALID, "its size is not credible");
        r = get_annotations(&annotations, object, e);
        if (r < 0)
                return r;
        d->annotations = annotations;
        return parse_platform(d, object, e);
}

static int parse_list(struct oci_manifest *m, const char *key, const char *noun, struct error *e) {
        json_t *list = NULL, *item;
        size_t i;

        /* null is how Go writes an empty list */
        if (!json_is_null(json_object_get(m->document, key))) {
                int r = json_opt_array(&list, m->document, key, e);
                if (r < 0)
                        return r;
        }
        size_t n = json_array_size(list);
        if (n > OCI_LAYERS_MAX)
                return error_set(e, ERROR_INVALID, "it has %zu of \"%s\", more than %d are refused", n, key,
                                 OCI_LAYERS_MAX);
        m->layers = calloc(n + 1, sizeof *m->layers);
        if (!m->layers)
                return error_errno(e, ENOMEM, "cannot keep %zu %ss", n, noun);
        json_array_foreach (list, i, item) {
                int r = parse_descriptor(&m->layers[i], item, e);
                if (r < 0)
                        return error_wrap(e, "%s %zu", noun, i + 1);
        }
        m->n_layers = n;
        return 0;
}

/* ---- documents ---- */

static enum kind kind_of_members(const json_t *document) {
        if (json_object_get(document, "manifests"))
                return KIND_INDEX;
        if (json_object_get(document, "fsLayers"))
                return KIND_SCHEMA1;
        return json_object_get(document, "config") ? KIND_MANIFEST : KIND_UNKNOWN;
}

static int decide_kind(enum kind *ret, const json_t *document, const char *content_type, struct error *e) {
        enum kind members = kind_of_members(document);
        const char *type;

        int r = json_opt_string(&type, document, "mediaType", "", e);
        if (r < 0)
                return r;
        const char *const claims[] = { type, content_type ? content_type : "" };
        for (size_t i = 0; i < 2; i++) {
                enum kind claimed = kind_of_type(claims[i]);
                if (claimed == KIND_SCHEMA1)
                        members = KIND_SCHEMA1;
                else if (claimed != KIND_UNKNOWN && claimed != members)
                        return error_set(e, ERROR_INVALID,
                                         "it is called %s but does not have the members of one", claims[i]);
        }
        if (members == KIND_SCHEMA1)
                return error_set(e, ERROR_INVALID,
                                 "it is of Docker's schema 1, push it again with a current tool");
        if (members == KIND_UNKNOWN)
                return error_set(e, ERROR_INVALID, "it is neither a manifest nor an index");
        bool both = members == KIND_INDEX &&
                    (json_object_get(document, "layers") || json_object_get(document, "config"));
        if (both)
                return error_set(e, ERROR_INVALID,
                                 "it is a manifest and an index at once, which is a way of deceiving");
        *ret = members;
        return 0;
}

static int check_version(const json_t *document, struct error *e) {
        uint64_t version;

        int r = json_get_size(&version, document, "schemaVersion", e);
        if (r < 0)
                return r;
        if (version != 2)
                return error_set(e, ERROR_INVALID, "its schemaVersion is %llu, only 2 is known",
                                 (unsigned long long)version);
        return 0;
}

static int parse_document(struct oci_manifest *m, const char *content_type, struct error *e) {
        enum kind kind = KIND_UNKNOWN;
        json_t *config;

        int r = decide_kind(&kind, m->document, content_type, e);
        if (r < 0)
                return r;
        r = check_version(m->document, e);
        if (r < 0)
                return r;
        m->is_index = kind == KIND_INDEX;
        m->config = (struct oci_descriptor){ "", "", .os = "", .architecture = "", .variant = "" };
        r = json_opt_string(&m->artifact_type, m->document, "artifactType", "", e);
        if (r < 0)
                return r;
        r = get_annotations(&m->annotations, m->document, e);
        if (r < 0)
                return r;
        if (m->is_index)
                return parse_list(m, "manifests", "entry", e);
        r = json_get_object(&config, m->document, "config", e);
        if (r < 0)
                return r;
        if (parse_descriptor(&m->config, config, e) < 0)
                return error_wrap(e, "config");
        return parse_list(m, "layers", "layer", e);
}

int oci_manifest_parse(struct oci_manifest **ret, const char *data, size_t len, const char *content_type,
                       const char *what, struct error *e) {
        _cleanup_(oci_manifest_freep) struct oci_manifest *m = calloc(1, sizeof *m);

        if (!m)
                return error_errno(e, ENOMEM, "cannot keep %s", what);
        int r = json_parse(&m->document, data, len, OCI_MANIFEST_MAX, "manifest", e);
        if (r == 0)
                r = parse_document(m, content_type, e);
        if (r < 0)
                return error_wrap(e, "%s", what);
        *ret = take_ptr(m);
        return 0;
}

void oci_manifest_free(struct oci_manifest *m) {
        if (!m)
                return;
        free(m->layers);
        json_decref(m->document);
        free(m);
}

const char *oci_annotation(const json_t *annotations, const char *key) {
        return json_string_value(json_object_get(annotations, key));
}
