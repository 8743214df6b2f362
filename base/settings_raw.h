/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_raw: the file as libcyaml fills it, all scalars still texts. Every section and every scalar is a
 * pointer, NULL if it is not there.
 */
#pragma once

#include "base/settings_internal.h"

#define SECTION(section) struct settings_raw_##section {
#define SETTING(section, member, ...) char *member;
#define END_SECTION(section) \
        } \
        ;
#include "base/settings.def"
#undef SECTION
#undef SETTING
#undef END_SECTION

struct settings_raw_policy {
        char **allow, **layouts;
        unsigned allow_count, layouts_count;
};

struct settings_raw_registry {
        char *host, *ca_file, *plain_http, *bandwidth;
        char **mirrors;
        unsigned mirrors_count;
};

struct settings_raw_warm {
        char *model, *pin, *required;
};

struct settings_raw {
#define SECTION(section) struct settings_raw_##section *section;
#define SETTING(section, member, ...)
#define END_SECTION(section)
#include "base/settings.def"
#undef SECTION
#undef SETTING
#undef END_SECTION
        struct settings_raw_policy *policy;
        struct settings_raw_registry *registries;
        struct settings_raw_warm *warm;
        unsigned registries_count, warm_count;
};

/* *ret stays NULL for an empty document. @state has the file's name and places, for errors. */
int settings_yaml_parse(struct settings_raw **ret, const struct settings_state *state, const char *data,
                        size_t len, struct error *e);
void settings_yaml_free(struct settings_raw *raw);
DEFINE_CLEANUP(struct settings_raw *, settings_yaml_free);
