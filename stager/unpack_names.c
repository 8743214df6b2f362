/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/unpack_names.h"

#include "base/path.h"
#include "cache/cache.h"

#include <string.h>

/* Names of ".wh..wh." are aufs' own business, but for the opaque mark. */
static enum unpack_name_kind component_kind(const char *c, size_t len, bool last) {
        static const char opaque[] = CACHE_WHITEOUT_OPAQUE;

        if (len < 4 || memcmp(c, ".wh.", 4) != 0)
                return UNPACK_NAME_PLAIN;
        if (len >= sizeof CACHE_WHITEOUT_LINK - 1 &&
            memcmp(c, CACHE_WHITEOUT_LINK, sizeof CACHE_WHITEOUT_LINK - 1) == 0)
                return UNPACK_NAME_FORBIDDEN;
        if (last && len == sizeof opaque - 1 && memcmp(c, opaque, len) == 0)
                return UNPACK_NAME_WHITEOUT;
        if (len >= 8 && memcmp(c, ".wh..wh.", 8) == 0)
                return UNPACK_NAME_IGNORED;
        return last && len > 4 ? UNPACK_NAME_WHITEOUT : UNPACK_NAME_FORBIDDEN;
}

enum unpack_name_kind unpack_name_kind(const char *path) {
        enum unpack_name_kind kind = UNPACK_NAME_PLAIN;

        for (const char *c = path; *c && kind == UNPACK_NAME_PLAIN;) {
                size_t len = strcspn(c, "/");

                kind = component_kind(c, len, c[len] == '\0');
                c += len + (c[len] == '/');
        }
        return kind;
}

/* Container tools give absolute names too and mean the tree's root by it. */
int unpack_name_clean(char **ret, const char *name, struct error *e) {
        if (!name || !*name)
                return error_set(e, ERROR_INVALID, "the archive has a member without a readable name");
        return path_clean(ret, name + strspn(name, "/"), e);
}

/* The cache would refuse it too, but only when all is there. */
int unpack_name_check_depth(const char *path, bool is_directory, struct error *e) {
        unsigned depth = 1 + (*path && is_directory);

        for (const char *p = path; *p; p++)
                depth += *p == '/';
        if (depth > CACHE_TREE_DEPTH_MAX)
                return error_set(e, ERROR_INVALID, "the archive has more than %d directories in each other",
                                 CACHE_TREE_DEPTH_MAX);
        return 0;
}
