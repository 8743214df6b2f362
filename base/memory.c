/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: /proc/meminfo, then the limits on the way from our own group to the root of the hierarchy.
 *
 *   meminfo   MemTotal, MemAvailable
 *   v2        memory.max, .high; .current; inactive_file in .stat
 *   v1        memory.limit_in_bytes; .usage_in_bytes; total_inactive_file
 *
 * The room in a group is its limit less what it uses, but for pages of files that nobody has asked for again,
 * which go first; MemAvailable is made likewise.
 */
#include "base/memory.h"

#include "base/cgroup.h"
#include "base/proc.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* How the two versions call things. */
struct group_files {
        const char *limits[2], *usage, *reclaimable;
};
static const struct group_files v1 = { { "memory.limit_in_bytes", NULL },
                                       "memory.usage_in_bytes",
                                       "total_inactive_file" };
static const struct group_files v2 = { { "memory.max", "memory.high" }, "memory.current", "inactive_file" };

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

static void apply_limit(struct memory_room *m, uint64_t limit, uint64_t used) {
        uint64_t room = used < limit ? limit - used : 0;

        if (limit < m->whole)
                m->whole = limit;
        if (room < m->room)
                m->room = room;
}

/* One level. */
static void look_at_group(struct memory_room *m, const char *dir, const struct group_files *f) {
        char stat[PROC_TEXT_MAX];
        uint64_t used, files = 0, limit;

        if (!proc_read_number(dir, f->usage, &used))
                return;
        if (proc_read_text(stat, dir, "memory.stat") >= 0)
                (void)find_number(stat, f->reclaimable, &files);
        used -= files < used ? files : used;
        for (unsigned i = 0; i < 2; i++)
                if (f->limits[i] && proc_read_number(dir, f->limits[i], &limit))
                        apply_limit(m, limit, used);
}

static void visit(void *userdata, int version, const char *dir) {
        look_at_group(userdata, dir, version == 1 ? &v1 : &v2);
}

int memory_look(struct memory_room *ret, const char *root) {
        char text[PROC_TEXT_MAX], proc[PATH_MAX];
        struct memory_room m;

        snprintf(proc, sizeof proc, "%s/proc", root);
        int r = proc_read_text(text, proc, "meminfo");
        if (r < 0)
                return r;
        if (!find_number(text, "MemTotal", &m.whole) || !find_number(text, "MemAvailable", &m.room))
                return -ENODATA;
        m.whole *= 1024;
        m.room *= 1024;
        cgroup_each(root, "memory", visit, &m);
        *ret = m;
        return 0;
}
