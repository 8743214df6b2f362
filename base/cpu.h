/* SPDX-License-Identifier: Apache-2.0 */
/* cpu: how many of this process's threads can run at a time. No state; any thread. */
#pragma once

/* The CPUs that it may use, or the least quota of its control groups in whole CPUs, rounded up; at least 1. A
 * group that cannot be read is passed over. @root: as for cgroup.h. */
unsigned cpu_count(const char *root);
