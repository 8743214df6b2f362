/* SPDX-License-Identifier: Apache-2.0 */
/* The input's lines are the WWW-Authenticate headers of one answer. */
#include "oci/challenge.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_challenge_ struct oci_challenge c = { 0 };
        _cleanup_free_ char *text = strndup((const char *)data, size);
        struct error e;
        char *rest = text, *line;

        while (rest && (line = strsep(&rest, "\n")))
                oci_challenge_add(&c, line, &e);
        assert(c.bearer || (!c.realm && !c.service && !c.scope && !c.error));
        assert(!c.realm || !strpbrk(c.realm, "\r\n"));
        return 0;
}
