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

/* @dir may not be there, nor may a file of the controller be in it. */
typedef void (*cgroup_visitor)(void *userdata, int version, const char *dir);

/* Visits the directory of each group from our own up to the root, once each; by version 1 if that has the
 * controller, else by version 2. @root: before /proc and /sys; "" but in tests. */
void cgroup_each(const char *root, const char *controller, cgroup_visitor visit, void *userdata);
