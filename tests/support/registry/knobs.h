/* SPDX-License-Identifier: Apache-2.0 */
/*
 * knobs: what is wrong with this registry right now. One table (knobs.def) makes the fields, the flags and
 * the JSON members. Every request works on its own copy, so that a change applies from the next request on.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define KNOB_TEXT_MAX 256

enum knob_type { KNOB_NUMBER, KNOB_SIZE, KNOB_BOOL, KNOB_TEXT };

union knob {
        uint64_t number;
        char text[KNOB_TEXT_MAX];
};

enum knob_id {
#define X(field, ...) KNOB_ID_##field,
#include "knobs.def"
#undef X
        _KNOB_MAX,
};

struct knobs {
        union knob value[_KNOB_MAX];
};
#define knob_number(k, field) ((k)->value[KNOB_ID_##field].number)
#define knob_text(k, field) ((k)->value[KNOB_ID_##field].text)

/* Any thread. */
void knobs_copy(struct knobs *ret);
bool knobs_set(const char *name, const char *value); /* false: no such knob or a wrong value */
bool knobs_merge(const json_t *object);              /* all or nothing */
json_t *knobs_json(void);
void knobs_print_help(void);
