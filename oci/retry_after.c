/* SPDX-License-Identifier: Apache-2.0 */
/* retry_after: curl knows the three forms of an HTTP date. */
#include "oci/retry_after.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int64_t clamp(int64_t ms) {
        return ms < 0 ? 0 : ms > OCI_RETRY_AFTER_MAX_MS ? OCI_RETRY_AFTER_MAX_MS : ms;
}

int oci_retry_after_parse(int64_t *ret_ms, const char *value, int64_t now_ms) {
        value += strspn(value, " \t");
        size_t digits = strspn(value, "0123456789");

        if (digits > 0) {
                if (value[digits + strspn(value + digits, " \t")] != '\0')
                        return -EINVAL;
                *ret_ms = digits > 9 ? OCI_RETRY_AFTER_MAX_MS : clamp(strtoll(value, NULL, 10) * 1000);
                return 0;
        }
        time_t when = curl_getdate(value, NULL);
        if (when == (time_t)-1)
                return -EINVAL;
        /* A date far away does not fit in milliseconds. */
        if (when > now_ms / 1000 + OCI_RETRY_AFTER_MAX_MS / 1000)
                *ret_ms = OCI_RETRY_AFTER_MAX_MS;
        else
                *ret_ms = when < now_ms / 1000 ? 0 : clamp((int64_t)when * 1000 - now_ms);
        return 0;
}
