/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reactor: the one thread that owns the ring, curl's sockets and all connections. Other threads send it work:
 * writes (disk.h) and fetches. It never blocks but in ring_wait().
 */
#pragma once

#include "base/settings.h"
#include "stager/arena.h"
#include "stager/fetch.h"
#include "stager/hosts.h"

struct reactor;
/* Starts the thread. @hosts: where it leaves what it learns, and begins with what was left there. */
int reactor_new(struct reactor **ret, const struct settings *s, struct arena *a, struct hosts *hosts,
                struct error *e);
void reactor_free(struct reactor *r); /* no fetch is attached; writes under way are waited for */
DEFINE_CLEANUP(struct reactor *, reactor_free);
const char *reactor_io(const struct reactor *r); /* "uring" or "posix" */
/* How long ago the thread showed that it runs; while it does, not longer than PULSE_MS (base/pulse.h). */
int64_t reactor_silent_ms(const struct reactor *r);

/* From any other thread. */
void reactor_attach(struct reactor *r, struct fetch *f);
void reactor_detach(struct reactor *r, struct fetch *f); /* returns when the reactor has let go of @f */
void reactor_wake(struct reactor *r);                    /* something it looks at has changed */
