/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64: as config.json has it: the standard alphabet (RFC 4648 §4), padded or not.
 */
#pragma once

#include <stddef.h>

/* *ret is NUL-terminated and to be freed; it may hold a secret, so the caller wipes it, and it may have NULs
 * inside. 0, -EINVAL, -ENOMEM. */
int oci_base64_decode(char **ret, size_t *ret_len, const char *text);
