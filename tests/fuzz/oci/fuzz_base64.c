/* SPDX-License-Identifier: Apache-2.0 */
/* What is accepted is what OpenSSL makes of the bytes that came out: there is one spelling of each. */
#include "oci/base64.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *)data, size);
        _cleanup_free_ char *bytes = NULL;
        _cleanup_free_ char *again = NULL;
        size_t len = 0;

        if (!text || oci_base64_decode(&bytes, &len, text) < 0)
                return 0;
        assert(bytes[len] == '\0' && len <= strlen(text));
        again = malloc((len + 2) / 3 * 4 + 1);
        if (!again)
                return 0;
        EVP_EncodeBlock((unsigned char *)again, (const unsigned char *)bytes, (int)len);
        text[strcspn(text, "=")] = '\0';
        again[strcspn(again, "=")] = '\0';
        assert(strcmp(text, again) == 0);
        return 0;
}
