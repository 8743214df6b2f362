/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup: the control groups that this process is in, by either version of the kernel's interface
 * (Documentation/admin-guide/cgroup-v2.rst; cgroup-v1/cgroups.rst).
 *
 *   v2   /sys/fs/cgroup/GROUP
 *   v1   /sys/fs/cgroup/CONTROLLER/GROUP
 *
 * In a container the group's name is often the host's, while the mount shows the container's own group as the
 * root: levels that are not there have to be passed over, and the root is always looked at. No state; any
 * thread. @root is before /proc and /sys: "" but in tests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUP_TOP "/sys/fs/cgroup"
#define CGROUP_TEXT_MAX ((size_t)16 << 10) /* of what is longer, the beginning */

typedef void (*cgroup_visitor)(void *userdata, int version, const char *dir);

/* Visits the directory of each group from our own up to the root; nothing if there is no such controller. */
void cgroup_each(const char *root, const char *controller, cgroup_visitor visit, void *userdata);
/* A file of /proc or /sys; these say that they have no size. @text is "" if there is nothing to read. */
int cgroup_read_text(char text[static CGROUP_TEXT_MAX], const char *root, const char *dir, const char *name);
/* False: there is no such file, or it has no number, as "max". */
bool cgroup_read_number(const char *root, const char *dir, const char *name, uint64_t *ret);
