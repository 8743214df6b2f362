/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is accepted as a digest is canonical: it comes back byte for byte. */
#include "base/digest.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char text[DIGEST_TEXT_SIZE];
        struct digest d, again;

        if (digest_parse(&d, (const char *)data, size) < 0)
                return 0;
        digest_format(&d, text);
        if (strlen(text) != size || memcmp(text, data, size) != 0)
                abort();
        if (digest_parse(&again, text, size) < 0 || !digest_equal(&d, &again))
                abort();
        return 0;
}
