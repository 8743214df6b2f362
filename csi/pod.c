/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/pod.h"

#include <string.h>

#include "base/text.h"

/* A namespace's name is one label. */
static bool is_namespace(const char *s, size_t len) {
        return len <= 63 && !memchr(s, '.', len) && text_is_dns_subdomain(s, len);
}

static bool is_name(const char *s, size_t len) {
        return text_is_dns_subdomain(s, len);
}

/* A UUID; static pods have other hexadecimal numbers. */
static bool is_uid(const char *s, size_t len) {
        return len > 0 && strspn(s, "0123456789abcdefABCDEF-") == len;
}

bool csi_pod_read(struct csi_pod *ret, const struct csi_pair *context, size_t n) {
        struct csi_pod pod = { .name = "" };
        const struct {
                const char *key;
                bool (*is_valid)(const char *s, size_t len);
                char *to;
                size_t size;
        } fields[] = {
                { "csi.storage.k8s.io/pod.name", is_name, pod.name, sizeof pod.name },
                { "csi.storage.k8s.io/pod.namespace", is_namespace, pod.namespace, sizeof pod.namespace },
                { "csi.storage.k8s.io/pod.uid", is_uid, pod.uid, sizeof pod.uid },
        };

        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
                const char *value = NULL;

                for (size_t i = 0; i < n; i++)
                        if (strcmp(context[i].key, fields[f].key) == 0)
                                value = context[i].value;
                size_t len = value ? strlen(value) : 0;
                if (!value || len >= fields[f].size || !fields[f].is_valid(value, len))
                        return false;
                memcpy(fields[f].to, value, len + 1);
        }
        *ret = pod;
        return true;
}
