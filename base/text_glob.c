/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_glob: a pattern is compiled to a row of tokens, and all positions that the pattern can be at are moved
 * along the path together, one character at a time and 64 positions with a few instructions. No backtracking:
 * the time is tokens x characters / 64 for every input, and a pod may send any pattern; only characters that
 * are not ASCII, and patterns that are used once, have the tokens looked at one by one. Compiling reads the
 * pattern once. Invalid UTF-8 counts as one character a byte.
 */
#include "base/text.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

#define PATTERN_MAX 4096u /* longer ones match nothing */
#define ASCII 128u
#define WORDS(n) ((n) / 64 + 1) /* for the positions 0 to @n */

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

struct word {            /* 64 tokens, by type */
        uint64_t single; /* one character */
        uint64_t star, stars, directories;
};

struct glob {
        bool last_component; /* is all of the path that it looks at */
        bool too_long;       /* matches nothing */
        size_t n;
        const struct token *tokens;
        struct word *words; /* WORDS(n) */
        const uint64_t
            *table; /* ASCII rows of as many words: which tokens that character matches; NULL: none */
};

struct text_pattern {
        struct glob glob;
        char *text; /* the tokens point into it */
        uint64_t *table;
        struct token tokens[];
};

DEFINE_CLEANUP(struct text_pattern *, text_pattern_free);

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

/* ---- sets of positions: bit i of a row of words is the position before token i, bit n the end ---- */

static bool token_matches(const struct token *t, uint32_t c) {
        switch (t->type) {
        case TOKEN_CHARACTER:
                return c == t->character;
        case TOKEN_ANY:
                return c != '/';
        case TOKEN_CLASS:
                return class_matches(t->class, c);
        default:
                return false;
        }
}

/* Which tokens are what; @g->words has room for them. */
static void glob_sort(struct glob *g) {
        memset(g->words, 0, WORDS(g->n) * sizeof *g->words);
        for (size_t i = 0; i < g->n; i++) {
                struct word *w = &g->words[i / 64];
                uint64_t bit = (uint64_t)1 << i % 64;

                switch (g->tokens[i].type) {
                case TOKEN_STAR:
                        w->star |= bit;
                        break;
                case TOKEN_STARS:
                        w->stars |= bit;
                        break;
                case TOKEN_DIRECTORIES:
                        w->directories |= bit;
                        break;
                default:
                        w->single |= bit;
                }
        }
}

/* Those of the positions @held, which are in word @w, whose token is one character and matches @c. */
static inline uint64_t matching(const struct glob *g, size_t n, size_t w, uint64_t held, uint32_t c) {
        uint64_t found = 0;

        if (g->table && c < ASCII)
                return held & g->table[c * n + w];
        for (uint64_t left = held & g->words[w].single; left; left &= left - 1) {
                unsigned bit = (unsigned)__builtin_ctzll(left);
                if (token_matches(&g->tokens[64 * w + bit], c))
                        found |= (uint64_t)1 << bit;
        }
        return found;
}

/*
 * Adds to the positions @held, of one word, those that are reached from them without a character: what can
 * match nothing hands on to the position behind it. Adding a bit at the start of a row of ones turns them
 * over up to the zero behind them, which is just the row that is reached. *carry: into the next word.
 */
static uint64_t reach(const struct word *w, uint64_t held, bool *carry) {
        uint64_t silent = w->star | w->stars | w->directories, sum;
        bool over = __builtin_add_overflow(silent, held & silent, &sum);

        *carry = __builtin_add_overflow(sum, (uint64_t)*carry, &sum) || over;
        return held | (sum ^ silent);
}

/*
 * Reads @c: each position goes on, stays, or is not held any more. Within a TOKEN_DIRECTORIES a position
 * stays whatever is read, but only behind a slash is the one behind it reached too. False: no path can match
 * any more.
 */
__attribute__((always_inline)) static inline bool step(const struct glob *g, size_t n, uint64_t *held,
                                                       uint32_t c) {
        uint64_t shifted = 0, all = 0;
        bool carry = false;

        for (size_t i = 0; i < n; i++) {
                const struct word *w = &g->words[i];
                uint64_t now = held[i], gone_on = matching(g, n, i, now, c);
                uint64_t stays = now & (w->stars | (c == '/' ? w->directories : w->star));

                held[i] = reach(w, gone_on << 1 | shifted | stays, &carry) | (now & w->directories);
                shifted = gone_on >> 63;
                all |= held[i];
        }
        return all != 0;
}

/* Inlined: with the usual single word, @n known, nothing but the table is read from memory. */
__attribute__((always_inline)) static inline bool walk(const struct glob *g, size_t n, const char *path) {
        uint64_t held[WORDS(
            PATTERN_MAX)]; /* on the stack: no allocation that could fail and look like "no match" */
        bool carry = false;

        for (size_t i = 0; i < n; i++)
                held[i] = reach(&g->words[i], i == 0, &carry);
        while (*path) {
                unsigned char byte = (unsigned char)*path;
                uint32_t c = byte < ASCII ? (path++, byte) : next_character(&path);

                if (!step(g, n, held, c))
                        return false;
        }
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): n is never 0 */
        return held[n - 1] >> g->n % 64 & 1;
}

static bool matches(const struct glob *g, const char *path) {
        const char *slash = g->last_component ? strrchr(path, '/') : NULL;

        if (g->too_long)
                return false;
        if (slash)
                path = slash + 1;
        return WORDS(g->n) == 1 ? walk(g, 1, path) : walk(g, WORDS(g->n), path);
}

/* The tokens are on the stack too, some 100 KiB. */
bool text_glob(const char *pattern, const char *path) {
        struct token tokens[PATTERN_MAX];
        struct word words[WORDS(PATTERN_MAX)];
        struct glob g = compile(tokens, pattern);

        g.words = words;
        glob_sort(&g);
        return matches(&g, path);
}

/* What each ASCII character does to each position, so that a path costs no look at the tokens. */
static void fill_table(const struct glob *g, size_t n, uint64_t *table) {
        for (uint32_t c = 0; c < ASCII; c++)
                for (size_t i = 0; i < n; i++)
                        table[c * n + i] = matching(g, n, i, UINT64_MAX, c);
}

static int make_sets(struct text_pattern *p) {
        size_t n = WORDS(p->glob.n);

        p->glob.words = calloc(n, sizeof *p->glob.words);
        p->table = calloc(ASCII * n, sizeof *p->table);
        if (!p->glob.words || !p->table)
                return -ENOMEM;
        glob_sort(&p->glob);
        fill_table(&p->glob, n, p->table);
        p->glob.table = p->table;
        return 0;
}

bool text_glob_is_whole(const char *pattern) {
        return strchr(pattern, '/') || (*pattern && pattern[strspn(pattern, "*")] == '\0');
}

int text_pattern_new(struct text_pattern **ret, const char *pattern) {
        size_t n = strnlen(pattern, PATTERN_MAX);
        _cleanup_(text_pattern_freep) struct text_pattern *p = calloc(1, sizeof *p + n * sizeof *p->tokens);

        if (!p)
                return -ENOMEM;
        p->text = strdup(pattern);
        if (!p->text)
                return -ENOMEM;
        p->glob = compile(p->tokens, p->text);
        int r = make_sets(p);
        if (r < 0)
                return r;
        *ret = take_ptr(p);
        return 0;
}

void text_pattern_free(struct text_pattern *p) {
        if (!p)
                return;
        free(p->glob.words);
        free(p->table);
        free(p->text);
        free(p);
}

bool text_pattern_matches(const struct text_pattern *p, const char *path) {
        return matches(&p->glob, path);
}
