/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_yaml: libcyaml's schema, made from settings.def, which knows where a mapping, a sequence or a
 * scalar belongs; and its complaints, made into ours. What it refuses it tells its log function in several
 * lines, innermost name first; from these the key is put together, and its line is looked up in the places.
 */
#include "base/settings_raw.h"

#include "base/text.h"

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <string.h>

/* Sections and lists may be nothing ("cache:"). That is told from "" by the places, for scalars. */
#define OPTIONAL ((unsigned)CYAML_FLAG_OPTIONAL | (unsigned)CYAML_FLAG_POINTER_NULL_STR)
#define GIVEN ((unsigned)CYAML_FLAG_OPTIONAL | (unsigned)CYAML_FLAG_POINTER)

#define TEXT_FIELD(yaml_key, structure, member) \
        CYAML_FIELD_STRING_PTR(yaml_key, GIVEN, structure, member, 0, CYAML_UNLIMITED)

#define SECTION(section) static const cyaml_schema_field_t section##_fields[] = {
#define SETTING(section, member, yaml_key, ...) TEXT_FIELD(yaml_key, struct settings_raw_##section, member),
#define END_SECTION(section) \
        CYAML_FIELD_END \
        } \
        ;
#include "base/settings.def"
#undef SECTION
#undef SETTING
#undef END_SECTION

static const cyaml_schema_value_t text_value = { CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0,
                                                                    CYAML_UNLIMITED) };

static const cyaml_schema_field_t policy_fields[] = {
        CYAML_FIELD_SEQUENCE("allow", OPTIONAL, struct settings_raw_policy, allow, &text_value, 0,
                             CYAML_UNLIMITED),
        CYAML_FIELD_SEQUENCE("layouts", OPTIONAL, struct settings_raw_policy, layouts, &text_value, 0,
                             CYAML_UNLIMITED),
        CYAML_FIELD_END,
};

static const cyaml_schema_field_t registry_fields[] = {
        TEXT_FIELD("host", struct settings_raw_registry, host),
        TEXT_FIELD("caFile", struct settings_raw_registry, ca_file),
        TEXT_FIELD("plainHttp", struct settings_raw_registry, plain_http),
        TEXT_FIELD("bandwidth", struct settings_raw_registry, bandwidth),
        CYAML_FIELD_SEQUENCE("mirrors", OPTIONAL, struct settings_raw_registry, mirrors, &text_value, 0,
                             CYAML_UNLIMITED),
        CYAML_FIELD_IGNORE("headers", CYAML_FLAG_OPTIONAL), /* any keys: taken from the places */
        CYAML_FIELD_END,
};
static const cyaml_schema_value_t registry_value = { CYAML_VALUE_MAPPING(
    CYAML_FLAG_DEFAULT, struct settings_raw_registry, registry_fields) };

static const cyaml_schema_field_t warm_fields[] = {
        TEXT_FIELD("model", struct settings_raw_warm, model),
        TEXT_FIELD("pin", struct settings_raw_warm, pin),
        TEXT_FIELD("required", struct settings_raw_warm, required),
        CYAML_FIELD_END,
};
static const cyaml_schema_value_t warm_value = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT,
                                                                     struct settings_raw_warm, warm_fields) };

static const cyaml_schema_field_t raw_fields[] = {
#define SECTION(section) \
        CYAML_FIELD_MAPPING_PTR(#section, OPTIONAL, struct settings_raw, section, section##_fields),
#define SETTING(section, member, ...)
#define END_SECTION(section)
#include "base/settings.def"
#undef SECTION
#undef SETTING
#undef END_SECTION
        CYAML_FIELD_MAPPING_PTR("policy", OPTIONAL, struct settings_raw, policy, policy_fields),
        CYAML_FIELD_SEQUENCE("registries", OPTIONAL, struct settings_raw, registries, &registry_value, 0,
                             CYAML_UNLIMITED),
        CYAML_FIELD_SEQUENCE("warm", OPTIONAL, struct settings_raw, warm, &warm_value, 0, CYAML_UNLIMITED),
        CYAML_FIELD_END,
};
static const cyaml_schema_value_t raw_value = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct settings_raw,
                                                                    raw_fields) };

/* What libcyaml complained about. */
struct complaint {
        char what[256]; /* "Expecting MAPPING, got event: SCALAR" */
        char key[512];  /* of the innermost thing that it was in */
        unsigned line;  /* of that thing; 0: unknown */
};

