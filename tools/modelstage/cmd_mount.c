/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount and umount: what a pod gets, without Kubernetes.
 *
 * The daemon mounts, in its own view of the file system, so the directory is told as an absolute path. It is
 * made clean here, because the daemon refuses what is not; symbolic links in front of the last component are
 * followed, as the shell's user expects. A lease of the volume "cli" keeps the model until umount.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "tools/modelstage/commands.h"
#include "tools/modelstage/daemon.h"
#include "tools/modelstage/output.h"
#include "tools/modelstage/screen.h"

/* @dir as the daemon needs it: absolute and clean. Its last component need not exist, the rest has to. */
static int absolute(char **ret, const char *dir, struct error *e) {
        _cleanup_free_ char *copy = cli_strdup(dir), *parent = NULL;
        char *slash, *path;
        size_t len = strlen(copy);

        while (len > 1 && copy[len - 1] == '/')
                copy[--len] = '\0';
        slash = strrchr(copy, '/');
        const char *base = slash ? slash + 1 : copy;
        if (*base == '\0' || strcmp(base, ".") == 0 ||
            strcmp(base, "..") == 0) { /* "/", "." and the like exist */
                *ret = realpath(copy, NULL);
                return *ret ? 0 : error_errno(e, errno, "%s", dir);
        }
        if (slash)
                *slash = '\0';
        parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
        if (!parent && errno == ENOENT)
                return error_set(e, ERROR_NOT_FOUND, "the parent directory of %s does not exist", dir);
        if (!parent)
                return error_errno(e, errno, "%s", dir);
        if (asprintf(&path, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, base) < 0)
                cli_out_of_memory();
        *ret = path;
        return 0;
}

static void print_mount(const struct args *a, const Modelstage__V1__MountResponse *m, const char *target) {
        _cleanup_free_ char *reference = screen_text(a->operands[0]), *where = screen_text(target);
        _cleanup_free_ char *result = screen_text(m->result);

        if (args_has(a, ARG_BIT(QUIET))) {
                printf("%s\n", m->digest);
        } else if (a->output == ARG_OUTPUT_JSON) {
                json_t *o = cli_must(json_object());
                output_set(o, "reference", output_text(a->operands[0]));
                output_set(o, "digest", output_text(m->digest));
                output_set(o, "result", output_text(m->result));
                output_set(o, "target", output_text(target));
                output_json(o);
        } else {
                printf("%s is mounted on %s (%s)\n", reference, where, result);
        }
}

int cmd_mount(const struct args *a) {
        Modelstage__V1__MountRequest req = MODELSTAGE__V1__MOUNT_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *reply = NULL;
        _cleanup_free_ char *target = NULL, *docker_config = NULL;
        _cleanup_daemon_ struct daemon d = { 0 };
        Modelstage__V1__Selection selection;
        struct error e = { 0 };
        int r = daemon_check_references(a, 1);

        if (r != 0)
                return r;
        if (absolute(&target, a->operands[1], &e) < 0 || daemon_docker_config(&docker_config, a, &e) < 0)
                return cli_fail(&e);
        if ((r = daemon_open(&d, a)) != 0)
                return r;
        req.reference = (char *)a->operands[0];
        req.target = target;
        req.selection = (Modelstage__V1__Selection *)daemon_selection(&selection, a);
        req.pull_policy = daemon_pull_policy(a);
        req.docker_config = docker_config;
        if (daemon_call(&d, "Mount", &req.base, &modelstage__v1__mount_response__descriptor, &reply, &e) < 0)
                return daemon_fail(&d, &e);
        print_mount(a, (const void *)reply, target);
        return CLI_DONE;
}

int cmd_umount(const struct args *a) {
        Modelstage__V1__UnmountRequest req = MODELSTAGE__V1__UNMOUNT_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *reply = NULL;
        _cleanup_daemon_ struct daemon d = { 0 };
        _cleanup_free_ char *target = NULL;
        struct error e = { 0 };
        int r;

        if (absolute(&target, a->operands[0], &e) < 0)
                return cli_fail(&e);
        if ((r = daemon_open(&d, a)) != 0)
                return r;
        req.target = target;
        if (daemon_call(&d, "Unmount", &req.base, &modelstage__v1__unmount_response__descriptor, &reply, &e) <
            0)
                return daemon_fail(&d, &e);
        return CLI_DONE;
}
