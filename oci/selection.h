/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selection: which part of an artifact becomes the tree that pods see.
 *
 *   artifact --platform--> manifest --root--> a directory of it --include, exclude--> the files of the volume
 *
 * Made from volume attributes or the command line, checked once when it is made, immutable afterwards: any
 * thread may use it. NULL is the selection that asks for nothing in particular.
 */
#pragma once

#include "base/digest.h"
#include "base/error.h"
#include "base/text.h"

#include <stdbool.h>

struct oci_selection {
        char *root;     /* clean relative path; NULL: the format's default; "" the whole artifact */
        char **include; /* globs over paths below the root; NULL or NULL-ended; empty: everything */
        char **exclude; /* wins over include */
        char *platform; /* "os/arch[/variant]"; NULL: the node's */
        struct text_pattern **including, **excluding; /* the globs, compiled: as many, NULL-ended */
};

/* @include and @exclude: lists of globs, NULL-ended, copied; all may be NULL. ERROR_INVALID for a bad root or
 * platform, a glob over 1 KiB, or more than 256 or 16 KiB of them. */
int oci_selection_new(struct oci_selection **ret, const char *root, const char *const *include,
                      const char *const *exclude, const char *platform, struct error *e);
int oci_selection_copy(struct oci_selection **ret, const struct oci_selection *s); /* NULL in, NULL out */
void oci_selection_free(struct oci_selection *s);
DEFINE_CLEANUP(struct oci_selection *, oci_selection_free);

/* @path is below the root. NULL selection: true. */
bool oci_selection_wants(const struct oci_selection *s, const char *path);
/* The model tree's key: SHA-256 over manifest digest, root and globs (order of globs does not matter). */
int oci_selection_key(struct digest *ret, const struct oci_selection *s, const struct digest *manifest);
