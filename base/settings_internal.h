/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_internal: what the files of settings share, and nobody else.
 *
 *   settings.c         the table, life cycle, flags
 *   settings_value.c   one text into one field
 *   settings_places.c  which line of the file says what (libyaml events)
 *   settings_yaml.c    a document into struct settings_raw (libcyaml, schema from the table)
 *   settings_load.c    the file, into struct settings
 *   settings_check.c   what belongs together
 *   settings_print.c   --help and the manual page
 *
 *   settings.def --> settings_table --> defaults --> file (places, then raw) --> flags --> check
 *                                 \--> --help, the manual page
 */
#pragma once

#include "base/settings.h"

enum setting_type {
        SETTING_TEXT,
        SETTING_PATH,
        SETTING_PATH_OR_NONE,
        SETTING_CHOICE,
        SETTING_NUMBER,
        SETTING_SIZE,
        SETTING_AMOUNT,
        SETTING_DURATION,
};

struct setting {
        const char *key; /* "cache.root" */
        enum setting_type type;
        size_t offset;     /* in struct settings */
        const char *def;   /* as it would stand in the file */
        uint64_t min, max; /* numbers, sizes and durations */
        const char *value; /* what to call it; the choices of a SETTING_CHOICE, between bars */
        const char *help;
};

/* In the order of settings.def. */
enum setting_id {
#define SECTION(section)
#define SETTING(section, member, ...) SETTING_ID_##section##_##member,
#define END_SECTION(section)
#include "base/settings.def"
#undef SECTION
#undef SETTING
#undef END_SECTION
        _SETTING_ID_MAX,
};
extern const struct setting settings_table[_SETTING_ID_MAX];

/* Something that the file says: a value, a mapping or a sequence. */
struct settings_place {
        char *path;    /* "cache.root", "registries[0].headers.X-Team" */
        uint32_t hash; /* of the path */
        unsigned line;
        char *scalar; /* as it is written; NULL: not a scalar */
        bool is_null; /* written as nothing: "key:", ~, null */
};
struct settings_places {
        struct settings_place *items;
        size_t n, size;
        bool is_nothing; /* the document is empty, or null */
};

/* What settings_new() makes: beside the values, where they come from. */
struct settings_state {
        struct settings s;
        char *file; /* NULL: none was read */
        struct settings_places places;
        bool by_flag[_SETTING_ID_MAX]; /* a flag has replaced what the file says */
};

static inline struct settings_state *settings_state_of(struct settings *s) {
        return (struct settings_state *)((char *)s - offsetof(struct settings_state, s));
}

/* @e says what is wrong with the text, without the key. */
int settings_value_set(struct settings *s, const struct setting *setting, const char *text, struct error *e);

/* Reads a document. Refuses, with "FILE:LINE: ", bad YAML, keys that are there twice, aliases, a second
 * document, and what is deeper or longer than any settings. An empty one gives no places. */
int settings_places_read(struct settings_places *ret, const char *file, const char *data, size_t len,
                         struct error *e);
void settings_places_free(struct settings_places *p);
const struct settings_place *settings_places_find(const struct settings_places *p, const char *path);

/* ERROR_INVALID "FILE:LINE: KEY: …", or "--KEY: …" for a flag, or "KEY: …" for a default. */
int settings_invalid(const struct settings_state *state, const char *key, struct error *e, const char *fmt,
                     ...) __attribute__((format(printf, 4, 5)));
