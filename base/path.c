/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path: clean names, and opening them below a directory.
 *
 * Two ways to open, with the same results: one openat2(), or a walk that opens component by component with
 * O_NOFOLLOW. Which one is asked of the kernel once, with a harmless openat2() of "."; that keeps a later
 * EPERM (an immutable file) from being taken for a forbidden call. Files are read and written in path_file.c,
 * whole trees walked in path_tree.c. Every function may be called from every thread.
 */
#include "base/path.h"

#include "base/cleanup.h"
#include "base/text.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define LINK_TEXT "\"%s\" leads through a symbolic link, which is not followed"

static bool has_openat2;
static pthread_once_t openat2_once = PTHREAD_ONCE_INIT;

/* glibc has no wrapper. A mode without O_CREAT or O_TMPFILE is EINVAL here, unlike with open(). */
static int sys_openat2(int dir_fd, const char *name, int flags, mode_t mode) {
        struct open_how how = {
                .flags = (unsigned)flags,
                .mode = flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)) ? mode & 07777 : 0,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };

        return (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof how);
}

static void openat2_probe(void) {
        _cleanup_close_ int fd = sys_openat2(AT_FDCWD, ".", O_PATH | O_CLOEXEC, 0);

        has_openat2 = fd >= 0 || (errno != ENOSYS && errno != EPERM);
}

/* The length of the component at @s, which ends at a slash or at the end. */
static size_t component_length(const char *s) {
        return strcspn(s, "/");
}

/* Copies the component at @s; returns its length, or 0 and errno. */
static size_t copy_component(char component[static NAME_MAX + 1], const char *s) {
        size_t n = component_length(s);

        if (n > NAME_MAX) {
                errno = ENAMETOOLONG;
                return 0;
        }
        memcpy(component, s, n);
        component[n] = '\0';
        return n;
}

/* Whether @name could have come from path_clean(). */
static bool is_clean(const char *name) {
        if (!*name)
                return true;
        for (;;) {
                size_t n = component_length(name);

                if (n == 0 || (n <= 2 && strspn(name, ".") >= n))
                        return false;
                if (!name[n])
                        return true;
                name += n + 1;
        }
}

