/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cgroup.h"

#include "base/proc.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The group in /proc/self/cgroup: "N:LIST:PATH", with the controller in the list; v2's is "0::PATH". The
 * version; 0: there is none. */
static int find_group(const char *text, const char *controller, char path[static PATH_MAX]) {
        char list[256], wanted[64];
        int version = 0;

        snprintf(wanted, sizeof wanted, ",%s,", controller);
        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
                const char *colon = strchr(line, ':');
                const char *name = colon ? strchr(colon + 1, ':') : NULL;

                if (!name)
                        break;
                snprintf(list, sizeof list, ",%.*s,", (int)(name - colon - 1), colon + 1);
                bool is_v1 = strstr(list, wanted) != NULL;
                if (!is_v1 && (version || strcmp(list, ",,") != 0))
                        continue;
                if (name[1] != '/')
                        continue;
                version = is_v1 ? 1 : 2;
                snprintf(path, PATH_MAX, "%.*s", (int)strcspn(name + 1, "\n"), name + 1);
                if (is_v1)
                        break;
        }
        return version;
}

void cgroup_each(const char *root, const char *controller, cgroup_visitor visit, void *userdata) {
        char text[PROC_TEXT_MAX], path[PATH_MAX], top[PATH_MAX], dir[PATH_MAX];

        if (snprintf(dir, sizeof dir, "%s/proc/self", root) >= (int)sizeof dir ||
            proc_read_text(text, dir, "cgroup") < 0)
                return;
        int version = find_group(text, controller, path);
        if (!version)
                return;
        if (snprintf(top, sizeof top, "%s/sys/fs/cgroup%s%s", root, version == 1 ? "/" : "",
                     version == 1 ? controller : "") >= (int)sizeof top)
                return;
        if (strcmp(path, "/") == 0)
                *path = '\0';
        for (char *slash = path; slash; *slash = '\0') {
                if (snprintf(dir, sizeof dir, "%s%s", top, path) < (int)sizeof dir)
                        visit(userdata, version, dir);
                slash = strrchr(path, '/');
                if (!slash)
                        break;
        }
}
