/* SPDX-License-Identifier: Apache-2.0 */
/* The knobs in force lie behind one lock; setting several is one step, so that no request sees half of a
 * change. */
#include "knobs.h"

#include "artifact.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct knob_info {
        const char *name, *help;
        enum knob_type type;
};

#define X(field, type, value, help) { #field, help, type },
static const struct knob_info table[_KNOB_MAX] = {
#include "knobs.def"
};
#undef X

#define DEFAULT_KNOB_NUMBER(v) \
        { .number = v }
#define DEFAULT_KNOB_SIZE(v) \
        { .number = v }
#define DEFAULT_KNOB_BOOL(v) \
        { .number = v }
#define DEFAULT_KNOB_TEXT(v) \
        { .text = v }
#define X(field, type, value, help) DEFAULT_##type(value),
static struct {
        pthread_mutex_t lock;
        struct knobs now;
} state = { .lock = PTHREAD_MUTEX_INITIALIZER,
            .now = { {
#include "knobs.def"
            } } };
#undef X

void knobs_copy(struct knobs *ret) {
        LOCK_SCOPE(&state.lock);
        *ret = state.now;
}

/* "--stall-after" and "stall_after" are the same knob. */
static int find(const char *name) {
        for (int i = 0; i < _KNOB_MAX; i++) {
                const char *a = table[i].name, *b = name;

                while (*a && (*a == *b || (*a == '_' && *b == '-'))) {
                        a++;
                        b++;
                }
                if (!*a && !*b)
                        return i;
        }
        return -1;
}

static bool parse(int id, const char *text, union knob *ret) {
        char *end;

        if (table[id].type == KNOB_TEXT)
                return snprintf(ret->text, sizeof ret->text, "%s", text) < KNOB_TEXT_MAX;
        if (strcmp(text, "0") == 0 || strcmp(text, "false") == 0)
                ret->number = 0;
        else if (table[id].type == KNOB_SIZE)
                return (ret->number = artifact_parse_size(text)) > 0;
        else if (strcmp(text, "true") == 0)
                ret->number = 1;
        else {
                ret->number = strtoull(text, &end, 10);
                return end != text && !*end;
        }
        return true;
}

bool knobs_set(const char *name, const char *value) {
        union knob v;
        int id = find(name);

        if (id < 0 || !parse(id, value, &v))
                return false;
        LOCK_SCOPE(&state.lock);
        state.now.value[id] = v;
        return true;
}

static bool merge_one(struct knobs *k, const char *name, const json_t *value) {
        int id = find(name);

        if (id < 0)
                return false;
        if (json_is_string(value))
                return parse(id, json_string_value(value), &k->value[id]);
        if (table[id].type == KNOB_TEXT || !(json_is_integer(value) || json_is_boolean(value)))
                return false;
        k->value[id].number =
            json_is_boolean(value) ? json_is_true(value) : (uint64_t)json_integer_value(value);
        return true;
}

bool knobs_merge(const json_t *object) {
        struct knobs k;
        const char *name;
        json_t *value;

        if (!json_is_object(object))
                return false;
        LOCK_SCOPE(&state.lock);
        k = state.now;
        json_object_foreach ((json_t *)object, name, value)
                if (!merge_one(&k, name, value))
                        return false;
        state.now = k;
        return true;
}

json_t *knobs_json(void) {
        json_t *object = json_object();
        struct knobs k;

        knobs_copy(&k);
        for (int i = 0; i < _KNOB_MAX; i++)
                json_object_set_new(object, table[i].name,
                                    table[i].type == KNOB_TEXT ? json_string(k.value[i].text)
                                    : table[i].type == KNOB_BOOL
                                        ? json_boolean(k.value[i].number)
                                        : json_integer((json_int_t)k.value[i].number));
        return object;
}

void knobs_print_help(void) {
        for (int i = 0; i < _KNOB_MAX; i++)
                printf("  --%-18s %s\n", table[i].name, table[i].help);
}
