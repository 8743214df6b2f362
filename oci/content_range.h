/* SPDX-License-Identifier: Apache-2.0 */
/* content_range: which bytes a 206 carries, or how long what a 416 was asked about is (RFC 9110 §14.4). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct oci_content_range {
        bool has_range;    /* false: "bytes * / total", of a 416 */
        bool has_total;    /* false: "bytes a-b / *" */
        uint64_t from, to; /* [from, to), not empty */
        uint64_t total;    /* at least @to */
};

/* Strict: unit "bytes", decimal numbers that fit, from <= to < total, nothing before or after but blanks. 0
 * or -EINVAL. */
int oci_content_range_parse(struct oci_content_range *ret, const char *value);
