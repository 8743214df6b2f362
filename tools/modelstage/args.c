/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args: argv, word by word, into struct args.
 *
 *   take_word   "--"             no options after it
 *               "--name[=value]" take_long       \
 *               "-qo json"       take_letters     > take_option -> set_option
 *               else             the command, then its operands
 *
 * Options may stand anywhere, also before the command; "--" ends them. An option's name means the same with
 * every command that has it, so a word can be read before the command is known; whether the command takes it
 * is looked at last, in check().
 *
 * Nothing is copied: the strings stay argv's. A name that is not known gets the nearest that is as a hint.
 */
#include "tools/modelstage/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "tools/modelstage/cli.h"
#include "tools/modelstage/commands.h"

const struct arg_spec arg_specs[_ARG_MAX] = {
        [ARG_SOCKET] = { "socket", 0, "PATH",
                         "the daemon's control socket; default: $MODELSTAGE_SOCKET, else "
                         "/run/modelstage/control.sock" },
        [ARG_OUTPUT] = { "output", 'o', "table|json", "how the result is printed; default: table" },
        [ARG_QUIET] = { "quiet", 'q', NULL, "print digests only, and no progress" },
        [ARG_INCLUDE] = { "include", 0, "GLOB", "only files below the root that match; may be repeated" },
        [ARG_EXCLUDE] = { "exclude", 0, "GLOB", "no files that match; may be repeated, wins over --include" },
        [ARG_ROOT] = { "root", 0, "PATH", "directory of the artifact that becomes the root of the model" },
        [ARG_PLATFORM] = { "platform", 0, "OS/ARCH",
                           "for multi-platform references; default: this machine's" },
        [ARG_PULL] = { "pull", 0, "always|if-not-present",
                       "whether to ask the registry for a tag that is here already; default: always for "
                       "latest" },
        [ARG_PIN] = { "pin", 0, NULL, "never evict the model" },
        [ARG_TTL] = { "ttl", 0, "DURATION",
                      "the model may go after this time, such as 24h; kept for a later version, which "
                      "evicts" },
        [ARG_DETACH] = { "detach", 0, NULL, "do not wait; modelstage status shows the job" },
        [ARG_DOCKER_CONFIG] = { "docker-config", 0, "FILE",
                                "credentials for this request, in the format of Docker's config.json" },
        [ARG_WATCH] = { "watch", 0, NULL, "show the jobs again every second, until interrupted" },
        [ARG_HOSTS] = { "hosts", 0, NULL, "show the hosts that blobs come from, and not the jobs" },
        [ARG_REMOTE] = { "remote", 0, NULL, "ask the registry instead of the cache; needs no daemon" },
        [ARG_FORCE] = { "force", 0, NULL, "replace files that exist" },
        [ARG_CONFIG] = { "config", 0, "FILE",
                         "take registries, credentials and engine settings from this daemon configuration" },
        [ARG_PLAIN_HTTP] = { "plain-http", 0, NULL,
                             "speak HTTP without TLS to the registry of the reference" },
        [ARG_CA_FILE] = { "ca-file", 0, "FILE",
                          "certificates (PEM) that the registry of the reference is checked against" },
        [ARG_MAN] = { "man", 0, NULL, NULL },
        [ARG_HELP] = { "help", 'h', NULL, "explain the command" },
        [ARG_VERSION] = { "version", 0, NULL, "print the version" },
};

struct parser {
        struct args *args;
        int argc;
        char *const *argv;
        int at;             /* the next word */
        bool options_ended; /* by "--" */
};

/* Levenshtein's distance of short words, or a large number. */
static unsigned distance(const char *a, const char *b) {
        enum { MAX = 32 };
        unsigned row[MAX + 1];
        size_t n = strlen(a), m = strlen(b);

        if (n > MAX || m > MAX)
                return MAX;
        for (unsigned j = 0; j <= m; j++)
                row[j] = j;
        for (unsigned i = 1; i <= n; i++) {
                unsigned diagonal = row[0];
                row[0] = i;
                for (unsigned j = 1; j <= m; j++) {
                        unsigned best = diagonal + (a[i - 1] != b[j - 1]);
                        diagonal = row[j];
                        if (row[j] + 1 < best)
                                best = row[j] + 1;
                        if (row[j - 1] + 1 < best)
                                best = row[j - 1] + 1;
                        row[j] = best;
                }
        }
        return row[m];
}

