/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: from a format string to one line on stderr.
 *
 *   format (8 KiB) -> redact -> escape into a line of at most PIPE_BUF bytes -> one write(2)
 *
 * A line that fits into PIPE_BUF is never mixed with another writer's. Redaction works on the plain text,
 * before it is cut and escaped, and marks what to hide before it hides anything: so secrets may overlap or
 * contain each other, and one that the first buffer cut off at its end is hidden as well. All state is
 * guarded by one mutex, which is never held while writing.
 */
#include "base/log.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOG_BURST 20u     /* lines of one place in the source … */
#define LOG_INTERVAL_S 10 /* … in this time; the rest is counted */
#define TEXT_MAX 8192
#define SECRETS_MAX 1024u
#define SECRET_KEPT 512u /* bytes; of a longer one that many are known, and the rest is hidden to its end */
#define SECRET_MIN 4u    /* shorter ones would hide half of every line */
#define REDACTED "[redacted]"
#define ELLIPSIS "…"

static const char *const level_names[] = { "error", "warning", "info", "debug" };
_Static_assert(sizeof level_names / sizeof *level_names == _LOG_LEVEL_MAX, "one name per level");

static const char *const topic_names[] = {
#define X(id, name, help) [LOG_TOPIC_##id] = name,
        LOG_TOPICS(X)
#undef X
};

unsigned log_enabled_topics;

struct secret {
        uint64_t used; /* when log_redact() had it last; 0: a free place, as are all behind it */
        size_t len;
        bool longer; /* than what is kept */
        char text[SECRET_KEPT];
};

static struct {
        pthread_mutex_t lock; /* guards what follows and every log_site */
        enum log_level level;
        bool json;
        uint64_t clock; /* of `used` */
        struct secret secrets[SECRETS_MAX];
} state = { .lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_LEVEL_INFO };

/* A line being made. There is always room for the end of a line behind @len. */
struct line {
        char text[PIPE_BUF];
        size_t len; /* bytes that are there; no NUL */
        bool json;
        bool full; /* something did not fit: nothing is added any more */
};
#define LINE_END_MAX 16u /* ELLIPSIS, quote, brace, newline */

static int topics_parse(unsigned *ret, const char *text) {
        char **names = text_split(text, ',');
        unsigned set = 0;
        int r = names ? 0 : -ENOMEM;

        for (char **name = names; r == 0 && *name; name++) {
                unsigned i = 0;

                while (i < _LOG_TOPIC_MAX && strcmp(*name, topic_names[i]) != 0)
                        i++;
                if (strcmp(*name, "all") == 0)
                        set = (1u << _LOG_TOPIC_MAX) - 1;
                else if (i < _LOG_TOPIC_MAX)
                        set |= 1u << i;
                else
                        r = -EINVAL;
        }
        text_list_free(names);
        if (r == 0)
                *ret = set;
        return r;
}

/* Called once at the start, before there are threads; a second time only by tests. */
int log_setup(enum log_level level, enum log_format format, const char *topics) {
        unsigned set = 0;
        int r;

        r = topics_parse(&set, topics ? topics : level == LOG_LEVEL_DEBUG ? "all" : "");
        if (r < 0)
                return r;
        LOCK_SCOPE(&state.lock);
        state.level = level;
        state.json = format == LOG_FORMAT_JSON || (format == LOG_FORMAT_AUTO && !isatty(STDERR_FILENO));
        __atomic_store_n(&log_enabled_topics, set, __ATOMIC_RELAXED);
        return 0;
}

int log_level_parse(const char *text) {
        for (int i = 0; i < _LOG_LEVEL_MAX; i++)
                if (strcmp(text, level_names[i]) == 0)
                        return i;
        return -EINVAL;
}

/*
 * Tokens are renewed all day, so what was not heard of for the longest time is forgotten. The table is
 * static: a secret is never missed because memory is short, and a registry's tokens cannot fill the memory.
 */
