/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings: the table and the life cycle. The defaults are texts that take the same way as those of the file
 * and of the flags, so a default can be nothing that an administrator could not write.
 */
#include "base/settings_internal.h"

#include "base/text.h"

#include <stdarg.h>
#include <string.h>
#include <strings.h>

const struct setting settings_table[] = {
#define SECTION(section)
#define SETTING(section, member, yaml_key, kind, default_text, lowest, highest, value_name, help_text) \
        [SETTING_ID_##section##_##member] = { .key = #section "." yaml_key, \
                                              .type = SETTING_##kind, \
                                              .offset = offsetof(struct settings, section.member), \
                                              .def = default_text, \
                                              .min = lowest, \
                                              .max = highest, \
                                              .value = value_name, \
                                              .help = help_text },
#define END_SECTION(section)
#include "base/settings.def"
#undef SECTION
#undef SETTING
#undef END_SECTION
};

uint64_t settings_amount_of(const struct settings_amount *a, uint64_t whole) {
        if (!a->is_percent)
                return a->bytes;
        return whole / 100 * a->percent + whole % 100 * a->percent / 100; /* cannot wrap up to 100 % */
}

int settings_new(struct settings **ret, struct error *e) {
        struct settings_state *state = calloc(1, sizeof *state);
        _cleanup_(settings_freep) struct settings *s = state ? &state->s : NULL;

        if (!s)
                return error_errno(e, ENOMEM, "cannot keep the settings");
        for (size_t i = 0; i < _SETTING_ID_MAX; i++)
                if (settings_value_set(s, &settings_table[i], settings_table[i].def, e) < 0)
                        return error_wrap(e, "default of %s", settings_table[i].key);
        *ret = take_ptr(s);
        return 0;
}

/* A list is no scalar, so it is not in the table. */
static int set_list(char ***ret, const char *key, const char *value, struct error *e) {
        char **list = text_split(value, ',');

        if (!list)
                return error_errno(e, ENOMEM, "--%s", key);
        text_list_free(*ret);
        *ret = list;
        return 0;
}

/* A value that is refused leaves the old one, and where it came from, as they were. */
int settings_set(struct settings *s, const char *key, const char *value, struct error *e) {
        if (strcmp(key, "policy.allow") == 0)
                return set_list(&s->policy.allow, key, value, e);
        if (strcmp(key, "policy.layouts") == 0)
                return set_list(&s->policy.layouts, key, value, e);
        if (strcmp(key, "registries") == 0 || strcmp(key, "warm") == 0)
                return error_set(e, ERROR_INVALID, "--%s: can only be set in the file", key);
        for (size_t i = 0; i < _SETTING_ID_MAX; i++) {
                if (strcmp(settings_table[i].key, key) != 0)
                        continue;
                if (settings_value_set(s, &settings_table[i], value, e) < 0)
                        return error_wrap(e, "--%s", key);
                settings_state_of(s)->by_flag[i] = true;
                return 0;
        }
        return error_set(e, ERROR_INVALID, "--%.100s: there is no such setting; see --help", key);
}

/* The member is a char * of its own. */
static bool is_text(enum setting_type type) {
        return type <= SETTING_CHOICE;
}
_Static_assert(SETTING_TEXT == 0 && SETTING_NUMBER == SETTING_CHOICE + 1, "what is a char * comes first");

/* May be half made: loading stops at the first mistake. */
static void registry_free(struct settings_registry *r) {
        free(r->host);
        text_list_free(r->mirrors);
        free(r->ca_file);
        for (size_t i = 0; i < r->n_headers; i++) {
                free(r->headers[i].name);
                free(r->headers[i].value);
        }
        free(r->headers);
}

void settings_free(struct settings *s) {
        struct settings_state *state;

        if (!s)
                return;
        state = settings_state_of(s);
        for (size_t i = 0; i < _SETTING_ID_MAX; i++)
                if (is_text(settings_table[i].type))
                        free(*(char **)((char *)s + settings_table[i].offset));
        for (size_t i = 0; i < s->n_registries; i++)
                registry_free(&s->registries[i]);
        for (size_t i = 0; i < s->n_warm; i++)
                free(s->warm[i].model);
        free(s->registries);
        free(s->warm);
        text_list_free(s->policy.allow);
        text_list_free(s->policy.layouts);
        settings_places_free(&state->places);
        free(state->file);
        free(state);
}

/* Hosts are names, whose case does not count; their ports are a part of them. */
const struct settings_registry *settings_find_registry(const struct settings *s, const char *host) {
        for (size_t i = 0; i < s->n_registries; i++)
                if (strcasecmp(s->registries[i].host, host) == 0)
                        return &s->registries[i];
        return NULL;
}

static bool is_by_flag(const struct settings_state *state, const char *key) {
        for (size_t i = 0; i < _SETTING_ID_MAX; i++)
                if (state->by_flag[i] && strcmp(settings_table[i].key, key) == 0)
                        return true;
        return false;
}

/*
 * Where a value came from: the flag, if one was given; else the line of the file; else it is a default, which
 * can be wrong only together with something else.
 */
int settings_invalid(const struct settings_state *state, const char *key, struct error *e, const char *fmt,
                     ...) {
        const struct settings_place *place = settings_places_find(&state->places, key);
        char text[ERROR_TEXT_MAX];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        if (is_by_flag(state, key))
                return error_set(e, ERROR_INVALID, "--%s: %s", key, text);
        if (place)
                return error_set(e, ERROR_INVALID, "%s:%u: %s: %s", state->file, place->line, key, text);
        return error_set(e, ERROR_INVALID, "%s: %s", key, text);
}
