/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attributes: pairs of texts -> csi_attribute_values (by name, each the last of its kind) -> reference,
 * policy, selection, each by its own parser, which also bounds it.
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
#include "oci/layout.h"

const char *const csi_attribute_keys[_CSI_ATTRIBUTE_MAX] = {
        [CSI_ATTRIBUTE_MODEL] = "model",     [CSI_ATTRIBUTE_PULL_POLICY] = "pullPolicy",
        [CSI_ATTRIBUTE_ROOT] = "root",       [CSI_ATTRIBUTE_INCLUDE] = "include",
        [CSI_ATTRIBUTE_EXCLUDE] = "exclude", [CSI_ATTRIBUTE_PLATFORM] = "platform",
};

/* Kubernetes adds keys of its own (pod info, provisioner identity); those are not attributes. */
static bool is_reserved(const char *key) {
        static const char *const domains[] = { "k8s.io", "kubernetes.io" }; /* and those below them */
        const char *slash = strchr(key, '/');

        if (!slash)
                return false;
        _cleanup_free_ char *domain = strndup(key, (size_t)(slash - key));
        for (size_t i = 0; domain && i < sizeof domains / sizeof *domains; i++) {
                size_t len = strlen(domain), n = strlen(domains[i]);
                if (text_ends_with(domain, domains[i]) && (len == n || domain[len - n - 1] == '.'))
                        return true;
        }
        return domain && strcmp(domain, "modelstage.io") == 0;
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

int csi_attributes_collect(struct csi_attribute_values *ret, const struct csi_pair *pairs, size_t n,
                           struct error *e) {
        struct csi_attribute_values values;

        for (size_t k = 0; k < _CSI_ATTRIBUTE_MAX; k++)
                values.of[k] = "";
        for (size_t i = 0; i < n; i++) {
                bool found = false;
                for (size_t k = 0; k < _CSI_ATTRIBUTE_MAX && !found; k++)
                        if (strcmp(csi_attribute_keys[k], pairs[i].key) == 0) {
                                values.of[k] = pairs[i].value;
                                found = true;
                        }
                if (!found && !is_reserved(pairs[i].key))
                        return error_set(
                            e, ERROR_INVALID,
                            "unknown attribute \"%.128s\": known are model, pullPolicy, root, include, "
                            "exclude and platform",
                            pairs[i].key);
        }
        *ret = values;
        return 0;
}

static int parse_selection(struct oci_selection **ret, const struct csi_attribute_values *values,
                           struct error *e) {
        const char *root = values->of[CSI_ATTRIBUTE_ROOT], *platform = values->of[CSI_ATTRIBUTE_PLATFORM];
        char **include = text_split(values->of[CSI_ATTRIBUTE_INCLUDE], ','),
             **exclude = text_split(values->of[CSI_ATTRIBUTE_EXCLUDE], ',');
        int r;

        if (!include || !exclude)
                r = error_errno(e, ENOMEM, "cannot read the attributes");
        else
                r = oci_selection_new(ret, *root ? root : NULL, (const char *const *)include,
                                      (const char *const *)exclude, *platform ? platform : NULL, e);
        text_list_free(include);
        text_list_free(exclude);
        return r;
}

int csi_attributes_of(struct csi_attributes **ret, const struct csi_attribute_values *values,
                      struct error *e) {
        _cleanup_(csi_attributes_freep) struct csi_attributes *a = calloc(1, sizeof *a);

        if (!a)
                return error_errno(e, ENOMEM, "cannot read the attributes");
        if (!*values->of[CSI_ATTRIBUTE_MODEL])
                return error_set(
                    e, ERROR_INVALID,
                    "attribute model is missing: name a model, as in registry.example.com/models/llama:1");
        int r = oci_reference_parse(&a->reference, values->of[CSI_ATTRIBUTE_MODEL], e);
        if (r < 0)
                return error_wrap(e, "attribute model");
        r = parse_policy(&a->policy, values->of[CSI_ATTRIBUTE_PULL_POLICY], e);
        if (r < 0)
                return r;
        r = parse_selection(&a->selection, values, e);
        if (r < 0)
                return r;
        *ret = take_ptr(a);
        return 0;
}

int csi_attributes_parse(struct csi_attributes **ret, const struct csi_pair *pairs, size_t n,
                         struct error *e) {
        struct csi_attribute_values values;
        int r = csi_attributes_collect(&values, pairs, n, e);

        return r < 0 ? r : csi_attributes_of(ret, &values, e);
}

int csi_attributes_check_layout(const struct csi_attributes *a, const struct settings *s, struct error *e) {
        if (!a->reference->is_layout || oci_layout_is_listed(a->reference, s->policy.layouts))
                return 0;
        return error_set(
            e, ERROR_DENIED,
            "a volume may not have %s: none of the directories in policy.layouts (with the chart: "
            "node.hostPaths) is above it",
            a->reference->text);
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
                return error_set(e, ERROR_INVALID,
                                 "the volume's secret has neither .dockerconfigjson nor .dockercfg nor "
                                 "username and password");
        else {
                *ret = NULL;
                return 0;
        }
        return r < 0 ? error_wrap(e, "the volume's secret") : 0;
}
