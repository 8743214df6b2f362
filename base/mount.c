/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts by descriptors: the target is opened once without following a symbolic link, and what is mounted on
 * is that directory, whatever its name leads to later. No state; any thread.
 */
#include "base/mount.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define FD_PATH_SIZE (sizeof "/proc/self/fd/" + 11)

static void fd_path(char path[static FD_PATH_SIZE], int fd) {
        snprintf(path, FD_PATH_SIZE, "/proc/self/fd/%d", fd);
}

static int target_open(const char *target, struct error *e) {
        int fd = open(target, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        return fd < 0 ? error_errno(e, errno, "cannot open the directory %s to mount on it", target) : fd;
}

static bool is_old_kernel(int r) {
        return r == -ENOSYS || r == -EINVAL;
}

/* A clone that is read-only before it has a place. Negative errno. */
static int tree_clone(const char *source) {
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
        _cleanup_close_ int tree = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

        if (tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
                return -errno;
        return take_fd(tree);
}

/* The old way. It is writable between the two calls, so a failure in between takes it away again. */
static int bind_and_remount(const char *source, const char *target, int target_fd, struct error *e) {
        unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;
        char path[FD_PATH_SIZE];
        struct statvfs st;

        fd_path(path, target_fd);
        if (mount(source, path, NULL, MS_BIND, NULL) < 0)
                return error_errno(e, errno, "cannot bind %s to %s", source, target);

        /* Opened again: the first descriptor stays below the mount. */
        _cleanup_close_ int fd = target_open(target, e);
        if (fd < 0)
                return fd;
        fd_path(path, fd);
        if (statvfs(path, &st) == 0 && (st.f_flag & ST_NOEXEC))
                flags |= MS_NOEXEC; /* a remount would drop it */
        if (mount(NULL, path, NULL, flags, NULL) < 0) {
                int r = error_errno(e, errno, "cannot make %s read-only", target);
                (void)umount2(path, MNT_DETACH);
                return r;
        }
        return 0;
}

int mount_bind_readonly(const char *source, const char *target, struct error *e) {
        _cleanup_close_ int target_fd = target_open(target, e);

        if (target_fd < 0)
                return target_fd;
        _cleanup_close_ int tree = tree_clone(source);
        if (is_old_kernel(tree)) {
                log_debug(MOUNT, "no mount_setattr (%s): bind and remount of %s", strerror(-tree), target);
                return bind_and_remount(source, target, target_fd, e);
        }
        if (tree < 0)
                return error_errno(e, tree, "cannot clone the mount of %s", source);
        if (move_mount(tree, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return error_errno(e, errno, "cannot mount %s on %s", source, target);
        log_debug(MOUNT, "%s on %s", source, target);
        return 0;
}

/* For kernels before 5.8. The table has names without symbolic links in them. */
static int is_in_table(bool *ret, const char *target, struct error *e) {
        _cleanup_(mount_table_free) struct mount_table t = { 0 };
        _cleanup_free_ char *real = realpath(target, NULL);

        if (!real)
                return error_errno(e, errno, "cannot resolve %s", target);
        int r = mount_table_read(&t, e);
        if (r < 0)
                return r;
        *ret = mount_table_find(&t, real) != NULL;
        return 0;
}

int mount_is_mounted(bool *ret, const char *target, struct error *e) {
        struct statx st;

        if (statx(AT_FDCWD, target, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0) {
                if (errno != ENOENT && errno != ENOTDIR)
                        return error_errno(e, errno, "cannot look at %s", target);
                *ret = false;
                return 0;
        }
        if (S_ISLNK(st.stx_mode)) {
                *ret = false;
                return 0;
        }
        if (!(st.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT))
                return is_in_table(ret, target, e);
        *ret = (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
        return 0;
}

int mount_detach(const char *target, struct error *e) {
        bool mounted = false;
        int r = mount_is_mounted(&mounted, target, e);

        if (r < 0 || !mounted)
                return r;
        if (umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != ENOENT)
                return error_errno(e, errno, "cannot unmount %s", target);
        log_debug(MOUNT, "%s unmounted", target);
        return 0;
}
