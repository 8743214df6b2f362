/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspection: one answer, three ways to show it: the digest alone (-q), JSON (-o json), text for people.
 *
 * The tensor summary comes as JSON text inside the answer: it has a shape of its own that will grow
 * (metadata, formats), and passes through to -o json as it is. For people, a few of its numbers are picked
 * out.
 */
#include "tools/modelstage/inspection.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "tools/modelstage/cli.h"
#include "tools/modelstage/output.h"
#include "tools/modelstage/screen.h"
#include "tools/modelstage/table.h"

#define TENSORS_MAX (8u << 20)
#define ANNOTATION_WIDTH 120 /* some tools put whole files into them; JSON has all of it */

/* NULL: the model has no tensor headers, or the daemon's summary cannot be read. */
static json_t *tensors_of(const Modelstage__V1__InspectResponse *m) {
        json_t *tensors = NULL;

        if (*m->tensors_json &&
            json_parse(&tensors, m->tensors_json, strlen(m->tensors_json), TENSORS_MAX, "tensors", NULL) < 0)
                return NULL;
        return tensors;
}

/* ---- JSON ---- */

static json_t *files_json(const Modelstage__V1__InspectResponse *m) {
        json_t *list = cli_must(json_array());

        for (size_t i = 0; i < m->n_files; i++) {
                json_t *item = cli_must(json_object());
                char mode[16];
                snprintf(mode, sizeof mode, "%04o", m->files[i]->mode & 07777);
                output_set(item, "path", output_text(m->files[i]->path));
                output_set(item, "size", json_integer(m->files[i]->size));
                output_set(item, "mode", output_text(mode));
                json_array_append_new(list, item);
        }
        return list;
}

static json_t *layers_json(const Modelstage__V1__InspectResponse *m) {
        json_t *list = cli_must(json_array());

        for (size_t i = 0; i < m->n_layers; i++) {
                json_t *item = cli_must(json_object());
                output_set(item, "digest", output_text(m->layers[i]->digest));
                output_set(item, "mediaType", output_text(m->layers[i]->media_type));
                output_set(item, "size", json_integer(m->layers[i]->size));
                json_array_append_new(list, item);
        }
        return list;
}

static json_t *annotations_json(const Modelstage__V1__InspectResponse *m) {
        json_t *object = cli_must(json_object());

        for (size_t i = 0; i < m->n_annotations; i++) {
                json_t *key = output_text(m->annotations[i]->key); /* valid UTF-8 whatever came */
                output_set(object, json_string_value(key), output_text(m->annotations[i]->value));
                json_decref(key);
        }
        return object;
}

static void print_json(const Modelstage__V1__InspectResponse *m) {
        json_t *o = cli_must(json_object()), *tensors = tensors_of(m);

        output_set(o, "reference", output_text(m->reference));
        output_set(o, "digest", output_text(m->digest));
        output_set(o, "format", output_text(m->format));
        output_set(o, "size", json_integer(m->size));
        output_set(o, "files", files_json(m));
        output_set(o, "layers", layers_json(m));
        output_set(o, "annotations", annotations_json(m));
        output_set(o, "tensors", tensors ? tensors : json_null());
        output_json(o);
}

/* ---- for people ---- */

static void print_field(const char *name, const char *value) {
        _cleanup_free_ char *safe = screen_text(value);

        printf("%-13s%s\n", name, safe);
}

/* "7.2 B": as the names of models have it. */
static const char *parameters_text(json_int_t n, char text[static TEXT_SHORT]) {
        static const struct {
                double from;
                const char *unit;
        } units[] = { { 1e12, "T" }, { 1e9, "B" }, { 1e6, "M" }, { 1e3, "k" } };

        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
                if ((double)n >= units[i].from) {
                        snprintf(text, TEXT_SHORT, "%.3g %s", (double)n / units[i].from, units[i].unit);
                        return text;
                }
        snprintf(text, TEXT_SHORT, "%lld", (long long)n);
        return text;
}

static json_int_t number(const json_t *o, const char *key) {
        return json_integer_value(json_object_get(o, key));
}

