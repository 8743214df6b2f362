/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json: jansson refuses by itself what is not JSON, invalid UTF-8, integers over 64 bits, anything behind the
 * end, nesting over 2048, and "\u0000" unless a flag allows it in values; duplicate keys by a flag. Its
 * messages quote the document, so they are cut.
 */
#include "base/json.h"

#include <string.h>

static int parse(json_t **ret, const char *data, size_t len, size_t max, size_t flags, const char *what,
                 struct error *e) {
        _cleanup_json_ json_t *root = NULL;
        json_error_t why;

        if (len > max)
                return error_set(e, ERROR_INVALID, "the %s is larger than %zu bytes", what, max);
        root = json_loadb(data, len, JSON_REJECT_DUPLICATES | flags, &why);
        if (!root && json_error_code(&why) == json_error_out_of_memory)
                return error_errno(e, ENOMEM, "cannot read the %s", what);
        if (!root)
                return error_set(e, ERROR_INVALID, "the %s is not valid JSON: line %d, column %d: %.100s",
                                 what, why.line, why.column, why.text);
        if (!json_is_object(root))
                return error_set(e, ERROR_INVALID, "the %s is not a JSON object", what);
        *ret = take_ptr(root);
        return 0;
}

int json_parse(json_t **ret, const char *data, size_t len, size_t max, const char *what, struct error *e) {
        return parse(ret, data, len, max, 0, what, e);
}

int json_parse_with_nuls(json_t **ret, const char *data, size_t len, size_t max, const char *what,
                         struct error *e) {
        return parse(ret, data, len, max, JSON_ALLOW_NUL, what, e);
}

bool json_string_has_nul(const json_t *string) {
        return strlen(json_string_value(string)) != json_string_length(string);
}

static int missing(const char *key, struct error *e) {
        return error_set(e, ERROR_INVALID, "\"%s\" is missing", key);
}

/* null is a value of the wrong type, not a missing member: registries do not send it, attackers do. */
int json_opt_string(const char **ret, const json_t *object, const char *key, const char *def,
                    struct error *e) {
        const json_t *value = json_object_get(object, key);

        if (value && !json_is_string(value))
                return error_set(e, ERROR_INVALID, "\"%s\" is not a string", key);
        if (value && json_string_has_nul(value))
                return error_set(e, ERROR_INVALID, "\"%s\" has a NUL", key);
        *ret = value ? json_string_value(value) : def;
        return 0;
}

int json_get_string(const char **ret, const json_t *object, const char *key, struct error *e) {
        if (!json_object_get(object, key))
                return missing(key, e);
        return json_opt_string(ret, object, key, NULL, e);
}

/* Reals are refused, even 5.0: a size that has passed through a double has lost its last digits. */
int json_opt_size(uint64_t *ret, const json_t *object, const char *key, uint64_t def, struct error *e) {
        const json_t *value = json_object_get(object, key);

        if (value && (!json_is_integer(value) || json_integer_value(value) < 0))
                return error_set(e, ERROR_INVALID, "\"%s\" is not a whole number of 0 or more", key);
        *ret = value ? (uint64_t)json_integer_value(value) : def;
        return 0;
}

int json_get_size(uint64_t *ret, const json_t *object, const char *key, struct error *e) {
        if (!json_object_get(object, key))
                return missing(key, e);
        return json_opt_size(ret, object, key, 0, e);
}

int json_opt_object(json_t **ret, const json_t *object, const char *key, struct error *e) {
        json_t *value = json_object_get(object, key);

        if (value && !json_is_object(value))
                return error_set(e, ERROR_INVALID, "\"%s\" is not an object", key);
        *ret = value;
        return 0;
}

int json_get_object(json_t **ret, const json_t *object, const char *key, struct error *e) {
        if (!json_object_get(object, key))
                return missing(key, e);
        return json_opt_object(ret, object, key, e);
}

int json_opt_array(json_t **ret, const json_t *object, const char *key, struct error *e) {
        json_t *value = json_object_get(object, key);

        if (value && !json_is_array(value))
                return error_set(e, ERROR_INVALID, "\"%s\" is not an array", key);
        *ret = value;
        return 0;
}
