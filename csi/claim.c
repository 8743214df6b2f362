/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim: the rules, in the order in which a mistake is told.
 *
 *   class: keys known? -> values as a publish would take them -> names that may stand in a path
 *   claim: is it one? -> the one of this volume (UID)? -> annotations known? -> a model?
 *          -> each annotation: not against the class, and right together with those before it -> allowed?
 *   volume: is it one? -> ours, and of this name? -> the same attributes?
 *
 * No state, any thread. Whoever may make a claim writes annotations, so they are hostile; the class is an
 * administrator's, and the API server is believed, but its answers are held to their types.
 */
#include "csi/claim.h"

#include <string.h>

#include "base/text.h"
#include "csi/kube.h"

#define OURS "modelstage.io/"
#define ALLOW OURS "allow"
#define UUID_LEN 36

/* What a claim may say; the platform is the node's or the class's. */
static const struct {
        const char *annotation;
        enum csi_attribute attribute;
} annotations[] = {
        { OURS "model", CSI_ATTRIBUTE_MODEL },     { OURS "pull-policy", CSI_ATTRIBUTE_PULL_POLICY },
        { OURS "root", CSI_ATTRIBUTE_ROOT },       { OURS "include", CSI_ATTRIBUTE_INCLUDE },
        { OURS "exclude", CSI_ATTRIBUTE_EXCLUDE },
};
#define N_ANNOTATIONS (sizeof annotations / sizeof *annotations)

/* ---- the class ---- */

static int check_bound(const char *allow, struct error *e) {
        char **globs = text_split(allow, ',');
        int r = globs ? 0 : error_errno(e, ENOMEM, "cannot read " ALLOW);

        for (char **glob = globs; r >= 0 && glob && *glob; glob++)
                if (!text_glob_is_whole(*glob))
                        r = error_set(e, ERROR_INVALID,
                                      ALLOW
                                      ": \"%.128s\" has no slash: a glob is over the whole reference, as in "
                                      "registry.example.com/models/**",
                                      *glob);
        text_list_free(globs);
        return r;
}

/* What we do not know must not pass: a misspelt "allow" would allow everything, as would one that a template
 * has left empty. */
