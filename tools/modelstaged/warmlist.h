/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warmlist: keeps the models of the settings' `warm` list in the cache; the file is watched. Only this list
 * is taken from a file that has changed: all other settings stay as they were at the start.
 *
 * A model that leaves the list stays in the cache, and pinned if it was. One that is removed from the cache
 * is not staged again before the daemon starts anew or the list changes: somebody removed it on purpose.
 */
#pragma once

#include "csi/node_object.h"
#include "stager/stager.h"
#include "tools/modelstaged/options.h"

struct warmlist;

/* One thread. Without a file in @o the list never changes. @node (may be NULL) is told of changes of the list
 * and of models that have come. All is kept by reference. */
int warmlist_start(struct warmlist **ret, const struct options *o, struct cache *c, struct stager *stager,
                   struct csi_node_object *node, struct error *e);
void warmlist_stop(struct warmlist *w);
DEFINE_CLEANUP(struct warmlist *, warmlist_stop);
