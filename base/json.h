/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json: strict reading of hostile JSON with jansson: no duplicate keys, nothing after the end, valid UTF-8,
 * a size cap, bounded depth.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define _cleanup_json_ _cleanup_(json_decrefp) /* jansson's own */

/* Parses an object. @what names the document in errors ("manifest of X"). */
int json_parse(json_t **ret, const char *data, size_t len, size_t max, const char *what, struct error *e);

/* The same of a document that others may write into, where a NUL in some string must not be the end of it
 * all. A string that has one is ERROR_INVALID in what follows; jansson's own functions give its beginning. */
int json_parse_with_nuls(json_t **ret, const char *data, size_t len, size_t max, const char *what,
                         struct error *e);
bool json_string_has_nul(const json_t *string); /* @string is one */

/* Members of an object. Missing is ERROR_INVALID in the _get forms; the _opt forms give the default.
 * A member of the wrong type is ERROR_INVALID in both. Strings belong to the tree. */
int json_get_string(const char **ret, const json_t *object, const char *key, struct error *e);
/* *ret is @def if the member is missing. */
int json_opt_string(const char **ret, const json_t *object, const char *key, const char *def,
                    struct error *e);
int json_get_size(uint64_t *ret, const json_t *object, const char *key, struct error *e); /* 0 to INT64_MAX */
int json_opt_size(uint64_t *ret, const json_t *object, const char *key, uint64_t def, struct error *e);
int json_get_object(json_t **ret, const json_t *object, const char *key, struct error *e);
int json_opt_object(json_t **ret, const json_t *object, const char *key, struct error *e); /* NULL: missing */
int json_opt_array(json_t **ret, const json_t *object, const char *key, struct error *e);  /* NULL: missing */
