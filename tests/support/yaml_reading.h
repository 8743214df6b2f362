/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_reading: whether YAML says the same as a JSON value, as libyaml reads it. What a plain scalar is, is
 * decided here by the rules of YAML 1.1 and 1.2 together: no reader must take a string for something else.
 */
#pragma once

#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <regex.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

static inline bool yaml_reading_finds(const char *pattern, const char *text) {
        regex_t regex;

        assert(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) == 0);
        bool found = regexec(&regex, text, 0, NULL, 0) == 0;
        regfree(&regex);
        return found;
}

/* Numbers that are too big for anybody are strings. */
static inline bool yaml_reading_is_string(const char *plain) {
        static const char *const others[] = {
                "^(~|null|Null|NULL||true|True|TRUE|false|False|FALSE|<<)$",
                "^(y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)$",
                "^([-+]?[.](inf|Inf|INF)|[.](nan|NaN|NAN))$",
                "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$",
                "^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+([.][0-9_]*)?$",
                "^[-+]?(0x[0-9a-fA-F]{1,15}|0b[01]{1,63}|0o?[0-7]{1,20}|[0-9][0-9_]{0,17})$",
        };

        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
                if (yaml_reading_finds(others[i], plain))
                        return false;
        return !yaml_reading_finds("^[-+]?([.][0-9]+|[0-9]+([.][0-9]*)?)([eE][-+]?[0-9]+)?$", plain) ||
               isinf(strtod(plain, NULL));
}

static inline bool yaml_reading_scalar(const yaml_event_t *event, const json_t *want) {
        const char *text = (const char *)event->data.scalar.value;
        bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

        if (json_is_string(want))
                return strcmp(text, json_string_value(want)) == 0 && (!plain || yaml_reading_is_string(text));
        if (json_is_number(want))
                return plain && strtod(text, NULL) == json_number_value(want);
        return plain &&
               strcmp(text, json_is_true(want)    ? "true"
                            : json_is_false(want) ? "false"
                                                  : "null") == 0 &&
               !json_is_object(want) && !json_is_array(want);
}

static inline bool yaml_reading_node(yaml_parser_t *parser, yaml_event_t *event, const json_t *want);

static inline bool yaml_reading_next(yaml_parser_t *parser, const json_t *want) {
        yaml_event_t event;

        if (!yaml_parser_parse(parser, &event))
                return false;
        bool same = yaml_reading_node(parser, &event, want);
        yaml_event_delete(&event);
        return same;
}

static inline bool yaml_reading_map(yaml_parser_t *parser, const json_t *want) {
        for (size_t n = 0;; n++) {
                yaml_event_t event;

                if (!yaml_parser_parse(parser, &event))
                        return false;
                bool end = event.type == YAML_MAPPING_END_EVENT;
                const json_t *value = NULL, *key = NULL;
                if (event.type == YAML_SCALAR_EVENT) {
                        const char *text = (const char *)event.data.scalar.value;
                        value = json_object_get(want, text);
                        key = json_string(text);
                }
                bool good = end || (value && yaml_reading_scalar(&event, key));
                yaml_event_delete(&event);
                json_decref((json_t *)key);
                if (end)
                        return n == json_object_size(want);
                if (!good || !yaml_reading_next(parser, value))
                        return false;
        }
}

static inline bool yaml_reading_list(yaml_parser_t *parser, const json_t *want) {
        yaml_event_t event;

        for (size_t i = 0; i < json_array_size(want); i++)
                if (!yaml_reading_next(parser, json_array_get(want, i)))
                        return false;
        if (!yaml_parser_parse(parser, &event))
                return false;
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        yaml_event_delete(&event);
        return end;
}

static inline bool yaml_reading_node(yaml_parser_t *parser, yaml_event_t *event, const json_t *want) {
        switch (event->type) {
        case YAML_MAPPING_START_EVENT:
                return json_is_object(want) && yaml_reading_map(parser, want);
        case YAML_SEQUENCE_START_EVENT:
                return json_is_array(want) && yaml_reading_list(parser, want);
        case YAML_SCALAR_EVENT:
                return yaml_reading_scalar(event, want);
        default:
                return false;
        }
}

/* Whether the only document in @text is @want. */
static inline bool yaml_reading_same(const char *text, size_t len, const json_t *want) {
        static const yaml_event_type_t around[] = { YAML_STREAM_START_EVENT, YAML_DOCUMENT_START_EVENT,
                                                    YAML_NO_EVENT, YAML_DOCUMENT_END_EVENT,
                                                    YAML_STREAM_END_EVENT };
        yaml_parser_t parser;
        bool same = true;

        assert(yaml_parser_initialize(&parser));
        yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
        for (size_t i = 0; same && i < sizeof around / sizeof *around; i++) {
                yaml_event_t event;

                if (around[i] == YAML_NO_EVENT) {
                        same = yaml_reading_next(&parser, want);
                        continue;
                }
                same = yaml_parser_parse(&parser, &event) && event.type == around[i];
                yaml_event_delete(&event);
        }
        yaml_parser_delete(&parser);
        return same;
}

/* ---- what a Kitfile leaves out of the config ---- */

/* @value without digests of layers and empty packages, outside of parameters. */
static inline json_t *yaml_reading_kitfile(const json_t *value) {
        json_t *copy, *item;
        const char *key;
        size_t i;

        if (json_is_object(value)) {
                copy = json_object();
                json_object_foreach ((json_t *)value, key, item)
                        if (strcmp(key, "parameters") == 0)
                                json_object_set(copy, key, item);
                        else if (strcmp(key, "digest") != 0 && strcmp(key, "diffId") != 0 &&
                                 !(strcmp(key, "package") == 0 && json_is_object(item) &&
                                   json_object_size(item) == 0))
                                json_object_set_new(copy, key, yaml_reading_kitfile(item));
        } else if (json_is_array(value)) {
                copy = json_array();
                json_array_foreach (value, i, item)
                        json_array_append_new(copy, yaml_reading_kitfile(item));
        } else {
                copy = json_deep_copy(value);
        }
        return copy;
}
