/* SPDX-License-Identifier: Apache-2.0 */
/* What is accepted is a range that cannot mislead whoever writes by it. */
#include "oci/content_range.h"
#include "oci/retry_after.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *)data, size);
        struct oci_content_range c;
        int64_t ms;

        if (!text)
                return 0;
        if (oci_content_range_parse(&c, text) >= 0) {
                assert(c.has_range || c.has_total);
                assert(!c.has_range || c.from < c.to);
                assert(!c.has_range || !c.has_total || c.to <= c.total);
        }
        if (oci_retry_after_parse(&ms, text, 1700000000000) >= 0)
                assert(ms >= 0 && ms <= OCI_RETRY_AFTER_MAX_MS);
        return 0;
}
