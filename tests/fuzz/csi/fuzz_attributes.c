/* SPDX-License-Identifier: Apache-2.0 */
/* Input: lines "key=value"; the first half goes to the attributes, lines that begin with '!' to the secrets.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "csi/attributes.h"
#include "csi/kube.h"
#include "csi/pod.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_PAIRS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct csi_pair attributes[MAX_PAIRS], secrets[MAX_PAIRS];
        _cleanup_(csi_attributes_freep) struct csi_attributes *a = NULL;
        _cleanup_(oci_keyring_freep) struct oci_keyring *k = NULL;
        _cleanup_free_ char *text = strndup((const char *)data, size);
        size_t n_attributes = 0, n_secrets = 0;
        struct error e = { 0 };
        struct csi_pod pod;
        char *saved = NULL;

        if (!text)
                return 0;
        for (char *line = strtok_r(text, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved)) {
                char *equals = strchr(line, '=');
                if (!equals)
                        continue;
                *equals = 0;
                if (*line == '!' && n_secrets < MAX_PAIRS)
                        secrets[n_secrets++] = (struct csi_pair){ line + 1, equals + 1 };
                else if (*line != '!' && n_attributes < MAX_PAIRS)
                        attributes[n_attributes++] = (struct csi_pair){ line, equals + 1 };
        }
        if (csi_attributes_parse(&a, attributes, n_attributes, &e) < 0)
                assert(e.kind != ERROR_NONE && *e.text && !a);
        if (csi_pod_read(&pod, attributes, n_attributes)) /* goes into a path */
                assert(csi_kube_name_is_valid(pod.name) && csi_kube_name_is_valid(pod.namespace) && *pod.uid);
        e = (struct error){ 0 };
        if (csi_secrets_parse(&k, secrets, n_secrets, &e) < 0)
                assert(e.kind != ERROR_NONE && *e.text && !k);
        return 0;
}
