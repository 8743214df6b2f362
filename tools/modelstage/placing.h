/* SPDX-License-Identifier: Apache-2.0 */
/* placing: what is in a finished tree gets names in a directory on the same file system, all of it or none:
 * files and symbolic links as they are, directories with their modes. */
#pragma once

#include "cache/cache.h"

struct placing {
        const char *dir; /* for people */
        int dir_fd;
        const char *tree;  /* where the files are */
        const char *spare; /* a directory of ours below dir_fd, for names that are renamed into place */
        const struct cache_file *files; /* cache_model_entries(): a directory comes before what is in it */
        size_t n;
        bool force; /* existing files are replaced, each at once */
};
/* ERROR_EXISTS if a file is there already and not forced, or a directory where a file is to be, or the other
 * way round. Whatever fails, the directory is then as it was. */
int placing_run(const struct placing *p, struct error *e);
