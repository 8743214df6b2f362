/* SPDX-License-Identifier: Apache-2.0 */
/* hosts_table: what the two halves of hosts share. */
#pragma once

#include "stager/hosts.h"

#include <pthread.h>
#include <stdatomic.h>

struct hosts {
        atomic_uint refs;
        pthread_mutex_t lock; /* guards what follows */
        struct host_profile list[HOSTS_MAX];
        size_t n;
        bool changed; /* since it was read or written */
};

/* The entry of @name, made if there is none, at the cost of the oldest one. Lock held. */
struct host_profile *hosts_claim(struct hosts *h, const char *name);
