/* SPDX-License-Identifier: Apache-2.0 */
/* base64: no blanks, no other alphabet, and the bits behind the last byte have to be zero. */
#include "oci/base64.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int oci_base64_decode(char **ret, size_t *ret_len, const char *text) {
        size_t len = strspn(text, alphabet), padding = strlen(text + len), n = 0;
        uint32_t bits = 0;

        if (len % 4 == 1 || (padding && (padding != (4 - len % 4) % 4 || strspn(text + len, "=") != padding)))
                return -EINVAL;
        char *out = malloc(len / 4 * 3 + 4);
        if (!out)
                return -ENOMEM;
        for (size_t i = 0; i < len; i++) {
                bits = bits << 6 | (uint32_t)(strchr(alphabet, text[i]) - alphabet);
                if (i % 4 != 0)
                        out[n++] = (char)(bits >> (6 - 2 * (i % 4)));
        }
        out[n] = '\0';
        unsigned spare = len % 4 == 2 ? 4 : len % 4 == 3 ? 2 : 0;
        if (bits & ((1u << spare) - 1)) {
                free(out);
                return -EINVAL;
        }
        *ret = out;
        *ret_len = n;
        return 0;
}
