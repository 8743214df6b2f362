/* SPDX-License-Identifier: Apache-2.0 */
/* Input: lines "key=value" (CreateVolume's parameters), an empty line, a claim's JSON, a line "---", a
 * PersistentVolume's JSON. What is taken is what a publish would take, and its own volume agrees with it. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "csi/claim.h"
#include "csi/kube.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_PAIRS 16
#define VOLUME "pvc-6a3f0f5e-0000-4000-8000-000000000001"

static size_t take_pairs(struct csi_pair pairs[static MAX_PAIRS], char **text) {
        size_t n = 0;

        while (**text && **text != '\n' && n < MAX_PAIRS) {
                char *line = strsep(text, "\n"), *equals = strchr(line, '=');

                if (!*text)
                        *text = strchr(line, '\0');
                if (!equals)
                        continue;
                *equals = '\0';
                pairs[n++] = (struct csi_pair){ line, equals + 1 };
        }
        *text += **text == '\n';
        return n;
}

static json_t *parse(const char *text) {
        json_t *object = NULL;

        (void)json_parse(&object, text, strlen(text), 1 << 20, "object", NULL);
        return object;
}

static void check_claim(struct csi_attribute_values *values, const struct csi_class *class,
                        const json_t *claim) {
        _cleanup_(csi_attributes_freep) struct csi_attributes *a = NULL;
        struct error e = { 0 };

        if (csi_claim_read(values, class, VOLUME, claim, &e) < 0) {
                assert(*e.text && (e.kind == ERROR_PRECONDITION || e.kind == ERROR_DENIED ||
                                   e.kind == ERROR_NOT_FOUND || e.kind == ERROR_UNAVAILABLE));
                return;
        }
        assert(csi_attributes_of(&a, values, NULL) == 0);
        for (size_t k = 0; k < _CSI_ATTRIBUTE_MAX; k++) /* what the class sets stays */
                assert(!*class->values.of[k] || strcmp(class->values.of[k], values->of[k]) == 0);
}

/* The volume that would be made of @values is theirs. */
static void check_own_volume(const struct csi_attribute_values *values) {
        _cleanup_json_ json_t *attributes = json_object();

        for (size_t k = 0; k < _CSI_ATTRIBUTE_MAX; k++)
                if (*values->of[k])
                        json_object_set_new(attributes, csi_attribute_keys[k], json_string(values->of[k]));
        _cleanup_json_ json_t *volume =
            json_pack("{s:{s:s},s:{s:{s:s,s:s,s:O}}}", "metadata", "name", "v", "spec", "csi", "driver", "d",
                      "volumeHandle", "h", "volumeAttributes", attributes);
        assert(csi_claim_check_volume(volume, "d", "h", values, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *)data, size);
        struct csi_attribute_values values;
        struct csi_pair pairs[MAX_PAIRS];
        struct csi_class class;
        struct error e = { 0 };
        char *at = text, *separator;
        size_t n;

        if (!text || !text_is_utf8(text, strlen(text))) /* a string of protobuf is */
                return 0;
        n = take_pairs(pairs, &at);
        separator = strstr(at, "\n---\n");
        if (separator)
                *separator = '\0';
        if (csi_class_read(&class, pairs, n, &e) < 0) {
                assert(e.kind == ERROR_INVALID && *e.text);
                return 0;
        }
        assert(!*class.claim_name || csi_kube_name_is_valid(class.claim_name));
        assert(!*class.claim_namespace || csi_kube_name_is_valid(class.claim_namespace));
        values = class.values;
        _cleanup_json_ json_t *claim = parse(at),
                              *volume = separator ? parse(separator + strlen("\n---\n")) : NULL;
        if (claim)
                check_claim(&values, &class, claim);
        check_own_volume(&values);
        if (volume && csi_claim_check_volume(volume, "csi.modelstage.io", "ms-1", &values, &e) < 0)
                assert(e.kind == ERROR_EXISTS || e.kind == ERROR_UNAVAILABLE);
        return 0;
}