const char *args_nearest(const char *word, const char *const *words) {
        unsigned best = (unsigned)strlen(word) / 3 + 2;
        const char *found = NULL;

        for (; *words; words++) {
                unsigned d = distance(word, *words);
                if (d < best) {
                        best = d;
                        found = *words;
                }
        }
        return found;
}

static int unknown_option(const char *word, struct error *e) {
        const char *names[_ARG_MAX + 1];
        size_t n = 0;

        for (unsigned i = 0; i < _ARG_MAX; i++)
                if (arg_specs[i].help)
                        names[n++] = arg_specs[i].name;
        names[n] = NULL;
        const char *near = args_nearest(word, names);
        return error_set(e, ERROR_INVALID, "there is no option --%s%s%s%s", word,
                         near ? " (did you mean --" : "", near ? near : "", near ? "?)" : "");
}

static int unknown_command(const char *word, struct error *e) {
        const char *names[32];
        size_t n = 0;

        for (; commands[n].name && n + 1 < sizeof names / sizeof *names; n++)
                names[n] = commands[n].name;
        names[n] = NULL;
        const char *near = args_nearest(word, names);
        return error_set(e, ERROR_INVALID, "there is no command \"%s\"%s%s%s", word,
                         near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}

/* Index of @value among "a|b|c", or -1. */
static int choice(const char *choices, const char *value) {
        size_t len = strlen(value);
        int index = 0;

        for (const char *p = choices; p; p = strchr(p, '|'), index++) {
                p += *p == '|';
                if (strncmp(p, value, len) == 0 && (p[len] == '|' || p[len] == '\0') && len > 0)
                        return index;
        }
        return -1;
}

static void list_add(const char ***list, size_t *n, const char *value) {
        *list = cli_must(reallocarray(*list, *n + 2, sizeof **list));
        (*list)[(*n)++] = value;
        (*list)[*n] = NULL;
}

static int set_choice(struct args *a, enum arg_option option, const char *value, struct error *e) {
        const struct arg_spec *spec = &arg_specs[option];
        int index = choice(spec->value, value);

        if (index < 0)
                return error_set(e, ERROR_INVALID, "--%s is one of %s, not \"%s\"", spec->name, spec->value,
                                 value);
        if (option == ARG_OUTPUT)
                a->output = index == 1 ? ARG_OUTPUT_JSON : ARG_OUTPUT_TABLE;
        else
                a->pull = index == 0 ? ARG_PULL_ALWAYS : ARG_PULL_IF_NOT_PRESENT;
        return 0;
}

/* Whole seconds are what the daemon takes, so less than one is refused. */
static int set_ttl(struct args *a, const char *value, struct error *e) {
        if (text_parse_duration(&a->ttl_ms, value) < 0 || a->ttl_ms < 1000)
                return error_set(e, ERROR_INVALID,
                                 "--ttl is a duration of at least 1s, such as 24h or 90m, not \"%s\"", value);
        return 0;
}

static int set_option(struct args *a, enum arg_option option, const char *value, struct error *e) {
        a->seen |= 1u << option;
        switch (option) {
        case ARG_SOCKET:
                a->socket = value;
                return 0;
        case ARG_ROOT:
                a->root = value;
                return 0;
        case ARG_PLATFORM:
                a->platform = value;
                return 0;
        case ARG_DOCKER_CONFIG:
                a->docker_config = value;
                return 0;
        case ARG_CONFIG:
                a->config = value;
                return 0;
        case ARG_CA_FILE:
                a->ca_file = value;
                return 0;
        case ARG_INCLUDE:
                list_add(&a->include, &a->n_include, value);
                return 0;
        case ARG_EXCLUDE:
                list_add(&a->exclude, &a->n_exclude, value);
                return 0;
        case ARG_TTL:
                return set_ttl(a, value, e);
        case ARG_OUTPUT:
        case ARG_PULL:
                return set_choice(a, option, value, e);
        default: /* a switch */
                return 0;
        }
}

/* @value: what follows in the same word, or NULL. */
static int take_option(struct parser *p, enum arg_option option, const char *value, struct error *e) {
        const struct arg_spec *spec = &arg_specs[option];

        if (!spec->value && value)
                return error_set(e, ERROR_INVALID, "--%s takes no value", spec->name);
        if (spec->value && !value) {
                if (p->at == p->argc)
                        return error_set(e, ERROR_INVALID, "--%s needs a value: %s", spec->name, spec->value);
                value = p->argv[p->at++];
        }
        if (spec->value && !*value && option != ARG_ROOT)
                return error_set(e, ERROR_INVALID, "--%s needs a value: %s", spec->name, spec->value);
        return set_option(p->args, option, value, e);
}

static int take_long(struct parser *p, const char *word, struct error *e) {
        const char *equals = strchr(word, '=');
        size_t len = equals ? (size_t)(equals - word) : strlen(word);
        char name[64];

        for (unsigned i = 0; i < _ARG_MAX; i++)
                if (strlen(arg_specs[i].name) == len && memcmp(arg_specs[i].name, word, len) == 0)
                        return take_option(p, (enum arg_option)i, equals ? equals + 1 : NULL, e);
        snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), word);
        return unknown_option(name, e);
}

