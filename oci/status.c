/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status: from a refusal to one sentence.
 *
 *   404, 410, 400 with a code of "no such thing"     ERROR_NOT_FOUND
 *   401                                              ERROR_UNAUTHENTICATED
 *   403                                              ERROR_DENIED
 *   408, 429, 5xx, and what makes no sense           ERROR_UNAVAILABLE
 *
 * The registry's words stand in it, because they often are the only explanation. They are hostile: whoever
 * made the pod reads them, and a registry may echo what we sent it. So secrets are taken out before anything
 * is cut, all that is not printable ASCII becomes a blank, and a code is capitals and underscores or nothing.
 *
 * No state; any thread.
 */
#include "oci/status.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

#define BODY_MAX 65536u /* of an error's document that we look at */
#define SECRET_MIN 4u   /* as in the log: shorter ones would hide half of what is said */
#define REDACTED "[redacted]"

/* Bytes of the longest secret that @text starts with. */
static size_t secret_at(const char *text, const char *const *secrets) {
        size_t longest = 0;

        for (; *secrets; secrets++) {
                size_t n = strlen(*secrets);

                if (n >= SECRET_MIN && n > longest && strncmp(text, *secrets, n) == 0)
                        longest = n;
        }
        return longest;
}

/* Copies @text (NULL: nothing) without secrets. They are looked for before it is cut, so that none is cut in
 * half and passes. */
static void quote(char *out, size_t size, const char *text, const char *const *secrets) {
        size_t n = 0;

        while (text && *text && n + 1 < size) {
                size_t hidden = secret_at(text, secrets);

                if (hidden)
                        n += (size_t)snprintf(out + n, size - n, REDACTED);
                else
                        out[n++] = isprint((unsigned char)*text) ? *text : ' ';
                text += hidden ? hidden : 1;
        }
        out[n < size ? n : size - 1] = '\0';
}

void oci_words_read(struct oci_words *ret, const char *body, size_t len, const char *const *secrets) {
        _cleanup_json_ json_t *doc = NULL;
        const json_t *first;

        *ret = (struct oci_words){ 0 };
        if (len == 0 || len > BODY_MAX || json_parse(&doc, body, len, BODY_MAX, "error", NULL) < 0)
                return;
        first = json_array_get(json_object_get(doc, "errors"), 0);
        quote(ret->code, sizeof ret->code, json_string_value(json_object_get(first, "code")), secrets);
        ret->code[strspn(ret->code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_")] = '\0';
        quote(ret->message, sizeof ret->message, json_string_value(json_object_get(first, "message")),
              secrets);
}

static bool code_is_not_found(const char *code) {
        return strcmp(code, "NAME_INVALID") == 0 || strcmp(code, "NAME_UNKNOWN") == 0 ||
               strcmp(code, "MANIFEST_UNKNOWN") == 0;
}

int oci_status_error(struct error *e, const struct oci_reference *reference, const char *host, long status,
                     const struct oci_words *words) {
        struct oci_words w = { 0 };
        const char *name = reference->text;
        char http[32], said[sizeof w + sizeof http], both[sizeof http + sizeof said + 2];

        if (words)
                w = *words;

        bool silent = !w.code[0] && !w.message[0];
        const char *colon = w.code[0] && w.message[0] ? ": " : "";

        snprintf(http, sizeof http, "HTTP %ld", status);
        snprintf(said, sizeof said, "%s%s%s", silent ? http : w.code, colon, w.message);
        snprintf(both, sizeof both, "%s%s%s", http, silent ? "" : ", ", silent ? "" : said);
        if (status == 404 || status == 410 || (status == 400 && code_is_not_found(w.code)))
                return error_set(e, ERROR_NOT_FOUND, "no such model %s (%s)", name,
                                 w.code[0] ? w.code : said);
        if (status == 401)
                return error_set(e, ERROR_UNAUTHENTICATED,
                                 "%s wants credentials for %s, and none that we have is right (%s)", host,
                                 name, said);
        if (status == 403)
                return error_set(e, ERROR_DENIED, "%s denies access to %s (%s)", host, name, said);
        if (status == 429)
                return error_set(e, ERROR_UNAVAILABLE, "%s limits our requests for %s (%s); try again later",
                                 host, name, said);
        if (status >= 500 || status == 408)
                return error_set(e, ERROR_UNAVAILABLE, "%s failed to answer for %s (%s)", host, name, both);
        return error_set(e, ERROR_UNAVAILABLE, "%s gave an answer for %s that makes no sense (%s)", host,
                         name, both);
}
