/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: /proc/meminfo, then the limits on the way from our own group to the root of the hierarchy.
 *
 *   meminfo   MemTotal, MemAvailable
 *   v2        /sys/fs/cgroup/GROUP/         memory.max, .high; .current; inactive_file in .stat
 *   v1        /sys/fs/cgroup/memory/GROUP/  memory.limit_in_bytes; .usage_in_bytes; total_inactive_file
 *
 * The room in a group is its limit less what it uses, but for pages of files that nobody has asked for again,
 * which go first; MemAvailable is made likewise. In a container the group's name is often the host's, while
 * the mount shows the container's own group as the root: levels that are not there are passed over, and the
 * root is always looked at.
 */
#include "base/memory.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX ((size_t)16 << 10) /* of what is longer, the beginning */

/* How the two versions call things. */
struct group_files {
        const char *top;
        const char *limits[2], *usage, *reclaimable;
};
static const struct group_files v1 = { "/sys/fs/cgroup/memory",
                                       { "memory.limit_in_bytes", NULL },
                                       "memory.usage_in_bytes",
                                       "total_inactive_file" };
static const struct group_files v2 = { "/sys/fs/cgroup",
                                       { "memory.max", "memory.high" },
                                       "memory.current",
                                       "inactive_file" };

/* Files of /proc and /sys say that they have no size. @text is "" if there is nothing to read. */
static int read_text(char text[static TEXT_MAX], const char *root, const char *dir, const char *name) {
        char path[PATH_MAX];
        size_t len = 0;
        ssize_t n = 0;

        *text = '\0';
        if (snprintf(path, sizeof path, "%s%s/%s", root, dir, name) >= (int)sizeof path)
                return -ENAMETOOLONG;
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        while (len < TEXT_MAX - 1 && (n = read(fd, text + len, TEXT_MAX - 1 - len)) > 0)
                len += (size_t)n;
        if (n < 0)
                return -errno;
        text[len] = '\0';
        return 0;
}

/* Of "KEY  NUMBER" on a line of its own; "KEY:" likewise. */
static bool find_number(const char *text, const char *key, uint64_t *ret) {
        size_t len = strlen(key);

        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                unsigned long long n;

                if (strncmp(line, key, len) == 0 && sscanf(line + len, "%*1[: ] %llu", &n) == 1) {
                        *ret = n;
                        return true;
                }
        }
        return false;
}

/* False: there is no such file, or it says "max". */
static bool read_number(const char *root, const char *dir, const char *name, uint64_t *ret) {
        char text[TEXT_MAX];
        unsigned long long n;

        if (read_text(text, root, dir, name) < 0 || sscanf(text, "%llu", &n) != 1)
                return false;
        *ret = n;
        return true;
}

static void apply_limit(struct memory_room *m, uint64_t limit, uint64_t used) {
        uint64_t room = used < limit ? limit - used : 0;

        if (limit < m->whole)
                m->whole = limit;
        if (room < m->room)
                m->room = room;
}

/* One level: @dir below @root. */
static void look_at_group(struct memory_room *m, const char *root, const char *dir,
                          const struct group_files *f) {
        char stat[TEXT_MAX];
        uint64_t used, files = 0, limit;

        if (!read_number(root, dir, f->usage, &used))
                return;
        if (read_text(stat, root, dir, "memory.stat") >= 0)
                (void)find_number(stat, f->reclaimable, &files);
        used -= files < used ? files : used;
        for (unsigned i = 0; i < 2; i++)
                if (f->limits[i] && read_number(root, dir, f->limits[i], &limit))
                        apply_limit(m, limit, used);
}

/* The group in /proc/self/cgroup: "N:LIST:PATH", with "memory" in the list; v2's is "0::PATH". */
static const struct group_files *find_group(const char *text, char path[static PATH_MAX]) {
        const struct group_files *found = NULL;
        char list[256];

        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                const char *colon = strchr(line, ':');
                const char *name = colon ? strchr(colon + 1, ':') : NULL;

                if (!name)
                        break;
                snprintf(list, sizeof list, ",%.*s,", (int)(name - colon - 1), colon + 1);
                bool is_v1 = strstr(list, ",memory,") != NULL;
                if (!is_v1 && (found || strcmp(list, ",,") != 0))
                        continue;
                found = is_v1 ? &v1 : &v2;
                snprintf(path, PATH_MAX, "%.*s", (int)strcspn(name + 1, "\n"), name + 1);
                if (is_v1)
                        break;
        }
        return found;
}

/* From the group up. */
static void look_at_groups(struct memory_room *m, const char *root) {
        char text[TEXT_MAX], path[PATH_MAX], dir[PATH_MAX];
        const struct group_files *f;

        if (read_text(text, root, "/proc/self", "cgroup") < 0)
                return;
        f = find_group(text, path);
        while (f) {
                char *slash = strrchr(path, '/');

                if (snprintf(dir, sizeof dir, "%s%s", f->top, strcmp(path, "/") == 0 ? "" : path) <
                    (int)sizeof dir)
                        look_at_group(m, root, dir, f);
                if (!*path || !slash)
                        return;
                *slash = '\0';
        }
}

int memory_look(struct memory_room *ret, const char *root) {
        char text[TEXT_MAX];
        struct memory_room m;
        int r = read_text(text, root, "/proc", "meminfo");

        if (r < 0)
                return r;
        if (!find_number(text, "MemTotal", &m.whole) || !find_number(text, "MemAvailable", &m.room))
                return -ENODATA;
        m.whole *= 1024;
        m.room *= 1024;
        look_at_groups(&m, root);
        *ret = m;
        return 0;
}
