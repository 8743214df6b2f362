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
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROC_TEXT_MAX ((size_t)16 << 10) /* of what is longer, the beginning */

/* @dir may not be there, nor may a file of the controller be in it. */
typedef void (*cgroup_visitor)(void *userdata, int version, const char *dir);

/* Visits the directory of each group from our own up to the root, once each; by version 1 if that has the
 * controller, else by version 2. @root: before /proc and /sys; "" but in tests. */
void cgroup_each(const char *root, const char *controller, cgroup_visitor visit, void *userdata);

/* A file of /proc or /sys; these say that they have no size. @text is "" if there is nothing to read. */
int proc_read_text(char text[static PROC_TEXT_MAX], const char *dir, const char *name);
/* False: there is no such file, or it does not begin with a number, as "max". */
bool proc_read_number(const char *dir, const char *name, uint64_t *ret);
