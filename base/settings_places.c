/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_places: a document walked once as libyaml's events, before libcyaml sees it, for two things that
 * libcyaml does not give: the line of every key, so that a value which is refused later can be found,
 * and a bound on what a document may be. Alias bombs end here: there are no aliases in settings.
 */
#include "base/settings_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define DEPTH_MAX 8u /* registries: a sequence of mappings with a mapping of headers */
#define PLACES_MAX 10000u
#define KEY_MAX 256u
#define PATH_TEXT_MAX (DEPTH_MAX * (KEY_MAX + 16))

struct level { /* a mapping or sequence that is open */
        bool is_mapping;
        bool has_key;    /* mapping: the key was read, its value comes next */
        size_t key_line; /* of that key, from 0 */
        size_t path_len; /* of the mapping or sequence itself */
        unsigned index;  /* sequence: of the next entry */
};

struct walk {
        struct settings_places *places;
        const char *file;
        struct error *e;
        struct level levels[DEPTH_MAX]; /* from the outside in */
        unsigned depth;                 /* levels that are open */
        unsigned documents;             /* that have begun */
        char path[PATH_TEXT_MAX];       /* of the value at hand, as in struct settings_place */
        size_t path_len;
        bool done; /* the stream has ended */
};

/* @line counts from 0, as libyaml does. */
__attribute__((format(printf, 3, 4))) static int refuse(struct walk *w, size_t line, const char *fmt, ...) {
        char text[ERROR_TEXT_MAX];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        return error_set(w->e, ERROR_INVALID, "%s:%zu: %s", w->file, line + 1, text);
}

static uint32_t hash_of(const char *s) { /* FNV-1a */
        uint32_t h = 2166136261u;

        while (*s)
                h = (h ^ (unsigned char)*s++) * 16777619u;
        return h;
}

const struct settings_place *settings_places_find(const struct settings_places *p, const char *path) {
        uint32_t hash = hash_of(path);

        for (size_t i = 0; i < p->n; i++)
                if (p->items[i].hash == hash && strcmp(p->items[i].path, path) == 0)
                        return &p->items[i];
        return NULL;
}

void settings_places_free(struct settings_places *p) {
        for (size_t i = 0; i < p->n; i++) {
                free(p->items[i].path);
                free(p->items[i].scalar);
        }
        free(p->items);
        *p = (struct settings_places){ 0 };
}

/* Adds the current path. Its line is that of its key, where there is one. */
static int add_place(struct walk *w, size_t value_line, const char *scalar, bool is_null) {
        struct settings_places *p = w->places;
        const struct level *l = &w->levels[w->depth - 1];
        size_t line = l->is_mapping ? l->key_line : value_line;
        struct settings_place place = { .hash = hash_of(w->path),
                                        .line = (unsigned)line + 1,
                                        .is_null = is_null };

        if (p->n == PLACES_MAX)
                return refuse(w, line, "the file has more than %u values", PLACES_MAX);
        if (settings_places_find(p, w->path))
                return refuse(w, line, "%.300s: is there twice", w->path);
        if (p->n == p->size) {
                size_t size = p->size ? 2 * p->size : 64;
                void *grown = reallocarray(p->items, size, sizeof *p->items);

                if (!grown)
                        return error_errno(w->e, ENOMEM, "cannot read %s", w->file);
                p->items = grown;
                p->size = size;
        }
        place.path = strdup(w->path);
        place.scalar = scalar ? strdup(scalar) : NULL;
        if (!place.path || (scalar && !place.scalar)) {
                free(place.path);
                free(place.scalar);
                return error_errno(w->e, ENOMEM, "cannot read %s", w->file);
        }
        p->items[p->n++] = place;
        return 0;
}

/* Back to a path that was there before. */
static void cut_path(struct walk *w, size_t len) {
        w->path_len = len;
        w->path[len] = '\0';
}

/* A scalar where a mapping's key is due: the path goes one key down. */
static int on_key(struct walk *w, const yaml_event_t *event) {
        const char *key = (const char *)event->data.scalar.value;
        struct level *l = &w->levels[w->depth - 1];

        if (event->data.scalar.length > KEY_MAX || strlen(key) != event->data.scalar.length)
                return refuse(w, event->start_mark.line, "\"%.40s…\" is not a key", key);
        w->path_len += (size_t)snprintf(w->path + w->path_len, sizeof w->path - w->path_len, "%s%s",
                                        w->path_len ? "." : "", key);
        l->has_key = true;
        l->key_line = event->start_mark.line;
        return 0;
}

/* Before a value: the path is that of the value. */
static void enter_value(struct walk *w) {
        struct level *l = w->depth ? &w->levels[w->depth - 1] : NULL;

        if (l && !l->is_mapping)
                w->path_len +=
                    (size_t)snprintf(w->path + w->path_len, sizeof w->path - w->path_len, "[%u]", l->index++);
}

