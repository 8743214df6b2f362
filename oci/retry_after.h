/* SPDX-License-Identifier: Apache-2.0 */
/* retry_after: how long a server asks us to stay away (RFC 9110 §10.2.3): seconds, or an HTTP date. */
#pragma once

#include <stdint.h>

#define OCI_RETRY_AFTER_MAX_MS (60 * 60 * 1000) /* more is not believed */

/* Milliseconds from @now_ms (since 1970), between 0 and the cap. 0 or -EINVAL. */
int oci_retry_after_parse(int64_t *ret_ms, const char *value, int64_t now_ms);
