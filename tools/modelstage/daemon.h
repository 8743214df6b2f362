/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon: calls to modelstaged over its control socket (proto/modelstage.proto), and the parts of requests
 * that several commands share.
 *
 *   daemon_open -> daemon_call, daemon_stream (from several threads, if wanted) -> daemon_close
 *
 * Calls wait as long as the daemon does: there is no timeout but the user's patience.
 */
#pragma once

#include "base/rpc_client.h"
#include "proto/modelstage.pb-c.h"
#include "tools/modelstage/args.h"
#include "tools/modelstage/cli.h"

struct daemon {
        struct rpc_client *client;
        const char *socket; /* its path: argument, environment or default */
};
/* Looks whether somebody listens there; prints what is wrong and returns the exit code if not, else 0. */
int daemon_open(struct daemon *ret, const struct args *a);
void daemon_close(struct daemon *d);
#define _cleanup_daemon_ _cleanup_(daemon_close)

/* @method: "List". *ret is to be freed with protobuf_c_message_free_unpacked(). */
int daemon_call(const struct daemon *d, const char *method, const ProtobufCMessage *req,
                const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, struct error *e);
/* As rpc_client_stream(). */
int daemon_stream(const struct daemon *d, const char *method, const ProtobufCMessage *req,
                  const ProtobufCMessageDescriptor *type, rpc_on_message *on_message, void *userdata,
                  struct error *e);
/* Prints the failure of a call and returns the exit code: a daemon that has gone meanwhile is its own. */
int daemon_fail(const struct daemon *d, const struct error *e);

static inline void daemon_message_free(ProtobufCMessage **m) {
        protobuf_c_message_free_unpacked(*m, NULL);
}
#define _cleanup_message_ _cleanup_(daemon_message_free)

/* --include and the others as a message that borrows from @a; NULL if none was given. */
const Modelstage__V1__Selection *daemon_selection(Modelstage__V1__Selection *buffer, const struct args *a);
Modelstage__V1__PullPolicy daemon_pull_policy(const struct args *a);
/* --docker-config's content, "" without the option; to be freed. */
int daemon_docker_config(char **ret, const struct args *a, struct error *e);
/* Checks operands as references before anybody is asked; prints and returns an exit code, or 0. */
int daemon_check_references(const struct args *a, size_t n);
