/* SPDX-License-Identifier: Apache-2.0 */
/* Input: a Node, as an API server might send it. What is ours goes, and nothing else is touched. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "csi/node_patch.h"

#define KEY "csi.modelstage.io/agent-not-ready"
#define OURS CSI_LABEL_DOMAIN "/" CSI_LABEL_PREFIX

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_ours(const json_t *taint) {
        const char *key = json_string_value(json_object_get(taint, "key"));

        return key && strcmp(key, KEY) == 0;
}

/* The taints that stay are those of before without ours, in their order. */
static void check_taints(const json_t *node) {
        const json_t *before = json_object_get(json_object_get(node, "spec"), "taints");
        _cleanup_json_ json_t *patch = NULL;
        struct error e = { 0 };
        size_t n = 0;

        if (csi_node_taint_patch(&patch, node, KEY, &e) < 0) {
                assert(e.kind != ERROR_NONE && *e.text && !patch);
                return;
        }
        if (!patch) {
                for (size_t i = 0; i < json_array_size(before); i++)
                        assert(!is_ours(json_array_get(before, i)));
                return;
        }
        const json_t *after = json_object_get(json_array_get(patch, 1), "value");
        assert(json_equal(json_object_get(json_array_get(patch, 0), "value"), before));
        for (size_t i = 0; i < json_array_size(before); i++)
                if (!is_ours(json_array_get(before, i)))
                        assert(json_equal(json_array_get(before, i), json_array_get(after, n++)));
        assert(json_array_size(after) == n && n < json_array_size(before));
}

static void check_labels(const json_t *node, const struct csi_labels *wanted) {
        _cleanup_json_ json_t *patch = NULL;
        struct error e = { 0 };
        const char *key;
        json_t *value;

        if (csi_node_label_patch(&patch, node, wanted, &e) < 0) {
                assert(e.kind != ERROR_NONE && *e.text && !patch);
                return;
        }
        json_object_foreach (json_object_get(json_object_get(patch, "metadata"), "labels"), key, value) {
                assert(strncmp(key, OURS, strlen(OURS)) == 0);
                assert(json_is_null(value) != csi_labels_have(wanted, key + strlen(CSI_LABEL_DOMAIN "/")));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const struct csi_labels none = { .n = 0 };
        const struct csi_labels some = { .list = { { "warm-a-1" }, { "warm-b-2" } }, .n = 2 };
        _cleanup_json_ json_t *node = NULL;

        if (json_parse(&node, (const char *)data, size, 1 << 20, "Node", NULL) < 0)
                return 0;
        check_taints(node);
        check_labels(node, &none);
        check_labels(node, &some);
        return 0;
}
