/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser of /proc/self/mountinfo. A line is
 *
 *   36 35 98:0 /root /target rw,noatime master:1 - ext3 /dev/root rw,errors=continue
 *
 * with any number of optional fields before the lone dash, and space, tab, newline and backslash written as
 * three octal digits. The kernel wrote it, but the names in it are anyone's: whatever does not fit is an
 * error, never a guess.
 */
#include "base/buf.h"
#include "base/mount.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT (64u * 1024 * 1024) /* a node with thousands of pods has a few megabytes */

/* The next field of a line, in place and NUL-terminated; NULL at its end, and from an empty field on. */
static char *next_field(char **at) {
        char *field = *at;

        if (!field || *field == ' ' || *field == '\0')
                return *at = NULL;
        *at = strchr(field, ' ');
        if (*at)
                *(*at)++ = '\0';
        return field;
}

static bool parse_number(unsigned *ret, const char *text, char end, const char **rest) {
        unsigned long n = 0;

        if (*text < '0' || *text > '9')
                return false;
        for (; *text >= '0' && *text <= '9'; text++) {
                n = n * 10 + (unsigned)(*text - '0');
                if (n > UINT32_MAX)
                        return false;
        }
        if (*text != end)
                return false;
        *ret = (unsigned)n;
        *rest = text + 1;
        return true;
}

static bool is_octal(const char *text) {
        return text[0] >= '0' && text[0] <= '3' && text[1] >= '0' && text[1] <= '7' && text[2] >= '0' &&
               text[2] <= '7';
}

static char *unescape(const char *text) {
        char *out = malloc(strlen(text) + 1), *to = out;

        if (!out)
                return NULL;
        while (*text)
                if (*text == '\\' && is_octal(text + 1)) {
                        *to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
                        text += 4;
                } else
                        *to++ = *text++;
        *to = '\0';
        return out;
}

static void entry_done(struct mount_entry *m) {
        free(m->root);
        free(m->target);
        free(m->fs_type);
}

/* 0, -EINVAL, -ENOMEM. @line is taken apart. */
static int entry_parse(struct mount_entry *m, char *line) {
        char *at = line;
        const char *id = next_field(&at), *parent = next_field(&at), *dev = next_field(&at), *rest;
        const char *root = next_field(&at), *target = next_field(&at), *options = next_field(&at);
        const char *field = options;
        unsigned ignored;

        while (field && strcmp(field, "-") != 0)
                field = next_field(&at);
        const char *fs_type = field ? next_field(&at) : NULL;
        if (!fs_type || !parse_number(&m->id, id, '\0', &rest) ||
            !parse_number(&ignored, parent, '\0', &rest) || !parse_number(&m->dev_major, dev, ':', &rest) ||
            !parse_number(&m->dev_minor, rest, '\0', &rest))
                return -EINVAL;

        m->root = unescape(root);
        m->target = unescape(target);
        m->fs_type = unescape(fs_type);
        return m->root && m->target && m->fs_type ? 0 : -ENOMEM;
}

static int table_add(struct mount_table *t, char *line) {
        struct mount_entry m = { 0 };

        if ((t->n & (t->n - 1)) == 0) { /* full at every power of two */
                void *grown = realloc(t->entries, (t->n ? 2 * t->n : 1) * sizeof m);
                if (!grown)
                        return -ENOMEM;
                t->entries = grown;
        }
        int r = entry_parse(&m, line);
        if (r < 0) {
                entry_done(&m);
                return r;
        }
        t->entries[t->n++] = m;
        return 0;
}

int mount_table_parse(struct mount_table *ret, const char *text, size_t len, struct error *e) {
        _cleanup_(mount_table_free) struct mount_table t = { 0 };
        _cleanup_free_ char *copy = malloc(len + 1);
        unsigned n = 0;

        if (!copy)
                return error_errno(e, ENOMEM, "cannot read mountinfo");
        if (len && memchr(text, '\0', len))
                return error_set(e, ERROR_INTERNAL, "mountinfo contains a NUL");
        if (len)
                memcpy(copy, text, len);
        copy[len] = '\0';

        for (char *line = copy, *end; *line; line = end) {
                end = strchrnul(line, '\n');
                if (*end)
                        *end++ = '\0';
                n++;
                int r = table_add(&t, line);
                if (r == -ENOMEM)
                        return error_errno(e, ENOMEM, "cannot read mountinfo");
                if (r < 0)
                        return error_set(e, ERROR_INTERNAL, "line %u of mountinfo is not as proc(5) says", n);
        }
        *ret = t;
        t = (struct mount_table){ 0 };
        return 0;
}

int mount_table_read(struct mount_table *ret, struct error *e) {
        _cleanup_buf_ struct buf text = BUF_INIT(MAX_TEXT);
        _cleanup_close_ int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
        char piece[16 * 1024];
        ssize_t n;

        if (fd < 0)
                return error_errno(e, errno, "cannot open /proc/self/mountinfo");
        while ((n = read(fd, piece, sizeof piece)) != 0) {
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(e, errno, "cannot read /proc/self/mountinfo");
                int r = buf_append(&text, piece, (size_t)n);
                if (r < 0)
                        return error_errno(e, r, "cannot keep /proc/self/mountinfo");
        }
        return mount_table_parse(ret, buf_text(&text), text.len, e);
}

/* The kernel lists a mount after what it covers. */
const struct mount_entry *mount_table_find(const struct mount_table *t, const char *target) {
        for (size_t i = t->n; i > 0; i--)
                if (strcmp(t->entries[i - 1].target, target) == 0)
                        return &t->entries[i - 1];
        return NULL;
}

void mount_table_free(struct mount_table *t) {
        for (size_t i = 0; i < t->n; i++)
                entry_done(&t->entries[i]);
        free(t->entries);
        *t = (struct mount_table){ 0 };
}
