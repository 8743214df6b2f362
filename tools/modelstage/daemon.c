/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC says "unavailable" for a daemon that is not there as well as for a registry that the daemon cannot
 * reach; scripts need to tell these apart (exit code 3). So the socket itself is tried, before the first call
 * and after such a failure.
 *
 * Which socket: --socket, else $MODELSTAGE_SOCKET, else the default. Files that are named on the command line
 * are read here and sent along: the daemon may not see the same files.
 */
#include "tools/modelstage/daemon.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/text.h"
#include "oci/reference.h"

#define DEFAULT_SOCKET "/run/modelstage/control.sock"
#define DOCKER_CONFIG_MAX (1u << 20)

static int try_socket(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
                return -errno;
        if (strlen(path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path) + 1);
        if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
                return -errno;
        return 0;
}

static int unreachable(const char *socket, int r) {
        struct error e;
        const char *hint = r == -EACCES   ? "; only root may use it"
                           : r == -ENOENT ? "; is modelstaged running? --socket names another one"
                                          : "; is modelstaged running?";

        error_set(&e, ERROR_UNAVAILABLE, "cannot reach the daemon at %s: %s%s", socket, strerror(-r), hint);
        cli_fail(&e);
        return CLI_NO_DAEMON;
}

int daemon_open(struct daemon *ret, const struct args *a) {
        const char *env = getenv("MODELSTAGE_SOCKET");
        struct error e = { 0 };
        int r;

        ret->socket = a->socket ? a->socket : env && *env ? env : DEFAULT_SOCKET;
        r = try_socket(ret->socket);
        if (r < 0)
                return unreachable(ret->socket, r);
        return rpc_client_new(&ret->client, ret->socket, &e) < 0 ? cli_fail(&e) : 0;
}

void daemon_close(struct daemon *d) {
        rpc_client_free(take_ptr(d->client));
}

static const char *method_path(char path[static 64], const char *method) {
        snprintf(path, 64, "/modelstage.v1.Control/%s", method);
        return path;
}

int daemon_call(const struct daemon *d, const char *method, const ProtobufCMessage *req,
                const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, struct error *e) {
        char path[64];

        return rpc_client_call(d->client, method_path(path, method), req, type, -1, ret, e);
}

int daemon_stream(const struct daemon *d, const char *method, const ProtobufCMessage *req,
                  const ProtobufCMessageDescriptor *type, rpc_on_message *on_message, void *userdata,
                  struct error *e) {
        char path[64];

        return rpc_client_stream(d->client, method_path(path, method), req, type, -1, on_message, userdata,
                                 e);
}

/* The kernel may still accept for a daemon that is dying, so the client's own words (base/rpc_client.c) count
 * too. */
int daemon_fail(const struct daemon *d, const struct error *e) {
        int r = e->kind == ERROR_UNAVAILABLE ? try_socket(d->socket) : 0;

        if (r < 0)
                return unreachable(d->socket, r);
        int exit_code = cli_fail(e);
        return text_starts_with(e->text, "cannot reach the daemon at ") ? CLI_NO_DAEMON : exit_code;
}

const Modelstage__V1__Selection *daemon_selection(Modelstage__V1__Selection *buffer, const struct args *a) {
        modelstage__v1__selection__init(buffer);
        if (!a->root && !a->platform && a->n_include == 0 && a->n_exclude == 0)
                return NULL;
        if (a->root)
                buffer->root =
                    (char *)(*a->root ? a->root : "."); /* "" in the message is the format's default */
        if (a->platform)
                buffer->platform = (char *)a->platform;
        buffer->include = (char **)a->include;
        buffer->n_include = a->n_include;
        buffer->exclude = (char **)a->exclude;
        buffer->n_exclude = a->n_exclude;
        return buffer;
}

Modelstage__V1__PullPolicy daemon_pull_policy(const struct args *a) {
        switch (a->pull) {
        case ARG_PULL_ALWAYS:
                return MODELSTAGE__V1__PULL_POLICY__ALWAYS;
        case ARG_PULL_IF_NOT_PRESENT:
                return MODELSTAGE__V1__PULL_POLICY__IF_NOT_PRESENT;
        default:
                return MODELSTAGE__V1__PULL_POLICY__DEFAULT;
        }
}

int daemon_docker_config(char **ret, const struct args *a, struct error *e) {
        size_t len;

        if (!a->docker_config) {
                *ret = cli_strdup("");
                return 0;
        }
        _cleanup_close_ int fd = open(a->docker_config, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
                if (errno == ENOENT)
                        return error_set(e, ERROR_INVALID, "there is no file %s for --docker-config",
                                         a->docker_config);
                return error_errno(e, errno, "open %s", a->docker_config);
        }
        char *text = cli_alloc(DOCKER_CONFIG_MAX + 1);
        ssize_t n;
        for (len = 0; (n = read(fd, text + len, DOCKER_CONFIG_MAX + 1 - len)) > 0; len += (size_t)n)
                ;
        if (n < 0 || len > DOCKER_CONFIG_MAX) {
                free(text);
                return n < 0 ? error_errno(e, errno, "read %s", a->docker_config)
                             : error_set(e, ERROR_INVALID, "%s is too large for a Docker config.json",
                                         a->docker_config);
        }
        *ret = text; /* a terminating NUL is there: the memory was zeroed and len <= DOCKER_CONFIG_MAX */
        return 0;
}

int daemon_check_references(const struct args *a, size_t n) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_(oci_reference_freep) struct oci_reference *r = NULL;
                struct error e = { 0 };
                if (oci_reference_parse(&r, a->operands[i], &e) < 0) {
                        cli_fail(&e);
                        return CLI_USAGE;
                }
        }
        return 0;
}
