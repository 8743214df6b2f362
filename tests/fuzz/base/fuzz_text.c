/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is two texts, with a newline between them: a pattern and a path for the glob, each of them also a
 * name, a size and a duration.
 */
#include "base/path.h"
#include "base/text.h"

#include "base/cleanup.h"

#include <limits.h>
#include <string.h>

/* Cleaning gives a name without any of what it refuses, and cleaning that changes nothing. */
static void check_clean(const char *text) {
        _cleanup_free_ char *clean = NULL, *again = NULL;

        if (path_clean(&clean, text, NULL) < 0)
                return;
        if (*clean == '/' || text_ends_with(clean, "/") || strstr(clean, "//") || strlen(clean) >= PATH_MAX)
                abort();
        for (const char *p = clean; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
                if ((strncmp(p, "..", 2) == 0 && (!p[2] || p[2] == '/')) ||
                    (*p == '.' && (!p[1] || p[1] == '/')))
                        abort();
        if (path_clean(&again, clean, NULL) < 0 || strcmp(clean, again) != 0)
                abort();
}

static void check_numbers(const char *text) {
        char shown[TEXT_SHORT];
        uint64_t size, size_again;
        int64_t ms, ms_again;

        if (text_parse_size(&size, text) == 0 && size < 1ull << 59 &&
            text_parse_size(&size_again, text_format_size(size, shown)) < 0)
                abort();
        if (text_parse_duration(&ms, text) == 0 &&
            (text_parse_duration(&ms_again, text_format_duration(ms, shown)) < 0 || ms_again > ms))
                abort();
}

/* A text matches itself with every character quoted. */
static void check_quoted(const char *text) {
        size_t len = strlen(text);
        char *pattern = malloc(2 * len + 2), *p = pattern;

        if (!pattern)
                return;
        if (strchr(text, '/'))
                *p++ = '/'; /* of the whole path */
        for (size_t i = 0; i < len;) {
                size_t n = text_utf8_size(text + i, len - i);

                n = n ? n : 1;
                *p++ = '\\';
                memcpy(p, text + i, n);
                p += n;
                i += n;
        }
        *p = '\0';
        if (strlen(pattern) <= 4096 && !text_glob(pattern, text))
                abort();
        free(pattern);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *first = strndup((const char *)data, size), *second = NULL;
        char *newline;

        if (!first)
                return 0;
        newline = strchr(first, '\n');
        second = strdup(newline ? newline + 1 : "");
        if (newline)
                *newline = '\0';
        if (!second)
                return 0;
        (void)text_glob(first, second);
        for (int i = 0; i < 2; i++) {
                const char *text = i ? second : first;

                check_clean(text);
                check_numbers(text);
                check_quoted(text);
        }
        return 0;
}