void log_redact(const char *secret) {
        size_t len = secret ? strlen(secret) : 0, kept = len < SECRET_KEPT ? len : SECRET_KEPT;
        struct secret *place = state.secrets;
        bool same = false;

        if (len < SECRET_MIN)
                return;
        LOCK_SCOPE(&state.lock);
        for (struct secret *s = state.secrets; s < state.secrets + SECRETS_MAX; s++) {
                same = s->used && s->len == kept && memcmp(s->text, secret, kept) == 0;

                if (same || s->used < place->used)
                        place = s;
                if (same || !s->used)
                        break;
        }
        place->used = ++state.clock;
        place->len = kept;
        place->longer = len > kept || (same && place->longer);
        memcpy(place->text, secret, kept);
}

/* How far a secret goes on behind the bytes of it that are known: to a blank or a quote. */
static size_t rest_of_secret(const char *p, const char *end) {
        const char *from = p;

        while (p < end && (unsigned char)*p > ' ' && *p != '"')
                p++;
        return (size_t)(p - from);
}

/* Marks every place where @secret is, and its beginning at the end of a text that was @cut there. */
static void mark_secret(bool *hidden, const char *text, size_t len, bool cut, const struct secret *secret) {
        size_t n = secret->len;
        const char *end = text + len, *p = text;

        while ((p = memmem(p, (size_t)(end - p), secret->text, n))) {
                size_t rest = secret->longer ? rest_of_secret(p + n, end) : 0;

                memset(hidden + (p - text), true, n + rest);
                p += 1 + rest;
        }
        for (size_t part = n < len ? n : len; cut && part >= SECRET_MIN; part--) {
                if (memcmp(end - part, secret->text, part) != 0)
                        continue;
                memset(hidden + len - part, true, part);
                break;
        }
}

/* Copies @text without the secrets into @out, which is large enough for all of it; returns the new length. */
static size_t redact(char *out, size_t out_size, const char *text, size_t len, bool cut) {
        bool hidden[TEXT_MAX] = { false };
        size_t n = 0;

        pthread_mutex_lock(&state.lock);
        for (unsigned i = 0; i < SECRETS_MAX && state.secrets[i].used; i++)
                mark_secret(hidden, text, len, cut, &state.secrets[i]);
        pthread_mutex_unlock(&state.lock);
        for (size_t i = 0; i < len && n + sizeof REDACTED < out_size; i++) {
                if (!hidden[i]) {
                        out[n++] = text[i];
                } else if (i == 0 || !hidden[i - 1]) {
                        memcpy(out + n, REDACTED, sizeof REDACTED - 1);
                        n += sizeof REDACTED - 1;
                }
        }
        return n;
}

/* All or nothing: half an escape or half a character would spoil the line. */
static void line_put(struct line *l, const char *s, size_t n) {
        if (l->full || n > sizeof l->text - LINE_END_MAX - l->len) {
                l->full = true;
                return;
        }
        memcpy(l->text + l->len, s, n);
        l->len += n;
}

/* One character that is not written as it is; @n bytes at @s. */
static void line_put_special(struct line *l, const char *s, size_t n) {
        static const char *const replacement = "\xef\xbf\xbd"; /* U+FFFD */
        char escape[8];

        if (n != 1)
                line_put(l, replacement, strlen(replacement));
        else if (*s == '\n')
                line_put(l, "\\n", 2);
        else if (*s == '"' || *s == '\\')
                line_put(l, (char[]){ '\\', *s }, 2);
        else
                line_put(l, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)*s));
}

/* Control characters never reach a terminal, C1 (U+0080 to U+009F, two bytes) included; JSON needs its
 * quotes. */
