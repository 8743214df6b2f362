/* SPDX-License-Identifier: Apache-2.0 */
/* What is accepted prints back to an equal reference. */
#include "oci/reference.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(oci_reference_freep) struct oci_reference *r = NULL, *again = NULL;
        _cleanup_free_ char *text = strndup((const char *)data, size);
        struct error e;

        if (!text || oci_reference_parse(&r, text, &e) < 0)
                return 0;
        assert(oci_reference_parse(&again, r->text, &e) >= 0);
        assert(strcmp(r->text, again->text) == 0 && strcmp(r->repository, again->repository) == 0);
        assert(!r->tag == !again->tag && r->is_layout == again->is_layout &&
               r->has_digest == again->has_digest);
        return 0;
}