static int check_our_keys(const struct csi_pair *parameters, size_t n, struct error *e) {
        for (size_t i = 0; i < n; i++) {
                bool is_allow = strcmp(parameters[i].key, ALLOW) == 0;

                if (text_starts_with(parameters[i].key, OURS) && !is_allow)
                        return error_set(
                            e, ERROR_INVALID,
                            "unknown parameter \"%.128s\": the only one with this prefix is " ALLOW,
                            parameters[i].key);
                if (is_allow && !*parameters[i].value)
                        return error_set(e, ERROR_INVALID,
                                         ALLOW " is empty: leave it out, or write ** for everything");
                int r = is_allow ? check_bound(parameters[i].value, e) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Names become parts of a path at the API server. */
static int check_name(const char *what, const char *name, struct error *e) {
        return !*name || csi_kube_name_is_valid(name)
                   ? 0
                   : error_set(e, ERROR_INVALID, "%s is no name of an object: \"%.253s\"", what, name);
}

/* As a publish would; without a model, with any. */
static int check_values(const struct csi_attribute_values *values, struct error *e) {
        _cleanup_(csi_attributes_freep) struct csi_attributes *attributes = NULL;
        struct csi_attribute_values complete = *values;

        if (!*complete.of[CSI_ATTRIBUTE_MODEL])
                complete.of[CSI_ATTRIBUTE_MODEL] = "any";
        return csi_attributes_of(&attributes, &complete, e);
}

int csi_class_read(struct csi_class *ret, const struct csi_pair *parameters, size_t n, struct error *e) {
        struct csi_class c = { .allow = "", .claim_namespace = "", .claim_name = "", .volume_name = "" };
        const struct {
                const char *key, **value;
        } known[] = { { ALLOW, &c.allow },
                      { "csi.storage.k8s.io/pvc/namespace", &c.claim_namespace },
                      { "csi.storage.k8s.io/pvc/name", &c.claim_name },
                      { "csi.storage.k8s.io/pv/name", &c.volume_name } };
        int r = csi_attributes_collect(&c.values, parameters, n, e);

        if (r >= 0)
                r = check_our_keys(parameters, n, e);
        if (r >= 0)
                r = check_values(&c.values, e);
        if (r < 0)
                return error_wrap(e, "parameters of the StorageClass");
        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < sizeof known / sizeof *known; k++)
                        if (strcmp(known[k].key, parameters[i].key) == 0)
                                *known[k].value = parameters[i].value;
        for (size_t k = 1; r >= 0 && k < sizeof known / sizeof *known; k++)
                r = check_name(known[k].key, *known[k].value, e);
        if (r < 0)
                return r;
        *ret = c;
        return 0;
}

/* ---- the claim ---- */

struct claim {
        const struct csi_class *class;
        const char *uid, *class_name;
        const json_t *annotations; /* NULL: none */
};

static int no_claim(const struct csi_class *class, const struct error *why, struct error *e) {
        return error_set(e, ERROR_UNAVAILABLE, "what the API server says of claim %s/%s makes no sense: %s",
                         class->claim_namespace, class->claim_name, why->text);
}

static int claim_parse(struct claim *c, const json_t *object, struct error *e) {
        json_t *metadata = NULL, *spec = NULL, *notes = NULL;
        struct error why = { 0 };
        const char *key;
        json_t *value;
        int r = json_get_object(&metadata, object, "metadata", &why);

        if (r >= 0)
                r = json_get_string(&c->uid, metadata, "uid", &why);
        if (r >= 0)
                r = json_opt_object(&notes, metadata, "annotations", &why);
        if (r >= 0)
                r = json_opt_object(&spec, object, "spec", &why);
        if (r >= 0 && spec)
                r = json_opt_string(&c->class_name, spec, "storageClassName", "?", &why);
        json_object_foreach (notes, key, value) {
                if (r >= 0 && !json_is_string(value))
                        r = error_set(&why, ERROR_INVALID, "annotation \"%.128s\" is not a string", key);
        }
        c->annotations = notes;
        return r < 0 ? no_claim(c->class, &why, e) : 0;
}

static bool is_uuid(const char *s) {
        for (size_t i = 0; i < UUID_LEN; i++) {
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;

                if (dash ? s[i] != '-' : !s[i] || !strchr("0123456789abcdef", s[i]))
                        return false;
        }
        return s[UUID_LEN] == '\0';
}

/* A claim may be deleted and made again while its volume is made. "pvc-UID" is external-provisioner's
 * default. */
static int check_uid(const struct claim *c, const char *volume, struct error *e) {
        size_t len = strlen(volume);
        const char *uid = len > UUID_LEN ? volume + len - UUID_LEN : volume;

        if (len < UUID_LEN || !is_uuid(uid) || strcmp(uid, c->uid) == 0)
                return 0;
        return error_set(e, ERROR_NOT_FOUND,
                         "claim %s/%s is not the one that volume %s is for: it has been made anew",
                         c->class->claim_namespace, c->class->claim_name, volume);
}

static const char *annotation_of(const struct claim *c, size_t i) {
        const char *value = json_string_value(json_object_get(c->annotations, annotations[i].annotation));

        return value ? value : "";
}

static int check_annotations(const struct claim *c, struct error *e) {
        const char *key;
        json_t *value;

        json_object_foreach ((json_t *)c->annotations, key, value) {
                bool known = !text_starts_with(key, OURS);

                for (size_t i = 0; i < N_ANNOTATIONS && !known; i++)
                        known = strcmp(annotations[i].annotation, key) == 0;
                if (!known)
                        return error_set(e, ERROR_PRECONDITION,
                                         "claim %s/%s has an unknown annotation \"%.128s\": known are " OURS
                                         "model, pull-policy, root, include and exclude",
                                         c->class->claim_namespace, c->class->claim_name, key);
                if (text_starts_with(key, OURS) && json_string_has_nul(value))
                        return error_set(e, ERROR_PRECONDITION, "annotation %s of claim %s/%s has a NUL", key,
                                         c->class->claim_namespace, c->class->claim_name);
        }
        return 0;
}

static int model_is_missing(const struct claim *c, struct error *e) {
        return error_set(e, ERROR_PRECONDITION,
                         "claim %s/%s has no annotation " OURS
                         "model, and StorageClass %s names no model: annotate "
                         "the claim, as in " OURS "model=registry.example.com/models/llama:1",
                         c->class->claim_namespace, c->class->claim_name, c->class_name);
}

/* Annotation after annotation joins @values, model first: the one after which they are wrong is at fault. */
static int take_annotation(struct csi_attribute_values *values, const struct claim *c, size_t i,
                           struct error *e) {
        const char *name = annotations[i].annotation, *value = annotation_of(c, i);
        const char **at = &values->of[annotations[i].attribute];
        _cleanup_(csi_attributes_freep) struct csi_attributes *attributes = NULL;
        struct error why = { 0 };

        if (!*value)
                return 0;
        if (**at && strcmp(*at, value) != 0)
                return error_set(
                    e, ERROR_PRECONDITION,
                    "annotation %s of claim %s/%s says \"%.200s\", but StorageClass %s sets %s to "
                    "\"%.200s\": remove the annotation",
                    name, c->class->claim_namespace, c->class->claim_name, value, c->class_name,
                    csi_attribute_keys[annotations[i].attribute], *at);
        *at = value;
        if (csi_attributes_of(&attributes, values, &why) >= 0)
                return 0;
        if (why.kind != ERROR_INVALID)
                return error_copy(e, &why);
        return error_set(e, ERROR_PRECONDITION, "annotation %s of claim %s/%s: %s", name,
                         c->class->claim_namespace, c->class->claim_name, why.text);
}

static int check_allowed(const struct claim *c, const struct csi_attribute_values *values, struct error *e) {
        _cleanup_(oci_reference_freep) struct oci_reference *reference = NULL;
        char **globs = text_split(c->class->allow, ',');
        int r = globs ? oci_reference_parse(&reference, values->of[CSI_ATTRIBUTE_MODEL], e)
                      : error_errno(e, ENOMEM, "cannot check " ALLOW);

        if (r >= 0 && *c->class->allow && !oci_reference_matches(reference, globs))
                r = error_set(e, ERROR_DENIED,
                              "claim %s/%s may not ask for %s: StorageClass %s allows only %.300s (" ALLOW
                              ")",
                              c->class->claim_namespace, c->class->claim_name, reference->text, c->class_name,
                              c->class->allow);
        text_list_free(globs);
        return r;
}

int csi_claim_read(struct csi_attribute_values *ret, const struct csi_class *class, const char *volume,
                   const json_t *object, struct error *e) {
        struct claim c = { .class = class, .class_name = "?" };
        struct csi_attribute_values values = class->values;
        int r = claim_parse(&c, object, e);

        if (r >= 0)
                r = check_uid(&c, volume, e);
        if (r >= 0)
                r = check_annotations(&c, e);
        if (r >= 0 && !*annotation_of(&c, 0))
                r = model_is_missing(&c, e);
        for (size_t i = 0; r >= 0 && i < N_ANNOTATIONS; i++)
                r = take_annotation(&values, &c, i, e);
        if (r >= 0)
                r = check_allowed(&c, &values, e);
        if (r < 0)
                return r;
        *ret = values;
        return 0;
}

/* ---- the volume ---- */

/* The first attribute that is not what @values have, or _CSI_ATTRIBUTE_MAX. What is there besides (the
 * provisioner's) does not count. */
static int find_difference(size_t *ret, const char **ret_there, const json_t *attributes,
                           const struct csi_attribute_values *values, struct error *e) {
        size_t k = 0;

        for (; k < _CSI_ATTRIBUTE_MAX; k++) {
                *ret_there = "";
                if (attributes && json_opt_string(ret_there, attributes, csi_attribute_keys[k], "", e) < 0)
                        return -EINVAL;
                if (strcmp(*ret_there, values->of[k]) != 0)
                        break;
        }
        *ret = k;
        return 0;
}

int csi_claim_check_volume(const json_t *object, const char *driver, const char *handle,
                           const struct csi_attribute_values *values, struct error *e) {
        const char *name = "?", *their_driver = "", *their_handle = "", *there = "";
        json_t *metadata = NULL, *spec = NULL, *csi = NULL, *attributes = NULL;
        size_t different = _CSI_ATTRIBUTE_MAX;
        struct error why = { 0 };
        int r = json_get_object(&metadata, object, "metadata", &why);

        if (r >= 0)
                r = json_get_string(&name, metadata, "name", &why);
        if (r >= 0)
                r = json_get_object(&spec, object, "spec", &why);
        if (r >= 0)
                r = json_opt_object(&csi, spec, "csi", &why); /* none: a volume of another kind */
        if (r >= 0 && csi)
                r = json_get_string(&their_driver, csi, "driver", &why);
        if (r >= 0 && csi)
                r = json_get_string(&their_handle, csi, "volumeHandle", &why);
        if (r >= 0 && csi)
                r = json_opt_object(&attributes, csi, "volumeAttributes", &why);
        if (r >= 0)
                r = find_difference(&different, &there, attributes, values, &why);
        if (r < 0)
                return error_set(e, ERROR_UNAVAILABLE,
                                 "what the API server says of PersistentVolume %s makes no sense: %s", name,
                                 why.text);
        if (strcmp(their_driver, driver) != 0 || strcmp(their_handle, handle) != 0)
                return error_set(e, ERROR_EXISTS, "PersistentVolume %s exists already and is not this volume",
                                 name);
        if (different == _CSI_ATTRIBUTE_MAX)
                return 0;
        return error_set(
            e, ERROR_EXISTS,
            "PersistentVolume %s exists already with %s \"%.200s\" instead of \"%.200s\": a volume "
            "keeps what it was made with, make a new claim",
            name, csi_attribute_keys[different], there, values->of[different]);
}
