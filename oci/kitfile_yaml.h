/* SPDX-License-Identifier: Apache-2.0 */
/* kitfile_yaml: the Kitfile that `kit unpack` writes beside a ModelKit's files, made from the kit's config.
 */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

#define KITFILE_YAML_MAX (8u * 1024 * 1024) /* bytes */
#define KITFILE_DEPTH_MAX 64                /* of maps and lists in each other */

/* The caller frees. ERROR_INVALID: too long or too deep. */
int oci_kitfile_yaml(char **ret, size_t *ret_len, const json_t *document, struct error *e);
