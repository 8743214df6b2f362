/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_glob: a pattern is compiled to a row of tokens, and all positions that the pattern can be at are moved
 * along the path together, one character at a time. No backtracking: the time is tokens x characters for
 * every input, and a pod may send any pattern. Compiling reads the pattern once. Invalid UTF-8 counts as one
 * character a byte.
 */
#include "base/text.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define PATTERN_MAX 4096u /* longer ones match nothing */

enum token_type {
        TOKEN_CHARACTER,
        TOKEN_ANY,         /* ? */
        TOKEN_CLASS,       /* [...] */
        TOKEN_STAR,        /* * */
        TOKEN_STARS,       /* ** */
        TOKEN_DIRECTORIES, /* a component that is **, with its slash: zero or more whole directories */
};

struct token {
        enum token_type type;
        uint32_t character;
        const char *class; /* behind the bracket */
};

struct glob {
        bool last_component; /* is all of the path that it looks at */
        bool too_long;       /* matches nothing */
        size_t n;
        const struct token *tokens;
};

struct text_pattern {
        struct glob glob;
        char *text; /* the tokens point into it */
        struct token tokens[];
};

/* The character at *s, which is not at its end, and moves behind it. */
static uint32_t next_character(const char **s) {
        const unsigned char *p = (const unsigned char *)*s;
        size_t n = text_utf8_size(*s, strnlen(*s, 4));
        uint32_t c;

        if (n <= 1) {
                *s += 1;
                return n ? *p : 0x110000u + *p; /* above all of Unicode */
        }
        c = *p & (0xffu >> (n + 1));
        for (size_t i = 1; i < n; i++)
                c = c << 6 | (p[i] & 0x3fu);
        *s += n;
        return c;
}

/* One end of a range in a class. */
static uint32_t class_character(const char **s) {
        if (**s == '\\' && (*s)[1])
                (*s)++;
        return next_character(s);
}

/* Behind the bracket that closes a class, or NULL: the opening one is a plain character then. */
static const char *class_end(const char *s) {
        if (*s == '!' || *s == '^')
                s++;
        if (*s == ']')
                s++;
        while (*s && *s != ']')
                (void)class_character(&s);
        return *s ? s + 1 : NULL;
}

static bool class_matches(const char *s, uint32_t c) {
        bool negated = *s == '!' || *s == '^', first = true, found = false;

        s += negated;
        for (; first || *s != ']'; first = false) {
                uint32_t lo = class_character(&s), hi = lo;

                if (*s == '-' && s[1] != ']') {
                        s++;
                        hi = class_character(&s);
                }
                found |= lo <= c && c <= hi;
        }
        return found != negated && c != '/';
}

/*
 * "**" is TOKEN_DIRECTORIES only as a component of its own that another one follows: then it stands for zero
 * directories too, and its slash goes with it ("a, slash, **, slash, b" matches a/b).
 */
static void compile_stars(struct token *t, const char **pattern, bool at_start) {
        const char *p = *pattern;
        size_t n = strspn(p, "*");

        p += n;
        t->type = n == 1 ? TOKEN_STAR : TOKEN_STARS;
        if (n > 1 && at_start && *p == '/') {
                t->type = TOKEN_DIRECTORIES;
                p++;
        }
        *pattern = p;
}

/* Compiles one token of @pattern, which is not at its end, and returns what is behind it. *open: that no
 * bracket closes behind here is known, as is then of all that follows. */
static const char *compile_token(struct token *t, const char *pattern, bool at_start, bool *open) {
        const char *end;

        if (*pattern == '*') {
                compile_stars(t, &pattern, at_start);
                return pattern;
        }
        if (*pattern == '?') {
                t->type = TOKEN_ANY;
                return pattern + 1;
        }
        if (*pattern == '[' && !*open) {
                end = class_end(pattern + 1);
                *open = !end;
                if (end) {
                        *t = (struct token){ .type = TOKEN_CLASS, .class = pattern + 1 };
                        return end;
                }
        }
        t->type = TOKEN_CHARACTER;
        t->character = class_character(&pattern);
        return pattern;
}

/* @tokens have room for one a byte of @pattern, but at most PATTERN_MAX; they point into it. */
static struct glob compile(struct token *tokens, const char *pattern) {
        struct glob g = { .last_component = !strchr(pattern, '/'), .tokens = tokens };
        bool at_start = true, open = false;

