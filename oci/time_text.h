/* SPDX-License-Identifier: Apache-2.0 */
/* time_text: times as artifacts write them. */
#pragma once

#include <stdint.h>

/* RFC 3339, any offset, a fraction is dropped: seconds since 1970. 0 or -EINVAL. */
int oci_time_parse(int64_t *ret, const char *text);
