/* SPDX-License-Identifier: Apache-2.0 */
/* unpack_names: which names an archive's members may have. */
#pragma once

#include "base/error.h"

#include <stdbool.h>

enum unpack_name_kind {
        UNPACK_NAME_PLAIN,
        UNPACK_NAME_WHITEOUT,
        UNPACK_NAME_IGNORED,   /* the member is left out */
        UNPACK_NAME_FORBIDDEN, /* the archive is */
};

/* *@ret, the caller's to free, is @name below the tree, without "." and double slashes; "" is the tree
 * itself. ERROR_INVALID: there is none, or it leaves the tree. */
int unpack_name_clean(char **ret, const char *name, struct error *e);
/* @path is clean. Names of ".wh." are the layer format's own (image-spec layer.md, "Whiteouts"). */
enum unpack_name_kind unpack_name_kind(const char *path);
/* ERROR_INVALID: @path lies deeper than CACHE_TREE_DEPTH_MAX. */
int unpack_name_check_depth(const char *path, bool is_directory, struct error *e);