/* Puts the name of what is around it in front of a key: "registries" + "[0].host". */
static void prepend_key(struct complaint *c, const char *name, bool is_index) {
        char outer[sizeof c->key];

        if (is_index)
                snprintf(outer, sizeof outer, "[%lu]",
                         strtoul(name, NULL, 10) - 1); /* libcyaml counts from 1 */
        else
                snprintf(outer, sizeof outer, "%s", name);
        size_t len = strlen(outer);
        if (snprintf(outer + len, sizeof outer - len, "%s%s", *c->key && *c->key != '[' ? "." : "", c->key) <
            0)
                return;
        memcpy(c->key, outer, sizeof outer);
}

/* "  in mapping field 'cache' (line: 2, column: 3)": the first that comes is the innermost. */
static void on_backtrace(struct complaint *c, const char *line) {
        const char *quote = strchr(line, '\''), *end = strrchr(line, '\''), *at = strstr(line, "(line: ");
        char name[256];

        if (c->line == 0 && at)
                c->line = (unsigned)strtoul(at + strlen("(line: "), NULL, 10);
        if (!quote || end == quote)
                return;
        snprintf(name, sizeof name, "%.*s", (int)(end - quote - 1), quote + 1);
        prepend_key(c, name, text_starts_with(line, "  in sequence entry"));
}

__attribute__((format(printf, 3, 0))) static void on_cyaml_log(cyaml_log_t level, void *userdata,
                                                               const char *fmt, va_list ap) {
        static const char unexpected[] = "Unexpected key: ";
        struct complaint *c = userdata;
        char line[512];
        const char *text = line;

        if (level < CYAML_LOG_ERROR)
                return;
        (void)vsnprintf(line, sizeof line, fmt, ap);
        line[strcspn(line, "\n")] = '\0';
        if (text_starts_with(line, "  in ")) {
                on_backtrace(c, line);
                return;
        }
        if (text_starts_with(line, "Load: "))
                text += strlen("Load: ");
        if (strcmp(text, "Backtrace:") == 0)
                return;
        if (text_starts_with(text, unexpected)) {
                prepend_key(c, text + strlen(unexpected), false);
                text = "there is no such key";
        }
        snprintf(c->what, sizeof c->what, "%.255s", text);
}

/* One sentence from libcyaml's words. */
static int report(const struct settings_state *state, struct complaint *c, cyaml_err_t code,
                  struct error *e) {
        static const struct {
                const char *cyaml, *ours;
        } words[] = {
                { "Expecting MAPPING", "must have keys below it" },
                { "Expecting SEQUENCE", "must be a list" },
                { "Expecting STRING", "must be a single value" },
        };
        const char *what = *c->what ? c->what : cyaml_strerror(code);

        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
                if (text_starts_with(what, words[i].cyaml))
                        what = words[i].ours;
        if (code == CYAML_ERR_OOM)
                return error_errno(e, ENOMEM, "cannot read %s", state->file);
        if (!*c->key)
                return error_set(e, ERROR_INVALID, "%s:%u: the file %s", state->file, c->line ? c->line : 1,
                                 what);
        if (settings_places_find(&state->places, c->key))
                return settings_invalid(state, c->key, e, "%s", what);
        return error_set(e, ERROR_INVALID, "%s:%u: %s: %s", state->file, c->line ? c->line : 1, c->key, what);
}

/*
 * Aliases are refused by the places already, and here once more: it is libcyaml that would have to unroll
 * them. Unknown keys are errors by libcyaml's default.
 */
int settings_yaml_parse(struct settings_raw **ret, const struct settings_state *state, const char *data,
                        size_t len, struct error *e) {
        struct complaint c = { .line = 0 };
        const cyaml_config_t config = {
                .log_fn = on_cyaml_log,
                .log_ctx = &c,
                .log_level = CYAML_LOG_ERROR,
                .mem_fn = cyaml_mem,
                .flags = CYAML_CFG_NO_ALIAS,
        };
        cyaml_data_t *data_out = NULL;
        cyaml_err_t code;

        code = cyaml_load_data((const uint8_t *)data, len, &config, &raw_value, &data_out, NULL);
        if (code != CYAML_OK)
                return report(state, &c, code, e);
        *ret = data_out;
        return 0;
}

void settings_yaml_free(struct settings_raw *raw) {
        const cyaml_config_t config = { .mem_fn = cyaml_mem };

        if (raw)
                (void)cyaml_free(&config, &raw_value, raw, 0);
}