static void line_put_text(struct line *l, const char *s, size_t len) {
        for (size_t i = 0; i < len && !l->full;) {
                size_t n = text_utf8_size(s + i, len - i);
                /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): n says both are there */
                bool c1 = n == 2 && s[i] == '\xc2' && (unsigned char)s[i + 1] < 0xa0;
                bool control = n == 1 && ((unsigned char)s[i] < ' ' || s[i] == 0x7f);
                bool quote = l->json && (s[i] == '"' || s[i] == '\\');

                if (n == 0 || c1 || control || quote)
                        line_put_special(l, s + i, n);
                else
                        line_put(l, s + i, n);
                i += n ? n : 1;
        }
}

/* Time, level and topic come first, so that they are there however long the message is. */
static void line_begin(struct line *l, enum log_level level, const char *topic) {
        char time[TEXT_SHORT], name[32] = "";
        for (size_t i = 0; topic && topic[i] && i + 1 < sizeof name; i++)
                name[i] = (char)tolower((unsigned char)topic[i]);
        text_format_time(time_now_ms(), time);
        if (l->json)
                l->len = (size_t)snprintf(
                    l->text, sizeof l->text, "{\"time\":\"%s\",\"level\":\"%s\"%s%s%s,\"msg\":\"", time,
                    level_names[level], topic ? ",\"topic\":\"" : "", name, topic ? "\"" : "");
        else
                l->len = (size_t)snprintf(l->text, sizeof l->text, "%s %s%s%s%s: ", time, level_names[level],
                                          topic ? " [" : "", name, topic ? "]" : "");
}

/* Ends the line and writes it. A pipe may take less than all of it; then lines can mix, but none is lost. */
static void line_write(struct line *l) {
        const char *p = l->text;

        if (l->full) {
                memcpy(l->text + l->len, ELLIPSIS, sizeof ELLIPSIS - 1);
                l->len += sizeof ELLIPSIS - 1;
        }
        l->len += (size_t)snprintf(l->text + l->len, sizeof l->text - l->len, "%s\n", l->json ? "\"}" : "");
        while (l->len > 0) {
                ssize_t n = write(STDERR_FILENO, p, l->len);

                if (n < 0 && errno != EINTR)
                        return; /* nobody listens: there is nowhere to complain */
                if (n > 0) {
                        p += n;
                        l->len -= (size_t)n;
                }
        }
}

/* Whether a line of this place may be written; *ret_dropped says how many were not, since the last that was.
 */
static bool admit(struct log_site *site, enum log_level level, unsigned *ret_dropped, bool *ret_json) {
        long now = (long)(time_monotonic_ms() / 1000);

        LOCK_SCOPE(&state.lock);
        *ret_json = state.json;
        *ret_dropped = 0;
        if (!site)
                return true;
        if (level > state.level)
                return false;
        if (site->count == 0 || now - site->window_s >= LOG_INTERVAL_S) {
                site->window_s = now;
                site->count = 0;
        }
        if (site->count >= LOG_BURST) {
                site->dropped++;
                return false;
        }
        site->count++;
        *ret_dropped = site->dropped;
        site->dropped = 0;
        return true;
}

void log_write(struct log_site *site, enum log_level level, const char *topic, const char *fmt, ...) {
        char text[TEXT_MAX], plain[2 * TEXT_MAX];
        struct line line = { .len = 0 };
        int saved = errno, n;
        unsigned dropped;
        va_list ap;

        if (!admit(site, level, &dropped, &line.json))
                return;
        errno = saved; /* for %m */
        va_start(ap, fmt);
        n = vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        if (n >= 0) {
                bool cut = (size_t)n >= sizeof text;
                size_t len = redact(plain, sizeof plain, text, cut ? sizeof text - 1 : (size_t)n, cut);

                line_begin(&line, level, topic);
                line_put_text(&line, plain, len);
                line.full |= cut;
                if (dropped && !line.full) {
                        char more[64];
                        line_put(&line, more,
                                 (size_t)snprintf(more, sizeof more, " (%u more like this before)", dropped));
                }
                line_write(&line);
        }
        errno = saved;
}
