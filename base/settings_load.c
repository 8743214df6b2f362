/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_load: the file.
 *
 *   read (1 MiB at most) -> places (settings_places.c) -> raw (settings_yaml.c) -> struct settings
 *
 * Scalars are converted by settings_value_set(), as flags are. What is written as nothing ("root:") is as if
 * it were not there; "root: ''" is the empty text.
 */
#include "base/settings_raw.h"

#include "base/buf.h"
#include "base/text.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX (1u << 20)

/* Where a section is in struct settings_raw, and a setting's text in its section. */
static const struct {
        size_t section, member;
} offsets[] = {
#define SECTION(section)
#define SETTING(of, name, ...) \
        [SETTING_ID_##of##_## \
            name] = { offsetof(struct settings_raw, of), offsetof(struct settings_raw_##of, name) },
#define END_SECTION(section)
#include "base/settings.def"
#undef SECTION
#undef SETTING
#undef END_SECTION
};

/* The text of a scalar, NULL if the file does not say anything. */
static const char *given(const struct settings_state *state, const char *key, const char *text) {
        const struct settings_place *place = text ? settings_places_find(&state->places, key) : NULL;

        return place && place->is_null ? NULL : text;
}

/* Where a value is wrong, its line is known; where memory is short, it is of no interest. */
static int take_scalars(struct settings_state *state, const struct settings_raw *raw, struct error *e) {
        for (size_t i = 0; i < _SETTING_ID_MAX; i++) {
                const struct setting *setting = &settings_table[i];
                const char *section = *(char *const *)((const char *)raw + offsets[i].section);
                const char *text = section ? *(char *const *)(section + offsets[i].member) : NULL;
                struct error why = { 0 };

                if (!given(state, setting->key, text))
                        continue;
                if (settings_value_set(&state->s, setting, text, &why) < 0) {
                        if (why.kind != ERROR_INVALID)
                                return error_copy(e, &why);
                        return settings_invalid(state, setting->key, e, "%s", why.text);
                }
        }
        return 0;
}

/* Of YAML's many words for yes and no the two that JSON has. Missing is false. */
static int take_bool(const struct settings_state *state, bool *ret, const char *text, const char *key,
                     struct error *e) {
        bool yes;

        text = given(state, key, text);
        yes = text && strcmp(text, "true") == 0;
        if (text && !yes && strcmp(text, "false") != 0)
                return settings_invalid(state, key, e, "\"%.100s\" is neither true nor false", text);
        *ret = yes;
        return 0;
}

/* Missing is 0. */
static int take_size(const struct settings_state *state, uint64_t *ret, const char *text, const char *key,
                     struct error *e) {
        text = given(state, key, text);
        if (text && text_parse_size(ret, text) < 0)
                return settings_invalid(state, key, e, "\"%.100s\" is not a size such as 500MB", text);
        return 0;
}

static int out_of_memory(const struct settings_state *state, struct error *e) {
        return error_errno(e, ENOMEM, "cannot read %s", state->file);
}

/* NULL for an empty list; false: out of memory. */
static bool copy_list(char ***ret, char *const *from, unsigned n) {
        char **list = n ? calloc((size_t)n + 1, sizeof *list) : NULL;

        for (unsigned i = 0; list && i < n; i++) {
                list[i] = strdup(from[i]);
                if (!list[i]) {
                        text_list_free(list);
                        return false;
                }
        }
        *ret = list;
        return list || n == 0;
}

static bool copy_text(char **ret, const char *text) {
        *ret = text ? strdup(text) : NULL;
        return *ret || !text;
}

static int add_header(const struct settings_state *state, struct settings_registry *r, const char *name,
                      const struct settings_place *place, struct error *e) {
        struct settings_header header = { .name = NULL };
        void *grown;

        if (!place->scalar)
                return settings_invalid(state, place->path, e, "must be a single value");
        grown = reallocarray(r->headers, r->n_headers + 1, sizeof *r->headers);
        if (!grown)
                return out_of_memory(state, e);
        r->headers = grown;
        if (!copy_text(&header.name, name) || !copy_text(&header.value, place->scalar)) {
                free(header.name);
                return out_of_memory(state, e);
        }
        r->headers[r->n_headers++] = header;
        return 0;
}

/* "registries[0].headers.NAME" are the headers. */
static int take_headers(const struct settings_state *state, struct settings_registry *r, unsigned i,
                        struct error *e) {
        const struct settings_place *mapping;
        char path[64];
        size_t len = (size_t)snprintf(path, sizeof path, "registries[%u].headers", i);

        mapping = settings_places_find(&state->places, path);
        if (mapping && mapping->scalar && !mapping->is_null)
                return settings_invalid(state, path, e, "must have keys below it");
        for (size_t k = 0; k < state->places.n; k++) {
                const struct settings_place *place = &state->places.items[k];
                int result = 0;

                if (!text_starts_with(place->path, path))
                        continue;
                if (place->path[len] == '[')
                        return settings_invalid(state, place->path, e, "headers have names");
                if (place->path[len] == '.')
                        result = add_header(state, r, place->path + len + 1, place, e);
                if (result < 0)
                        return result;
        }
        return 0;
}

static int take_registry(const struct settings_state *state, struct settings_registry *r,
                         const struct settings_raw_registry *raw, unsigned i, struct error *e) {
        char key[32], bool_key[64], file_key[64], size_key[64];
        const char *ca_file;

        snprintf(key, sizeof key, "registries[%u]", i);
        snprintf(bool_key, sizeof bool_key, "%s.plainHttp", key);
        snprintf(file_key, sizeof file_key, "%s.caFile", key);
        snprintf(size_key, sizeof size_key, "%s.bandwidth", key);
        if (!raw->host || !*raw->host)
                return settings_invalid(state, key, e, "has no host");
        ca_file = given(state, file_key, raw->ca_file);
        if (!copy_text(&r->host, raw->host) || !copy_list(&r->mirrors, raw->mirrors, raw->mirrors_count) ||
            !copy_text(&r->ca_file, ca_file && *ca_file ? ca_file : NULL))
                return out_of_memory(state, e);
        if (take_bool(state, &r->plain_http, raw->plain_http, bool_key, e) < 0 ||
            take_size(state, &r->bandwidth, raw->bandwidth, size_key, e) < 0)
                return -EINVAL;
        return take_headers(state, r, i, e);
}

/* n_registries counts what settings_free() has to look at, so it grows before an entry is filled. */
static int take_registries(struct settings_state *state, const struct settings_raw *raw, struct error *e) {
        struct settings *s = &state->s;

        if (raw->registries_count == 0)
                return 0;
        s->registries = calloc(raw->registries_count, sizeof *s->registries);
        if (!s->registries)
                return out_of_memory(state, e);
        for (unsigned i = 0; i < raw->registries_count; i++) {
                int r = take_registry(state, &s->registries[s->n_registries++], &raw->registries[i], i, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int take_warm(struct settings_state *state, const struct settings_raw *raw, struct error *e) {
        struct settings *s = &state->s;

        if (raw->warm_count == 0)
                return 0;
        s->warm = calloc(raw->warm_count, sizeof *s->warm);
        if (!s->warm)
                return out_of_memory(state, e);
        for (unsigned i = 0; i < raw->warm_count; i++) {
                struct settings_warm *w = &s->warm[s->n_warm++];
                char key[64];

                snprintf(key, sizeof key, "warm[%u]", i);
                if (!raw->warm[i].model || !*raw->warm[i].model)
                        return settings_invalid(state, key, e, "has no model");
                if (!copy_text(&w->model, raw->warm[i].model))
                        return out_of_memory(state, e);
                snprintf(key, sizeof key, "warm[%u].pin", i);
                if (take_bool(state, &w->pin, raw->warm[i].pin, key, e) < 0)
                        return -EINVAL;
                snprintf(key, sizeof key, "warm[%u].required", i);
                if (take_bool(state, &w->required, raw->warm[i].required, key, e) < 0)
                        return -EINVAL;
        }
        return 0;
}

static int take_all(struct settings_state *state, const struct settings_raw *raw, struct error *e) {
        int r = take_scalars(state, raw, e);

        if (r == 0)
                r = take_registries(state, raw, e);
        if (r == 0)
                r = take_warm(state, raw, e);
        if (r == 0 && raw->policy &&
            (!copy_list(&state->s.policy.allow, raw->policy->allow, raw->policy->allow_count) ||
             !copy_list(&state->s.policy.layouts, raw->policy->layouts, raw->policy->layouts_count)))
                r = out_of_memory(state, e);
        return r;
}

/* An administrator's path: links are followed (a ConfigMap is one), and it may be a pipe. */
static int read_file(struct buf *ret, const char *path, struct error *e) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        char block[16384];
        ssize_t n;

        if (fd < 0 && errno == ENOENT)
                return error_set(e, ERROR_NOT_FOUND, "the settings %s do not exist", path);
        if (fd < 0)
                return error_errno(e, errno, "cannot open the settings %s", path);
        while ((n = read(fd, block, sizeof block)) != 0) {
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(e, errno, "cannot read the settings %s", path);
                r = buf_append(ret, block, (size_t)n);
                if (r == -EFBIG)
                        return error_set(e, ERROR_INVALID, "%s:1: settings are not larger than %zu bytes",
                                         path, ret->max);
                if (r < 0)
                        return error_errno(e, r, "cannot read the settings %s", path);
        }
        return 0;
}

/*
 * The places are read first: they bound what libcyaml is given. The file's text and the raw form are gone
 * when this returns; the places stay for settings_check().
 */
int settings_load_file(struct settings *s, const char *path, struct error *e) {
        struct settings_state *state = settings_state_of(s);
        _cleanup_buf_ struct buf text = BUF_INIT(FILE_MAX);
        _cleanup_(settings_yaml_freep) struct settings_raw *raw = NULL;
        int r;

        if (!path)
                return 0;
        r = read_file(&text, path, e);
        if (r < 0)
                return r;
        assert(!state->file); /* once */
        state->file = strdup(path);
        if (!state->file)
                return error_errno(e, ENOMEM, "cannot read the settings %s", path);
        r = settings_places_read(&state->places, path, buf_text(&text), text.len, e);
        if (r < 0 || state->places.is_nothing)
                return r;
        r = settings_yaml_parse(&raw, state, buf_text(&text), text.len, e);
        if (r < 0)
                return r;
        return raw ? take_all(state, raw, e) : 0;
}
