/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two passes: first what is not a setting (--config, --role, …), then the file, then every --key value in
 * order, so that flags win over the file wherever they stand.
 */
#include "tools/modelstaged/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"

struct command_line {
        const char *config, *role;
        bool help, man, version, check;
        const char *keys[256], *values[256]; /* settings given as flags */
        size_t n;
};

static void print_help(void) {
        printf("usage: modelstaged [--config FILE] [--role node|controller] [--KEY VALUE]…\n\n"
               "The Modelstage node daemon: pulls models from OCI registries once per node and mounts them "
               "read-only.\n\n"
               "  --config FILE    settings (default %s, if it exists)\n"
               "  --role ROLE      node (default), or controller: CreateVolume and its companions only\n"
               "  --check-config   read the settings, say what is wrong, exit\n"
               "  --version        print the version\n"
               "  --help           print this\n\n"
               "Settings, as in the file; flags win:\n",
               OPTIONS_DEFAULT_CONFIG);
        settings_print_help(stdout);
        printf("\nTopics of --log.debug (comma separated, or all):\n");
#define X(id, name, help) printf("  %-8s %s\n", name, help);
        LOG_TOPICS(X)
#undef X
}

static void print_manual(void) {
        printf(
            ".TH MODELSTAGED 8 \"\" \"modelstage %s\" \"System Administration\"\n"
            ".SH NAME\nmodelstaged \\- stages AI models from OCI registries on a Kubernetes node\n"
            ".SH SYNOPSIS\n.B modelstaged\n[\\fB\\-\\-config\\fR \\fIFILE\\fR] [\\fB\\-\\-role\\fR "
            "\\fBnode\\fR|\\fBcontroller\\fR] "
            "[\\fB\\-\\-\\fIKEY\\fR \\fIVALUE\\fR]...\n"
            ".SH DESCRIPTION\nOne runs on every node. It pulls models once, verified, serves them to pods as "
            "a CSI driver "
            "(%s) and to the\n.BR modelstage (1)\ncommand over a unix socket, and shows /metrics, /healthz "
            "and /readyz "
            "over HTTP.\nRunning pods do not depend on it: it may crash, restart or be upgraded under them.\n"
            ".SH OPTIONS\n.TP\n\\fB\\-\\-config\\fR \\fIFILE\\fR\nSettings in YAML; default %s.\n"
            ".TP\n\\fB\\-\\-role\\fR \\fIROLE\\fR\n.B node\n(default), or\n.B controller\nfor CreateVolume "
            "and its companions only.\n"
            ".TP\n\\fB\\-\\-check\\-config\\fR\nReads the settings, says what is wrong with file, line and "
            "key, exits.\n"
            ".TP\n\\fB\\-\\-version\\fR, \\fB\\-\\-help\\fR\nPrint and exit.\n"
            ".SH SIGNALS\n.B SIGTERM\nand\n.B SIGINT\nend it; mounts stay.\n",
            MODELSTAGE_VERSION, "csi.modelstage.io", OPTIONS_DEFAULT_CONFIG);
        settings_print_manual(stdout);
        printf(".SH SEE ALSO\n.BR modelstage (1)\n");
}

static int usage_error(const char *what, const char *arg) {
        fprintf(stderr, "modelstaged: %s \"%s\"; try --help\n", what, arg);
        return 2;
}

/* Takes "--name value" and "--name=value" apart. Returns 0, or the exit code for a mistake. */
static int take_value(const char *arg, int argc, char *argv[], int *i, const char **ret) {
        const char *equals = strchr(arg, '=');

        if (equals) {
                *ret = equals + 1;
                return 0;
        }
        if (*i + 1 >= argc)
                return usage_error("no value after", arg);
        *ret = argv[++*i];
        return 0;
}

static bool is_flag(const char *arg, const char *name) {
        size_t len = strlen(name);

        return strncmp(arg, name, len) == 0 && (arg[len] == 0 || arg[len] == '=');
}

static int take_setting(struct command_line *c, char *arg, int argc, char *argv[], int *i) {
        if (c->n >= sizeof c->keys / sizeof *c->keys)
                return usage_error("too many flags at", arg);
        int r = take_value(arg, argc, argv, i, &c->values[c->n]);
        if (r == 0) {
                char *equals = strchr(arg, '=');
                if (equals)
                        *equals = 0;
                c->keys[c->n++] = arg + 2;
        }
        return r;
}

/* The first pass: settings are only collected, in order. 0 or an exit code. */
static int read_command_line(struct command_line *c, int argc, char *argv[]) {
        for (int i = 1; i < argc; i++) {
                char *arg = argv[i];
                int r = 0;

                if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
                        c->help = true;
                else if (strcmp(arg, "--help-man") == 0)
                        c->man = true;
                else if (strcmp(arg, "--version") == 0)
                        c->version = true;
                else if (strcmp(arg, "--check-config") == 0)
                        c->check = true;
                else if (is_flag(arg, "--config"))
                        r = take_value(arg, argc, argv, &i, &c->config);
                else if (is_flag(arg, "--role"))
                        r = take_value(arg, argc, argv, &i, &c->role);
                else if (text_starts_with(arg, "--"))
                        r = take_setting(c, arg, argc, argv, &i);
                else
                        r = usage_error("unexpected argument", arg);
                if (r != 0)
                        return r;
        }
        if (c->role && strcmp(c->role, "node") != 0 && strcmp(c->role, "controller") != 0)
                return usage_error("--role is node or controller, not", c->role);
        return 0;
}

/* The file, unless the default one does not exist; then the flags; then all of it together. */
static int load(struct options *o, const struct command_line *c, struct error *e) {
        o->config = c->config;
        if (!o->config && access(OPTIONS_DEFAULT_CONFIG, F_OK) == 0)
                o->config = OPTIONS_DEFAULT_CONFIG;
        int r = settings_new(&o->settings, e);
        if (r >= 0)
                r = settings_load_file(o->settings, o->config, e);
        for (size_t i = 0; r >= 0 && i < c->n; i++)
                r = settings_set(o->settings, c->keys[i], c->values[i], e);
        return r < 0 ? r : settings_check(o->settings, e);
}

int options_read(struct options *ret, int argc, char *argv[]) {
        struct command_line c = { 0 };
        struct error e = { 0 };
        int r = read_command_line(&c, argc, argv);

        if (r != 0)
                return r;
        if (c.help || c.man || c.version) {
                if (c.version)
                        printf("modelstaged %s\n", MODELSTAGE_VERSION);
                else if (c.man)
                        print_manual();
                else
                        print_help();
                return EXIT_SUCCESS;
        }
        ret->controller = c.role && strcmp(c.role, "controller") == 0;
        if (load(ret, &c, &e) < 0) {
                fprintf(stderr, "modelstaged: %s\n", e.text);
                return e.kind == ERROR_INVALID || e.kind == ERROR_NOT_FOUND ? 2 : 1;
        }
        if (c.check) {
                printf("%s is in order\n", ret->config ? ret->config : "the built-in configuration");
                return EXIT_SUCCESS;
        }
        return -1;
}

void options_clear(struct options *o) {
        settings_free(o->settings);
        *o = (struct options){ 0 };
}
