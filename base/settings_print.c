/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_print: the table for people, as --help of the daemon and as the SETTINGS section of
 * modelstaged(8). Scalars come from settings_table; the lists (registries, policy, warm) are not
 * in it and are written out here.
 */
#include "base/settings_internal.h"

#include <string.h>

#define LISTS_ROFF \
        "The file has lists as well:\n" \
        ".TP\n\\fBregistries\\fR\n" \
        "of \\fBhost\\fR, \\fBmirrors\\fR (URLs, asked first), \\fBcaFile\\fR, \\fBplainHttp\\fR and " \
        "\\fBheaders\\fR.\n" \
        ".TP\n\\fBpolicy.allow\\fR\n" \
        "Globs of references that may be staged; empty: all. As a flag, with commas between them.\n" \
        ".TP\n\\fBpolicy.layouts\\fR\n" \
        "Directories: volumes may have OCI layouts (oci-layout:DIR) in and below these; empty: none. As a " \
        "flag, with commas between them.\n" \
        ".TP\n\\fBwarm\\fR\n" \
        "of \\fBmodel\\fR and \\fBpin\\fR: what this node always has. The file is watched for it.\n"

/* Help that starts in one column, except behind the few flags that are too long for it. */
void settings_print_help(FILE *f) {
        for (size_t i = 0; i < _SETTING_ID_MAX; i++) {
                const struct setting *s = &settings_table[i];
                int width = (int)(strlen(s->key) + 1 + strlen(s->value));

                fprintf(f, "  --%s %s%*s  %s%s%s%s\n", s->key, s->value, width < 36 ? 36 - width : 0, "",
                        s->help, *s->def ? " (default " : "", s->def, *s->def ? ")" : "");
        }
        fprintf(f, "  --%-36s  %s\n", "policy.allow GLOB,...", "references that may be staged; empty: all");
        fprintf(f, "  --%-36s  %s\n", "policy.layouts DIR,...",
                "where volumes may have oci-layout: models; empty: nowhere");
}

/* roff takes a bare hyphen for a typographic one, and a backslash for a command. */
static void print_roff(FILE *f, const char *text) {
        for (const char *p = text; *p; p++) {
                if (*p == '-' || *p == '\\')
                        fputc('\\', f);
                fputs(*p == '\\' ? "e" : (char[]){ *p, '\0' }, f);
        }
}

/* man(7) macros; the daemon's options.c prints what is around it. */
void settings_print_manual(FILE *f) {
        fputs(".SH SETTINGS\n"
              "Each is a key of the YAML file, below the part before its dot, and a flag. Flags win.\n",
              f);
        for (size_t i = 0; i < _SETTING_ID_MAX; i++) {
                const struct setting *s = &settings_table[i];

                fputs(".TP\n\\fB\\-\\-", f);
                print_roff(f, s->key);
                fputs("\\fR \\fI", f);
                print_roff(f, s->value);
                fputs("\\fR\n\\&", f); /* a line that begins with a dot or a quote would be a command */
                print_roff(f, s->help);
                fputs(".", f);
                if (*s->def) {
                        fputs(" Default: ", f);
                        print_roff(f, s->def);
                        fputs(".", f);
                }
                fputs("\n", f);
        }
        fputs(".PP\n" LISTS_ROFF, f);
}