static void print_metadata(const json_t *file) {
        json_t *metadata = json_object_get(file, "metadata"), *value;
        const char *key, *path = json_string_value(json_object_get(file, "path"));

        json_object_foreach (metadata, key, value) {
                _cleanup_free_ char *safe_path = screen_text(path ? path : ""), *safe_key = screen_text(key);
                _cleanup_free_ char *text = NULL;
                if (json_is_string(value))
                        text = screen_text(json_string_value(value));
                else
                        text = cli_must(json_dumps(value, JSON_ENCODE_ANY));
                printf("  %s: %s: %s\n", safe_path, safe_key, text);
        }
}

static void print_tensors(const Modelstage__V1__InspectResponse *m) {
        _cleanup_json_ json_t *tensors = tensors_of(m);
        json_t *dtypes = json_object_get(tensors, "dtypes"), *count, *file;
        const char *name, *comma = "";
        char text[TEXT_SHORT];
        size_t i;

        if (!tensors)
                return;
        printf("%-13s%s in %lld tensors (",
               "Parameters:", parameters_text(number(tensors, "parameters"), text),
               (long long)number(tensors, "tensors"));
        json_object_foreach (dtypes, name, count) {
                _cleanup_free_ char *safe = screen_text(name);
                printf("%s%s %s", comma, safe, parameters_text(number(count, "parameters"), text));
                comma = ", ";
        }
        printf(")\n");
        json_array_foreach (json_object_get(tensors, "files"), i, file) {
                print_metadata(file);
                const char *path = json_string_value(json_object_get(file, "path"));
                const char *error = json_string_value(json_object_get(file, "error"));
                if (path && error) {
                        _cleanup_free_ char *safe_path = screen_text(path), *safe_error = screen_text(error);
                        printf("  %s: %s\n", safe_path, safe_error);
                }
        }
}

static void print_annotations(const Modelstage__V1__InspectResponse *m) {
        if (m->n_annotations == 0)
                return;
        printf("Annotations:\n");
        for (size_t i = 0; i < m->n_annotations; i++) {
                struct buf line = BUF_INIT(1 << 20);
                screen_put(&line, m->annotations[i]->key, ANNOTATION_WIDTH, SCREEN_CUT_END);
                (void)buf_printf(&line, ": ");
                screen_put(&line, m->annotations[i]->value, ANNOTATION_WIDTH, SCREEN_CUT_END);
                printf("  %s\n", buf_text(&line));
                buf_free(&line);
        }
}

static void print_layers(const Modelstage__V1__InspectResponse *m) {
        static const char *const headers[] = { "LAYER", ">SIZE", "MEDIA TYPE", NULL };
        _cleanup_(table_freep) struct table *t = table_new(headers);

        for (size_t i = 0; i < m->n_layers; i++) {
                table_short_digest(t, m->layers[i]->digest);
                table_size(t, (uint64_t)m->layers[i]->size);
                table_cell(t, m->layers[i]->media_type);
        }
        putchar('\n');
        table_print(t, stdout);
}

static void print_files(const Modelstage__V1__InspectResponse *m) {
        static const char *const headers[] = { ">SIZE", "MODE", "FILE", NULL };
        _cleanup_(table_freep) struct table *t = table_new(headers);

        for (size_t i = 0; i < m->n_files; i++) {
                table_size(t, (uint64_t)m->files[i]->size);
                table_cellf(t, "%04o", m->files[i]->mode & 07777);
                table_cell(t, m->files[i]->path);
        }
        putchar('\n');
        table_print(t, stdout);
}

void inspection_print(const Modelstage__V1__InspectResponse *m, const struct args *a) {
        char text[TEXT_SHORT];

        if (args_has(a, ARG_BIT(QUIET))) {
                printf("%s\n", m->digest);
                return;
        }
        if (a->output == ARG_OUTPUT_JSON) {
                print_json(m);
                return;
        }
        print_field("Reference:", m->reference);
        print_field("Digest:", m->digest);
        print_field("Format:", m->format);
        print_field("Size:", text_format_size(m->size > 0 ? (uint64_t)m->size : 0, text));
        print_tensors(m);
        print_annotations(m);
        if (m->n_layers > 0)
                print_layers(m);
        if (m->n_files > 0)
                print_files(m);
}