/* After a value: back to the mapping or sequence that it is in. */
static void leave_value(struct walk *w) {
        if (w->depth == 0)
                return;
        w->levels[w->depth - 1].has_key = false;
        cut_path(w, w->levels[w->depth - 1].path_len);
}

/* YAML's ways to write nothing; in quotes they are texts. */
static bool is_null(const yaml_event_t *event) {
        static const char *const words[] = { "", "~", "null", "Null", "NULL" };

        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
                if (strcmp((const char *)event->data.scalar.value, words[i]) == 0)
                        return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        return false;
}

static int on_scalar(struct walk *w, const yaml_event_t *event) {
        const char *text = (const char *)event->data.scalar.value;
        struct level *l = w->depth ? &w->levels[w->depth - 1] : NULL;
        int r;

        if (l && l->is_mapping && !l->has_key)
                return on_key(w, event);
        enter_value(w);
        if (strlen(text) != event->data.scalar.length)
                return refuse(w, event->start_mark.line, "%.300s: has a NUL character", w->path);
        if (w->depth == 0) { /* the whole document; libcyaml says what is expected of it */
                w->places->is_nothing = is_null(event);
                return 0;
        }
        r = add_place(w, event->start_mark.line, text, is_null(event));
        leave_value(w);
        return r;
}

/* A mapping or a sequence begins. It is a value, and what is in it are values one level down. */
static int on_start(struct walk *w, const yaml_event_t *event, bool is_mapping) {
        struct level *l = w->depth ? &w->levels[w->depth - 1] : NULL;
        int r;

        if (l && l->is_mapping && !l->has_key)
                return refuse(w, event->start_mark.line, "a key must be a word");
        enter_value(w);
        if (w->depth == DEPTH_MAX)
                return refuse(w, event->start_mark.line, "%.300s: nothing here is this deep", w->path);
        w->places->is_nothing = false;
        r = w->depth ? add_place(w, event->start_mark.line, NULL, false) : 0;
        w->levels[w->depth++] = (struct level){ .is_mapping = is_mapping, .path_len = w->path_len };
        return r;
}

/* Document and stream marks other than these say nothing. */
static int on_event(struct walk *w, const yaml_event_t *event) {
        switch (event->type) {
        case YAML_DOCUMENT_START_EVENT:
                if (w->documents++ > 0)
                        return refuse(w, event->start_mark.line,
                                      "a second document begins; settings are one");
                return 0;
        case YAML_ALIAS_EVENT:
                return refuse(w, event->start_mark.line, "aliases (*%.40s) are not supported",
                              (const char *)event->data.alias.anchor);
        case YAML_SCALAR_EVENT:
                return on_scalar(w, event);
        case YAML_MAPPING_START_EVENT:
        case YAML_SEQUENCE_START_EVENT:
                return on_start(w, event, event->type == YAML_MAPPING_START_EVENT);
        case YAML_MAPPING_END_EVENT:
        case YAML_SEQUENCE_END_EVENT:
                w->depth--;
                leave_value(w);
                return 0;
        case YAML_STREAM_END_EVENT:
                w->done = true;
                return 0;
        default:
                return 0;
        }
}

/* What cannot even be decoded has an offset only. */
static size_t problem_line(const yaml_parser_t *parser, const char *data, size_t len) {
        size_t line = 0;

        if (parser->error != YAML_READER_ERROR)
                return parser->problem_mark.line;
        for (size_t i = 0; i < len && i < parser->problem_offset; i++)
                line += data[i] == '\n';
        return line;
}

static int walk_events(struct walk *w, yaml_parser_t *parser, const char *data, size_t len) {
        while (!w->done) {
                yaml_event_t event;
                int r;

                if (!yaml_parser_parse(parser, &event))
                        return refuse(w, problem_line(parser, data, len), "not valid YAML: %s",
                                      parser->problem ? parser->problem : "out of memory");
                r = on_event(w, &event);
                yaml_event_delete(&event);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The walk is on the heap for its path, which is too large for a stack that may be a thread's. */
int settings_places_read(struct settings_places *ret, const char *file, const char *data, size_t len,
                         struct error *e) {
        struct settings_places places = { .is_nothing = true };
        struct walk *w = calloc(1, sizeof *w);
        yaml_parser_t parser;
        int r;

        if (!w || !yaml_parser_initialize(&parser)) {
                free(w);
                return error_errno(e, ENOMEM, "cannot read %s", file);
        }
        *w = (struct walk){ .places = &places, .file = file, .e = e };
        yaml_parser_set_input_string(&parser, (const unsigned char *)data, len);
        r = walk_events(w, &parser, data, len);
        yaml_parser_delete(&parser);
        free(w);
        if (r < 0) {
                settings_places_free(&places);
                return r;
        }
        *ret = places;
        return 0;
}
