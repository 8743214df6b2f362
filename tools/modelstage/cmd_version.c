/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version: of this program and, if it answers, of the daemon; they may differ while a node is being upgraded.
 * `modelstage --version` asks nobody.
 */
#include <stdio.h>

#include "tools/modelstage/commands.h"
#include "tools/modelstage/daemon.h"
#include "tools/modelstage/output.h"
#include "tools/modelstage/screen.h"

static void print_versions(const struct args *a, const Modelstage__V1__VersionResponse *daemon) {
        if (a->output == ARG_OUTPUT_JSON) {
                json_t *o = cli_must(json_object());
                output_set(o, "version", output_text(MODELSTAGE_VERSION));
                output_set(o, "daemonVersion", daemon ? output_text(daemon->version) : json_null());
                output_set(o, "io", daemon ? output_text(daemon->io) : json_null());
                output_json(o);
                return;
        }
        printf("modelstage %s\n", MODELSTAGE_VERSION);
        if (daemon) {
                _cleanup_free_ char *version = screen_text(daemon->version), *io = screen_text(daemon->io);
                printf("modelstaged %s (%s)\n", version, io);
        }
}

/* The program's own version can always be told, so a missing daemon is only mentioned. */
int cmd_version(const struct args *a) {
        Modelstage__V1__VersionRequest req = MODELSTAGE__V1__VERSION_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *reply = NULL;
        _cleanup_daemon_ struct daemon d = { 0 };
        struct error e = { 0 };

        if (!args_has(a, ARG_BIT(VERSION)) && daemon_open(&d, a) == 0 &&
            daemon_call(&d, "Version", &req.base, &modelstage__v1__version_response__descriptor, &reply, &e) <
                0)
                daemon_fail(&d, &e);
        print_versions(a, (const void *)reply);
        return CLI_DONE;
}
