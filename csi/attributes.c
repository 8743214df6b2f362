/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attributes: pairs of texts -> raw_attributes (by name, each the last of its kind) -> reference, policy,
 * selection, each by its own parser, which also bounds it.
 *
 * Secrets come as pairs too. In this order the first that is there counts:
 *
 *   .dockerconfigjson          as Kubernetes' Secrets of that type have it: {"auths": {HOST: ...}}
 *   .dockercfg                 the older type, {HOST: ...} without "auths" around it
 *   username and password      for the registry of the volume's reference alone
 *
 * Errors about secrets never quote a value. No state; any thread.
 */
#include "csi/attributes.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Kubernetes adds keys of its own (pod info, provisioner identity); those are not attributes. */
static bool is_reserved(const char *key) {
        const char *slash = strchr(key, '/');

        if (!slash)
                return false;
        _cleanup_free_ char *domain = strndup(key, (size_t)(slash - key));
        return domain && (text_ends_with(domain, ".k8s.io") || strcmp(domain, "modelstage.io") == 0 ||
                          text_ends_with(domain, "kubernetes.io"));
}

static int parse_policy(enum stage_policy *ret, const char *value, struct error *e) {
        static const struct {
                const char *name;
                enum stage_policy policy;
        } policies[] = { { "", STAGE_DEFAULT },
                         { "IfNotPresent", STAGE_IF_NOT_PRESENT },
                         { "Always", STAGE_ALWAYS },
                         { "Never", STAGE_NEVER } };

        for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
                if (strcmp(policies[i].name, value) == 0) {
                        *ret = policies[i].policy;
                        return 0;
                }
        return error_set(e, ERROR_INVALID,
                         "attribute pullPolicy is \"%.64s\": use IfNotPresent, Always or Never", value);
}

struct raw_attributes { /* values as they came; "" where there was none */
        const char *model, *pull_policy, *root, *include, *exclude, *platform;
};

static int collect(struct raw_attributes *raw, const struct csi_pair *pairs, size_t n, struct error *e) {
        const struct {
                const char *key, **value;
        } known[] = { { "model", &raw->model },     { "pullPolicy", &raw->pull_policy },
                      { "root", &raw->root },       { "include", &raw->include },
                      { "exclude", &raw->exclude }, { "platform", &raw->platform } };

        for (size_t i = 0; i < n; i++) {
                bool found = false;
                for (size_t k = 0; k < sizeof known / sizeof *known && !found; k++)
                        if (strcmp(known[k].key, pairs[i].key) == 0) {
                                *known[k].value = pairs[i].value;
                                found = true;
                        }
                if (!found && !is_reserved(pairs[i].key))
                        return error_set(
                            e, ERROR_INVALID,
                            "unknown attribute \"%.128s\": known are model, pullPolicy, root, include, "
                            "exclude and platform",
                            pairs[i].key);
        }
        return 0;
}

static int parse_selection(struct oci_selection **ret, const struct raw_attributes *raw, struct error *e) {
        char **include = text_split(raw->include, ','), **exclude = text_split(raw->exclude, ',');
        int r;

        if (!include || !exclude)
                r = error_errno(e, ENOMEM, "cannot read the attributes");
        else
                r = oci_selection_new(ret, *raw->root ? raw->root : NULL, (const char *const *)include,
                                      (const char *const *)exclude, *raw->platform ? raw->platform : NULL, e);
        text_list_free(include);
        text_list_free(exclude);
        return r;
}

int csi_attributes_parse(struct csi_attributes **ret, const struct csi_pair *pairs, size_t n,
                         struct error *e) {
        struct raw_attributes raw = { "", "", "", "", "", "" };
        _cleanup_(csi_attributes_freep) struct csi_attributes *a = calloc(1, sizeof *a);

        if (!a)
                return error_errno(e, ENOMEM, "cannot read the attributes");
        int r = collect(&raw, pairs, n, e);
        if (r < 0)
                return r;
        if (!*raw.model)
                return error_set(
                    e, ERROR_INVALID,
                    "attribute model is missing: name a model, as in registry.example.com/models/llama:1");
        r = oci_reference_parse(&a->reference, raw.model, e);
        if (r < 0)
                return error_wrap(e, "attribute model");
        r = parse_policy(&a->policy, raw.pull_policy, e);
        if (r < 0)
                return r;
        r = parse_selection(&a->selection, &raw, e);
        if (r < 0)
                return r;
        *ret = take_ptr(a);
        return 0;
}

void csi_attributes_free(struct csi_attributes *a) {
        if (!a)
                return;
        oci_reference_free(a->reference);
        oci_selection_free(a->selection);
        free(a);
}

static const char *find_secret(const struct csi_pair *pairs, size_t n, const char *key) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(pairs[i].key, key) == 0)
                        return pairs[i].value;
        return NULL;
}

/* The older Secret type holds the bare map of registries; Docker's form has it under "auths". */
static int parse_dockercfg(struct oci_keyring **ret, const char *json, struct error *e) {
        _cleanup_free_ char *wrapped = NULL;
        int n = asprintf(&wrapped, "{\"auths\":%s}", json);

        return n < 0 ? error_errno(e, ENOMEM, "cannot read the volume's secret")
                     : oci_keyring_parse(ret, wrapped, (size_t)n, e);
}

int csi_secrets_parse(struct oci_keyring **ret, const struct csi_pair *pairs, size_t n, struct error *e) {
        const char *config = find_secret(pairs, n, ".dockerconfigjson"),
                   *old = find_secret(pairs, n, ".dockercfg");
        const char *username = find_secret(pairs, n, "username"),
                   *password = find_secret(pairs, n, "password");
        int r;

        if (config)
                r = oci_keyring_parse(ret, config, strlen(config), e);
        else if (old)
                r = parse_dockercfg(ret, old, e);
        else if (username && password)
                r = oci_keyring_single(ret, username, password, e);
        else if (username || password)
                return error_set(e, ERROR_INVALID,
                                 "the volume's secret has only one of username and password");
        else if (n > 0)
                return error_set(
                    e, ERROR_INVALID,
                    "the volume's secret has neither .dockerconfigjson nor username and password");
        else {
                *ret = NULL;
                return 0;
        }
        return r < 0 ? error_wrap(e, "the volume's secret") : 0;
}
