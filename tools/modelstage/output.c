/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jansson refuses strings that are not UTF-8, and protobuf-c hands over whatever came: so strings are
 * repaired here, and JSON_ENSURE_ASCII keeps what is legal in JSON but not harmless on a terminal (U+009B,
 * U+202E) away from it.
 */
#include "tools/modelstage/output.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "tools/modelstage/cli.h"

#define FLAGS (JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12))

static void print(json_t *value, size_t flags) {
        cli_must(value);
        if (json_dumpf(value, stdout, flags) == 0) /* else stdout has its error, which cli_finish() tells */
                putchar('\n');
        json_decref(value);
}

void output_json(json_t *value) {
        print(value, FLAGS | JSON_INDENT(2));
}

void output_json_line(json_t *value) {
        print(value, FLAGS | JSON_COMPACT);
}

json_t *output_text(const char *s) {
        size_t len = strlen(s);
        struct buf b = BUF_INIT(SIZE_MAX / 2);

        if (text_is_utf8(s, len))
                return cli_must(json_stringn_nocheck(s, len));
        for (size_t i = 0; i < len;) {
                size_t n = text_utf8_size(s + i, len - i);
                if (buf_append(&b, n ? s + i : "\xef\xbf\xbd", n ? n : 3) < 0)
                        cli_out_of_memory();
                i += n ? n : 1;
        }
        json_t *value = cli_must(json_stringn_nocheck(b.data, b.len));
        buf_free(&b);
        return value;
}

json_t *output_text_or_null(const char *s) {
        return *s ? output_text(s) : json_null();
}

json_t *output_seconds(int64_t ms) {
        return ms < 0 ? json_null() : cli_must(json_real((double)ms / 1000));
}

json_t *output_time(int64_t unix_ms) {
        char text[TEXT_SHORT];

        return unix_ms == 0 ? json_null() : output_text(text_format_time(unix_ms, text));
}

void output_set(json_t *object, const char *key, json_t *value) {
        if (json_object_set_new(object, key, value) < 0)
                cli_out_of_memory();
}
