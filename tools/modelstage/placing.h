/* SPDX-License-Identifier: Apache-2.0 */
/* placing: the files of a finished tree get names in a directory on the same file system, all of them or
 * none. */
#pragma once

#include "cache/cache.h"

struct placing {
        const char *dir; /* for people */
        int dir_fd;
        const char *tree;  /* where the files are */
        const char *spare; /* a directory of ours below dir_fd, for names that are renamed into place */
        const struct cache_file *files;
        size_t n;
        bool force; /* existing files are replaced, each at once; there is no going back then */
};
/* ERROR_EXISTS if a file is there already and not forced; nothing has been done then. */
int placing_run(const struct placing *p, struct error *e);
