/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch: a private directory DIR/.modelstage-XXXXXX, which fetch works in and removes.
 *
 * As long as its owner lives it is locked (flock); so one that is not was left by somebody who was killed.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

struct scratch {
        char *path;  /* absolute; NULL: none */
        int lock_fd; /* the directory itself */
};
#define SCRATCH_NONE ((struct scratch){ .lock_fd = -1 })

/* Removes what others have left in @dir_fd, which is @dir, and makes one. */
int scratch_make(struct scratch *ret, int dir_fd, const char *dir, struct error *e);
/* Removes it with all that is in it; one that was not made is fine. */
int scratch_remove(struct scratch *s, int dir_fd, struct error *e);
