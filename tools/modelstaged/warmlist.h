/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warmlist: keeps the models of the settings' `warm` list in the cache; the file is watched. Only this list
 * is taken from a file that has changed: all other settings stay as they were at the start.
 *
 * A model that leaves the list stays in the cache, and pinned if it was.
 */
#pragma once

#include "stager/stager.h"

struct warmlist;

/* One thread. @config may be NULL: then the list never changes. All is kept by reference. */
int warmlist_start(struct warmlist **ret, const struct settings *s, const char *config, struct cache *c,
                   struct stager *stager, struct error *e);
void warmlist_stop(struct warmlist *w);
DEFINE_CLEANUP(struct warmlist *, warmlist_stop);