/* "-q", "-ojson", "-qo json". */
static int take_letters(struct parser *p, const char *letters, struct error *e) {
        for (; *letters; letters++) {
                unsigned i = 0;
                while (i < _ARG_MAX && arg_specs[i].letter != *letters)
                        i++;
                if (i == _ARG_MAX)
                        return error_set(e, ERROR_INVALID, "there is no option -%c", *letters);
                const char *rest = arg_specs[i].value && letters[1] ? letters + 1 : NULL;
                int r = take_option(p, (enum arg_option)i, rest, e);
                if (r < 0 || rest)
                        return r;
        }
        return 0;
}

static int take_word(struct parser *p, struct error *e) {
        const char *word = p->argv[p->at++];

        if (!p->options_ended && word[0] == '-' && word[1]) {
                if (word[1] != '-')
                        return take_letters(p, word + 1, e);
                if (word[2])
                        return take_long(p, word + 2, e);
                p->options_ended = true;
                return 0;
        }
        if (p->args->command) {
                list_add(&p->args->operands, &p->args->n_operands, word);
                return 0;
        }
        p->args->command = command_find(word);
        return p->args->command ? 0 : unknown_command(word, e);
}

/* Does the command take what was given? */
static int check(const struct args *a, struct error *e) {
        const struct command *c = a->command;
        unsigned allowed = (c ? c->options : ARG_BIT(VERSION)) | ARG_BIT(HELP);

        if (args_has(a, ARG_BIT(HELP)) || (!c && args_has(a, ARG_BIT(VERSION))))
                return 0;
        for (unsigned i = 0; i < _ARG_MAX; i++)
                if (a->seen & ~allowed & 1u << i)
                        return error_set(e, ERROR_INVALID, "--%s does not go with %s", arg_specs[i].name,
                                         c ? c->name : "modelstage alone");
        if (!c)
                return error_set(e, ERROR_INVALID, "a command is missing");
        if (a->n_operands < c->min)
                return error_set(e, ERROR_INVALID, "%s needs %s", c->name, c->operands);
        if (a->n_operands > c->max)
                return error_set(e, ERROR_INVALID, "\"%s\" is too much for %s", a->operands[c->max], c->name);
        return 0;
}

int args_parse(struct args *ret, int argc, char *const argv[], struct error *e) {
        struct parser p = { .args = ret, .argc = argc, .argv = argv, .at = 1 };
        int r = 0;

        *ret = (struct args){ 0 };
        while (r == 0 && p.at < argc)
                r = take_word(&p, e);
        return r < 0 ? r : check(ret, e);
}

void args_clear(struct args *a) {
        free(a->operands);
        free(a->include);
        free(a->exclude);
        *a = (struct args){ 0 };
}
