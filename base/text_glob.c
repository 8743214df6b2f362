/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_glob: a pattern is compiled to a row of tokens, and all positions that the pattern can be at are moved
 * along the path together, one character at a time. No backtracking: the time is tokens x characters for
 * every input, and a pod may send any pattern. Invalid UTF-8 counts as one character a byte.
 */
#include "base/text.h"

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

/* Compiles one token of @pattern, which is not at its end, and returns what is behind it. */
static const char *compile_token(struct token *t, const char *pattern, bool at_start) {
        const char *end;

        if (*pattern == '*') {
                compile_stars(t, &pattern, at_start);
                return pattern;
        }
        if (*pattern == '?') {
                t->type = TOKEN_ANY;
                return pattern + 1;
        }
        end = *pattern == '[' ? class_end(pattern + 1) : NULL;
        if (end) {
                *t = (struct token){ .type = TOKEN_CLASS, .class = pattern + 1 };
                return end;
        }
        t->type = TOKEN_CHARACTER;
        t->character = class_character(&pattern);
        return pattern;
}

/* How a position of the pattern, the one before that token, is held. */
enum held {
        HELD_NOT,
        HELD_INSIDE, /* of a TOKEN_DIRECTORIES, in the middle of a name: not yet of the one behind it */
        HELD,
};

/* Holds position @i. What can match nothing hands on to the position behind it; the walk ends at one that has
 * been through here, so that a row costs its length once. */
static void reach(uint8_t *row, const struct token *tokens, size_t n, size_t i) {
        while (row[i] != HELD) {
                row[i] = HELD;
                if (i == n || tokens[i].type < TOKEN_STAR)
                        return;
                i++;
        }
}

/* Where position @i goes when @c is read. */
static void step(uint8_t *next, const struct token *tokens, size_t n, size_t i, uint32_t c) {
        const struct token *t = &tokens[i];

        switch (t->type) {
        case TOKEN_CHARACTER:
                if (c == t->character)
                        reach(next, tokens, n, i + 1);
                break;
        case TOKEN_ANY:
                if (c != '/')
                        reach(next, tokens, n, i + 1);
                break;
        case TOKEN_CLASS:
                if (class_matches(t->class, c))
                        reach(next, tokens, n, i + 1);
                break;
        case TOKEN_STAR:
                if (c != '/')
                        reach(next, tokens, n, i);
                break;
        case TOKEN_STARS:
                reach(next, tokens, n, i);
                break;
        case TOKEN_DIRECTORIES:
                if (c == '/')
                        reach(next, tokens, n, i);
                else if (next[i] == HELD_NOT)
                        next[i] = HELD_INSIDE;
                break;
        }
}

/* Two rows of positions: those held now, and those held once one more character is read. */
static bool run(const struct token *tokens, size_t n, const char *path) {
        uint8_t rows[2][PATTERN_MAX + 1] = { { HELD_NOT } };
        uint8_t *now = rows[0], *next = rows[1];

        reach(now, tokens, n, 0);
        while (*path) {
                uint32_t c = next_character(&path);
                uint8_t *done = now;

                memset(next, HELD_NOT, n + 1);
                for (size_t i = 0; i < n; i++)
                        if (now[i])
                                step(next, tokens, n, i, c);
                now = next;
                next = done;
        }
        return now[n] == HELD;
}

/* Both rows and the tokens are on the stack, some 72 KiB: no allocation that could fail and look like "no
 * match". */
bool text_glob(const char *pattern, const char *path) {
        struct token tokens[PATTERN_MAX];
        const char *slash = strrchr(path, '/'), *p = pattern;
        size_t n = 0;
        bool at_start = true;

        if (strnlen(pattern, PATTERN_MAX + 1) > PATTERN_MAX)
                return false;
        if (!strchr(pattern, '/') && slash)
                path = slash + 1;
        if (*p == '/')
                p++; /* as in .gitignore: from the top */
        while (*p) {
                const char *token = p;
                p = compile_token(&tokens[n++], p, at_start);
                at_start = p[-1] == '/' && (p - token == 1 || tokens[n - 1].type == TOKEN_DIRECTORIES);
        }
        return run(tokens, n, path);
}