        g.too_long = strnlen(pattern, PATTERN_MAX + 1) > PATTERN_MAX;
        if (g.too_long)
                return g;
        if (*pattern == '/')
                pattern++; /* as in .gitignore: from the top */
        while (*pattern) {
                const char *token = pattern;
                pattern = compile_token(&tokens[g.n++], pattern, at_start, &open);
                at_start =
                    pattern[-1] == '/' && (pattern - token == 1 || tokens[g.n - 1].type == TOKEN_DIRECTORIES);
        }
        return g;
}

/* How a position of the pattern, the one before that token, is held. */
enum held {
        HELD_NOT,
        HELD_INSIDE, /* of a TOKEN_DIRECTORIES, in the middle of a name: not yet of the one behind it */
        HELD,
};

struct row {
        size_t from, to; /* those that are held lie in between; empty: no path can match any more */
        uint8_t held[PATTERN_MAX + 1];
};

static void row_hold(struct row *row, size_t i, enum held how) {
        row->held[i] = (uint8_t)how;
        if (i < row->from)
                row->from = i;
        if (i >= row->to)
                row->to = i + 1;
}

static void row_clear(struct row *row) {
        if (row->from < row->to)
                memset(row->held + row->from, HELD_NOT, row->to - row->from);
        row->from = SIZE_MAX;
        row->to = 0;
}

/* Holds position @i. What can match nothing hands on to the position behind it; the walk ends at one that has
 * been through here, so that a row costs its length once. */
static void reach(struct row *row, const struct glob *g, size_t i) {
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): cleared when it was made */
        while (row->held[i] != HELD) {
                row_hold(row, i, HELD);
                if (i == g->n || g->tokens[i].type < TOKEN_STAR)
                        return;
                i++;
        }
}

/* Where position @i goes when @c is read. */
static void step(struct row *next, const struct glob *g, size_t i, uint32_t c) {
        const struct token *t = &g->tokens[i];

        switch (t->type) {
        case TOKEN_CHARACTER:
                if (c == t->character)
                        reach(next, g, i + 1);
                break;
        case TOKEN_ANY:
                if (c != '/')
                        reach(next, g, i + 1);
                break;
        case TOKEN_CLASS:
                if (class_matches(t->class, c))
                        reach(next, g, i + 1);
                break;
        case TOKEN_STAR:
                if (c != '/')
                        reach(next, g, i);
                break;
        case TOKEN_STARS:
                reach(next, g, i);
                break;
        case TOKEN_DIRECTORIES:
                if (c == '/')
                        reach(next, g, i);
                else if (next->held[i] == HELD_NOT)
                        row_hold(next, i, HELD_INSIDE);
                break;
        }
}

/* Two rows of positions: those held now, and those held once one more character is read. On the stack, some
 * 8 KiB: no allocation that could fail and look like "no match". */
static bool matches(const struct glob *g, const char *path) {
        struct row rows[2];
        struct row *now = &rows[0], *next = &rows[1];
        const char *slash = g->last_component ? strrchr(path, '/') : NULL;

        if (g->too_long)
                return false;
        if (slash)
                path = slash + 1;
        for (size_t i = 0; i < 2; i++) {
                rows[i].from = 0;
                rows[i].to = g->n + 1;
                row_clear(&rows[i]);
        }
        reach(now, g, 0);
        while (*path && now->from < now->to) {
                uint32_t c = next_character(&path);
                struct row *done = now;

                row_clear(next);
                for (size_t i = now->from; i < now->to && i < g->n; i++)
                        if (now->held[i])
                                step(next, g, i, c);
                now = next;
                next = done;
        }
        return now->held[g->n] == HELD;
}

/* The tokens are on the stack too, some 64 KiB. */
bool text_glob(const char *pattern, const char *path) {
        struct token tokens[PATTERN_MAX];
        struct glob g = compile(tokens, pattern);

        return matches(&g, path);
}

int text_pattern_new(struct text_pattern **ret, const char *pattern) {
        size_t n = strnlen(pattern, PATTERN_MAX);
        _cleanup_free_ struct text_pattern *p = calloc(1, sizeof *p + n * sizeof *p->tokens);

        if (!p)
                return -ENOMEM;
        p->text = strdup(pattern);
        if (!p->text)
                return -ENOMEM;
        p->glob = compile(p->tokens, p->text);
        *ret = take_ptr(p);
        return 0;
}

void text_pattern_free(struct text_pattern *p) {
        if (p)
                free(p->text);
        free(p);
}

bool text_pattern_matches(const struct text_pattern *p, const char *path) {
        return matches(&p->glob, path);
}
