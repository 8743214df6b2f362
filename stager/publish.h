/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish: a model onto the disk and to a target, for a call that waits for it: NodePublishVolume and
 * `modelstage mount`.
 */
#pragma once

#include "base/rpc_server.h"
#include "stager/stager.h"

struct stager_publication { /* all kept by reference */
        struct cache *cache;
        struct stager *stager;
        const struct stage_request *request;
        const char *volume_id, *target;
};

/*
 * Waits until the model is here, or until shortly before @call's deadline: then ERROR_IN_PROGRESS, and the
 * job goes on. ERROR_CANCELLED: the caller has gone, nothing is mounted. Otherwise as stage_job_wait() and
 * cache_publish().
 */
int stager_publish(struct stage_outcome *ret, struct rpc_call *call, const struct stager_publication *p,
                   struct error *e);