/* What is not UTF-8 can be neither in a gRPC message nor in a JSON document. */
static int check_characters(const char *name, size_t len, struct error *e) {
        if (!text_is_utf8(name, len))
                return error_set(e, ERROR_INVALID, "the name \"%.200s\" is not UTF-8", name);
        for (const char *p = name; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        return error_set(e, ERROR_INVALID, "the name \"%.200s\" has a control character",
                                         name);
        return 0;
}

int path_clean(char **ret, const char *name, struct error *e) {
        _cleanup_free_ char *clean = NULL;
        size_t len = strnlen(name, PATH_MAX), out = 0;

        if (len >= PATH_MAX)
                return error_set(e, ERROR_INVALID, "the name \"%.60s…\" is longer than %d bytes", name,
                                 PATH_MAX);
        if (*name == '/')
                return error_set(e, ERROR_INVALID, "the name \"%.200s\" is absolute", name);
        if (check_characters(name, len, e) < 0)
                return -EINVAL;
        clean = malloc(len + 1);
        if (!clean)
                return error_errno(e, ENOMEM, "cannot clean a name");
        for (const char *p = name; *p;) {
                size_t n = component_length(p);

                if (n == 2 && p[0] == '.' && p[1] == '.')
                        return error_set(e, ERROR_INVALID, "the name \"%.200s\" has a \"..\"", name);
                if (n > NAME_MAX)
                        return error_set(e, ERROR_INVALID,
                                         "a part of the name \"%.60s…\" is longer than %d bytes", name,
                                         NAME_MAX);
                if (n > 0 && !(n == 1 && *p == '.')) {
                        if (out > 0)
                                clean[out++] = '/';
                        memcpy(clean + out, p, n);
                        out += n;
                }
                p += p[n] ? n + 1 : n;
        }
        clean[out] = '\0';
        *ret = take_ptr(clean);
        return 0;
}

/* O_PATH | O_NOFOLLOW opens a symbolic link instead of refusing it; so does openat2() if asked for both. */
static int refuse_link(int fd, int flags) {
        struct stat st;

        if (fd < 0 || !(flags & O_PATH) || fstat(fd, &st) < 0 || !S_ISLNK(st.st_mode))
                return fd;
        close(fd);
        errno = ELOOP;
        return -1;
}

/* openat2() by hand. Returns the descriptor, or -1 and errno. */
static int open_by_components(int dir_fd, const char *name, int flags, mode_t mode) {
        _cleanup_close_ int parent = -1;
        char component[NAME_MAX + 1];

        for (;;) {
                int at = parent < 0 ? dir_fd : parent, fd;
                size_t n = copy_component(component, name);

                if (n == 0)
                        return -1;
                if (!name[n])
                        return openat(at, component, flags | O_NOFOLLOW, mode);
                fd =
                    refuse_link(openat(at, component, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), O_PATH);
                if (fd < 0)
                        return -1;
                cleanup_close(&parent);
                parent = fd;
                name += n + 1;
        }
}

/* A symbolic link that is opened with O_DIRECTORY | O_NOFOLLOW is ENOTDIR; what is there tells it from a
 * file. */
static bool is_link_in_the_way(int dir_fd, const char *name, int errnum) {
        char prefix[PATH_MAX];
        struct stat st;

        if (errnum == ELOOP || errnum == EXDEV)
                return true;
        if (errnum != ENOTDIR)
                return false;
        for (size_t n = component_length(name);; n += 1 + component_length(name + n + 1)) {
                if (n >= sizeof prefix)
                        return false;
                memcpy(prefix, name, n);
                prefix[n] = '\0';
                if (fstatat(dir_fd, prefix, &st, AT_SYMLINK_NOFOLLOW) < 0)
                        return false;
                if (S_ISLNK(st.st_mode))
                        return true;
                if (!name[n])
                        return false;
        }
}

static int open_failed(int dir_fd, const char *name, int errnum, struct error *e) {
        if (is_link_in_the_way(dir_fd, name, errnum))
                return error_set(e, ERROR_INVALID,
                                 "\"%s\" leads through a symbolic link, which is not followed", name);
        if (errnum == ENOENT)
                return error_set(e, ERROR_NOT_FOUND, "\"%s\" does not exist", name);
        if (errnum == EEXIST)
                return error_set(e, ERROR_EXISTS, "\"%s\" exists already", name);
        return error_errno(e, errnum, "cannot open \"%s\"", name);
}

/*
 * A name that is not clean is refused before the kernel sees it. RESOLVE_BENEATH would allow "a/../b", and
 * the walk would not: both ways must give the same answer, or a test on one kernel says nothing about
 * another.
 */
int path_open(int dir_fd, const char *name, int flags, mode_t mode, struct error *e) {
        int fd;

        if (!is_clean(name))
                return error_set(e, ERROR_INVALID, "\"%.200s\" is not a name below a directory", name);
        flags |= O_CLOEXEC;
        pthread_once(&openat2_once, openat2_probe);
        if (!*name)
                fd = openat(dir_fd, ".", flags, mode);
        else if (has_openat2)
                fd = refuse_link(sys_openat2(dir_fd, name, flags, mode), flags);
        else
                fd = refuse_link(open_by_components(dir_fd, name, flags, mode), flags);
        return fd >= 0 ? fd : open_failed(dir_fd, name, errno, e);
}

int path_open_parent(const char **ret_base, int dir_fd, const char *name, struct error *e) {
        _cleanup_free_ char *parent = NULL;
        const char *base = path_base(name);
        int fd;

        if (!*name || !is_clean(name))
                return error_set(e, ERROR_INVALID, "\"%.200s\" is not a name below a directory", name);
        parent = strndup(name, base > name ? (size_t)(base - name - 1) : 0);
        if (!parent)
                return error_errno(e, ENOMEM, "cannot open \"%s\"", name);
        fd = path_open(dir_fd, parent, O_RDONLY | O_DIRECTORY, 0, e);
        if (fd >= 0)
                *ret_base = base;
        return fd;
}

int path_make_failed(int dir_fd, int errnum, struct error *e, const char *fmt, ...) {
        char text[ERROR_TEXT_MAX];
        struct statvfs fs;
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        if (errnum == ENOSPC && fstatvfs(dir_fd, &fs) == 0 && fs.f_files > 0 && fs.f_favail == 0)
                return error_set(e, ERROR_NO_SPACE, "%s: the file system has no inodes left", text);
        return error_errno(e, errnum, "%s", text);
}

/* Makes the directory at the beginning of @name if it is missing, with exactly @mode, and opens it. -1 and
 * errno. */
static int enter_or_make(int dir_fd, const char *name, mode_t mode) {
        _cleanup_close_ int fd = -1;
        char component[NAME_MAX + 1];
        bool made;

        if (copy_component(component, name) == 0)
                return -1;
        made = mkdirat(dir_fd, component, mode) == 0;
        if (!made && errno != EEXIST)
                return -1;
        fd = openat(dir_fd, component, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && made && fchmod(fd, mode) < 0) /* whatever the umask is */
                return -1;
        return take_fd(fd);
}

int path_make_dirs(int dir_fd, const char *name, mode_t mode, bool parents_only, struct error *e) {
        _cleanup_close_ int fd = -1;

        if (!is_clean(name))
                return error_set(e, ERROR_INVALID, "\"%.200s\" is not a name below a directory", name);
        fd = path_open(dir_fd, "", O_RDONLY | O_DIRECTORY, 0, e);
        if (fd < 0)
                return fd;
        for (const char *p = name; *p;) {
                size_t n = component_length(p);
                int next;

                if (parents_only && !p[n])
                        break;
                next = enter_or_make(fd, p, mode);
                if (next < 0 && is_link_in_the_way(dir_fd, name, errno))
                        return error_set(e, ERROR_INVALID, LINK_TEXT, name);
                if (next < 0)
                        return path_make_failed(fd, errno, e, "cannot make the directories of \"%s\"", name);
                cleanup_close(&fd);
                fd = next;
                p += p[n] ? n + 1 : n;
        }
        return take_fd(fd);
}

/*
 * The administrator's path, so links are followed. A read-only file system above is no obstacle as long as
 * the directories are there, which the last stat() tells.
 */
int path_make_dirs_absolute(const char *path, mode_t mode, struct error *e) {
        char prefix[PATH_MAX];
        struct stat st;

        if (*path != '/')
                return error_set(e, ERROR_INVALID, "\"%.200s\" is not an absolute path", path);
        if (strlen(path) >= sizeof prefix)
                return error_set(e, ERROR_INVALID, "the path \"%.60s…\" is too long", path);
        for (size_t n = 1; path[n - 1]; n++) {
                if (path[n] && path[n] != '/')
                        continue;
                memcpy(prefix, path, n);
                prefix[n] = '\0';
                if (mkdir(prefix, mode) < 0 && errno != EEXIST && errno != EROFS)
                        return error_errno(e, errno, "cannot make the directory %s", prefix);
        }
        if (stat(path, &st) < 0)
                return error_errno(e, errno, "cannot make the directory %s", path);
        return S_ISDIR(st.st_mode) ? 0 : error_errno(e, ENOTDIR, "cannot make the directory %s", path);
}

const char *path_base(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}
