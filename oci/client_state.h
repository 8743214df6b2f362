/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client_state: the inside of a client, for client.c, ask.c, document.c and blob.c alone.
 *
 * The administrator's keyring is read again when its file has changed (a mounted Secret is replaced by a
 * rename), so each request takes a reference of its own and keeps it while it runs.
 */
#pragma once

#include <pthread.h>
#include <sys/stat.h>

#include "base/settings.h"
#include "oci/client.h"
#include "oci/http.h"
#include "oci/token.h"

struct oci_client {
        const struct settings *settings; /* the caller's */
        struct oci_http *http;           /* sessions and their warm connections; thread-safe */
        struct oci_tokens *tokens;       /* thread-safe */
        pthread_mutex_t lock;            /* guards what follows */
        struct oci_keyring *keyring;     /* the administrator's; NULL: none */
        struct timespec keyring_mtime;   /* of the file it was read from, */
        ino_t keyring_inode;             /* to see that it has changed */
};

/* The administrator's keyring as the file is now: one more owner, maybe NULL. */
int oci_client_keyring(struct oci_keyring **ret, struct oci_client *c, struct error *e);

/* What the administrator trusts besides the system's certificates at @host; *ret may become NULL; to be
 * freed. */
int oci_client_ca(char **ret, const struct oci_client *c, const char *host, struct error *e);
