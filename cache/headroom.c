/* SPDX-License-Identifier: Apache-2.0 */
/*
 * headroom: the file "reserve" beside the index.
 *
 * Given away by emptying it, which needs no block on any file system that we know; taken again when there is
 * plenty of room, so that it never makes a disk full itself. Where fallocate() is not supported there is
 * none.
 */
#include "cache/headroom.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HEADROOM_SIZE (8 << 20)
#define HEADROOM_SHARE 4 /* of what is free it is at most one in so many */

void cache_headroom_take(struct cache_headroom *h) {
        _cleanup_close_ int fd = open(h->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        struct statvfs fs;
        struct stat st;

        h->is_given = true;
        if (fd < 0 || fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0)
                return;
        if (st.st_size >= HEADROOM_SIZE && (long long)st.st_blocks * 512 >= HEADROOM_SIZE) {
                h->is_given = false;
                return;
        }
        if ((unsigned long long)fs.f_bavail * fs.f_frsize <
            (unsigned long long)HEADROOM_SIZE * HEADROOM_SHARE)
                return;
        if (fallocate(fd, 0, 0, HEADROOM_SIZE) == 0)
                h->is_given = false;
        else if (ftruncate(fd, 0) < 0) /* a part of it is no use */
                return;
}

bool cache_headroom_give(struct cache_headroom *h) {
        _cleanup_close_ int fd = open(h->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        h->is_given = true;
        return fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && ftruncate(fd, 0) == 0;
}
