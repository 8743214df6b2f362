/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/node_patch.h"

#include <stdio.h>
#include <string.h>

#define UNREGISTERED "karpenter.sh/unregistered" /* a taint; the label in case that it becomes one */

static int out_of_memory(struct error *e) {
        return error_errno(e, ENOMEM, "cannot change the Node");
}

/* ---- taints ---- */

static bool has_key(const json_t *taint, const char *key) {
        const char *its = json_string_value(json_object_get(taint, "key"));

        return its && strcmp(its, key) == 0;
}

/* *ret: the taints that stay. Returns whether that is fewer. */
static bool without(json_t **ret, const json_t *taints, const char *key) {
        json_t *rest = json_array(), *taint;
        size_t i;

        json_array_foreach (taints, i, taint) {
                if (!has_key(taint, key) && json_array_append(rest, taint) < 0) {
                        json_decref(rest);
                        rest = NULL;
                        break;
                }
        }
        *ret = rest;
        return json_array_size(rest) < json_array_size(taints);
}

int csi_node_taint_patch(json_t **ret, const json_t *node, const char *key, struct error *e) {
        _cleanup_json_ json_t *rest = NULL;
        json_t *spec = NULL, *taints = NULL;
        int r = json_opt_object(&spec, node, "spec", e);

        if (r >= 0 && spec)
                r = json_opt_array(&taints, spec, "taints", e);
        if (r < 0)
                return error_wrap(e, "the Node");
        *ret = NULL;
        if (!taints)
                return 0;
        bool fewer = without(&rest, taints, key);
        if (!rest)
                return out_of_memory(e);
        if (!fewer)
                return 0;
        *ret = json_pack("[{s:s,s:s,s:O},{s:s,s:s,s:O}]", "op", "test", "path", "/spec/taints", "value",
                         taints, "op", "replace", "path", "/spec/taints", "value", rest);
        return *ret ? 0 : out_of_memory(e);
}

bool csi_node_is_joining(const json_t *node) {
        const json_t *taints = json_object_get(json_object_get(node, "spec"), "taints"), *taint;
        const json_t *labels = json_object_get(json_object_get(node, "metadata"), "labels");
        size_t i;

        json_array_foreach (taints, i, taint) {
                if (has_key(taint, UNREGISTERED))
                        return true;
        }
        return json_object_get(labels, UNREGISTERED);
}

/* ---- labels ---- */

#define OURS CSI_LABEL_DOMAIN "/" CSI_LABEL_PREFIX

/* Those of @labels that are ours and not wanted become null, which is how a merge patch removes. */
static int drop_labels(json_t *changes, json_t *labels, const struct csi_labels *wanted) {
        const char *key;
        json_t *value;

        json_object_foreach (labels, key, value) {
                if (strncmp(key, OURS, strlen(OURS)) != 0)
                        continue;
                if (!csi_labels_have(wanted, key + strlen(CSI_LABEL_DOMAIN "/")) &&
                    json_object_set_new(changes, key, json_null()) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int add_labels(json_t *changes, const json_t *labels, const struct csi_labels *wanted) {
        for (size_t i = 0; i < wanted->n; i++) {
                char key[sizeof CSI_LABEL_DOMAIN "/" + CSI_LABEL_SIZE];
                const char *value;

                snprintf(key, sizeof key, CSI_LABEL_DOMAIN "/%s", wanted->list[i].name);
                value = json_string_value(json_object_get(labels, key));
                if ((!value || strcmp(value, "true") != 0) &&
                    json_object_set_new(changes, key, json_string("true")) < 0)
                        return -ENOMEM;
        }
        return 0;
}

int csi_node_label_patch(json_t **ret, const json_t *node, const struct csi_labels *wanted, struct error *e) {
        _cleanup_json_ json_t *changes = json_object();
        json_t *metadata = NULL, *labels = NULL;
        int r = json_get_object(&metadata, node, "metadata", e);

        if (r >= 0)
                r = json_opt_object(&labels, metadata, "labels", e);
        if (r < 0)
                return error_wrap(e, "the Node");
        if (!changes || drop_labels(changes, labels, wanted) < 0 || add_labels(changes, labels, wanted) < 0)
                return out_of_memory(e);
        *ret = NULL;
        if (json_object_size(changes) == 0)
                return 0;
        *ret = json_pack("{s:{s:O}}", "metadata", "labels", changes);
        return *ret ? 0 : out_of_memory(e);
}
