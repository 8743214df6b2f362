/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_value: one text into one field, with all that can be said about it without looking at others.
 *
 * A field is written when the text is known to be right and never before. Errors quote at most 200 bytes of
 * the text and do not name the key: the caller knows whether it was a flag or a line of a file.
 */
#include "base/settings_internal.h"

#include "base/text.h"

#include <string.h>

#define VALUE_MAX 4096u

/* The chart sets NODE_NAME from the pod's spec.nodeName; in a pod the host's name may be the pod's. */
static char *default_node_name(void) {
        const char *name = getenv("NODE_NAME");
        char host[256] = "";

        if (name && *name)
                return strdup(name);
        if (gethostname(host, sizeof host - 1) < 0)
                return NULL;
        return strdup(host);
}

static int set_text(char **field, const struct setting *setting, const char *text, struct error *e) {
        char *copy;

        if (setting->type == SETTING_PATH && *text != '/')
                return error_set(e, ERROR_INVALID, "\"%.200s\" is not an absolute path", text);
        if (setting->type == SETTING_PATH_OR_NONE && *text && *text != '/')
                return error_set(e, ERROR_INVALID, "\"%.200s\" is not an absolute path, nor empty", text);
        if (setting == &settings_table[SETTING_ID_node_name] && !*text)
                copy = default_node_name();
        else
                copy = strdup(text);
        if (!copy)
                return error_errno(e, ENOMEM, "cannot keep \"%.200s\"", text);
        free(*field);
        *field = copy;
        return 0;
}

/* @setting->value has the words, so --help cannot name others than are taken. */
static int set_choice(char **field, const struct setting *setting, const char *text, struct error *e) {
        size_t n = strlen(text);

        for (const char *word = setting->value; *word;) {
                size_t len = strcspn(word, "|");

                if (len == n && memcmp(word, text, n) == 0)
                        return set_text(field, setting, text, e);
                word += word[len] ? len + 1 : len;
        }
        return error_set(e, ERROR_INVALID, "\"%.200s\" is none of %s", text, setting->value);
}

static int out_of_range(const struct setting *setting, const char *text, struct error *e) {
        char min[TEXT_SHORT], max[TEXT_SHORT];

        if (setting->type != SETTING_NUMBER && setting->max == UINT64_MAX)
                return error_set(e, ERROR_INVALID, "%.200s is too large", text);
        if (setting->type == SETTING_SIZE)
                return error_set(e, ERROR_INVALID, "%.200s is not between %s and %s", text,
                                 text_format_size(setting->min, min), text_format_size(setting->max, max));
        return error_set(e, ERROR_INVALID, "%.200s is not between %u and %u", text, (unsigned)setting->min,
                         (unsigned)setting->max);
}

static int parse_size(uint64_t *ret, const struct setting *setting, const char *text, struct error *e) {
        uint64_t value;
        int r = text_parse_size(&value, text);

        if (r == -EINVAL)
                return error_set(e, ERROR_INVALID, "\"%.200s\" is not a size such as 256MiB%s", text,
                                 setting->type == SETTING_AMOUNT ? ", nor a share such as 10%" : "");
        if (r < 0 || value < setting->min || value > setting->max)
                return out_of_range(setting, text, e);
        *ret = value;
        return 0;
}

/* No unit and no fraction, unlike a size. The parser of sizes is used for its check of overflow. */
static int set_number(unsigned *field, const struct setting *setting, const char *text, struct error *e) {
        uint64_t value = 0;

        if (!*text || strspn(text, "0123456789") != strlen(text))
                return error_set(e, ERROR_INVALID, "\"%.200s\" is not a whole number", text);
        if (text_parse_size(&value, text) < 0 || value < setting->min || value > setting->max)
                return out_of_range(setting, text, e);
        *field = (unsigned)value;
        return 0;
}

/* Whole percents. What they are a share of is known later, by settings_amount_of(). */
static int set_amount(struct settings_amount *field, const struct setting *setting, const char *text,
                      struct error *e) {
        size_t digits = strspn(text, "0123456789");
        struct settings_amount a = { 0 };
        int r;

        if (digits == 0 || strcmp(text + digits, "%") != 0) {
                r = parse_size(&a.bytes, setting, text, e);
                if (r < 0)
                        return r;
        } else {
                if (digits > 3 || strtoul(text, NULL, 10) > 100)
                        return error_set(e, ERROR_INVALID, "%.200s is more than 100%%", text);
                a.percent = (unsigned)strtoul(text, NULL, 10);
                a.is_percent = true;
        }
        *field = a;
        return 0;
}

static int set_duration(int64_t *field, const char *text, struct error *e) {
        int r = text_parse_duration(field, text);

        if (r == -ERANGE)
                return error_set(e, ERROR_INVALID, "%.200s is too long", text);
        if (r < 0)
                return error_set(e, ERROR_INVALID, "\"%.200s\" is not a duration such as 24h or 1h30m", text);
        return 0;
}

/* Control characters are in no setting that is right, and would reach paths, logs and HTTP. */
int settings_value_set(struct settings *s, const struct setting *setting, const char *text, struct error *e) {
        void *field = (char *)s + setting->offset;

        if (strlen(text) > VALUE_MAX)
                return error_set(e, ERROR_INVALID, "the value is longer than %u bytes", VALUE_MAX);
        for (const char *p = text; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        return error_set(e, ERROR_INVALID, "\"%.200s\" has a control character", text);
        switch (setting->type) {
        case SETTING_TEXT:
        case SETTING_PATH:
        case SETTING_PATH_OR_NONE:
                return set_text(field, setting, text, e);
        case SETTING_CHOICE:
                return set_choice(field, setting, text, e);
        case SETTING_NUMBER:
                return set_number(field, setting, text, e);
        case SETTING_SIZE:
                return parse_size(field, setting, text, e);
        case SETTING_AMOUNT:
                return set_amount(field, setting, text, e);
        case SETTING_DURATION:
                return set_duration(field, text, e);
        }
        return error_set(e, ERROR_INTERNAL, "setting %s has no type", setting->key);
}
