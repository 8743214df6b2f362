/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever a config says, looking credentials up in it ends, and what is found can be used. */
#include "oci/keyring.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const hosts[] = { "docker.io", "r.io", "a.b.r.io:5000", "[::1]:5000" };
        _cleanup_(oci_keyring_freep) struct oci_keyring *k = NULL;
        const struct oci_credential *c;
        struct digest d;
        struct error e;

        if (oci_keyring_parse(&k, (const char *)data, size, &e) < 0)
                return 0;
        for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
                for (size_t n = 0; (c = oci_keyring_find(k, hosts[i], "team/model", n)); n++)
                        assert((c->username && c->password) || c->identity_token || c->registry_token);
        oci_keyring_fingerprint(&d, k);
        return 0;
}
