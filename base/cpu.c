/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's CPU limit is no set of CPUs but a quota of time in each period: more threads than that many
 * would only be stopped together when it is used up.
 *
 *   v2   cpu.max            "QUOTA PERIOD" or "max PERIOD"
 *   v1   cpu.cfs_quota_us   -1: none; cpu.cfs_period_us
 */
#include "base/cpu.h"

#include "base/cgroup.h"
#include "base/proc.h"

#include <sched.h>
#include <stdio.h>

static bool read_quota(int version, const char *dir, uint64_t *quota, uint64_t *period) {
        char text[PROC_TEXT_MAX];
        unsigned long long q, p;

        if (version == 1)
                return proc_read_number(dir, "cpu.cfs_quota_us", quota) &&
                       proc_read_number(dir, "cpu.cfs_period_us", period);
        if (proc_read_text(text, dir, "cpu.max") < 0 || sscanf(text, "%llu %llu", &q, &p) != 2)
                return false;
        *quota = q;
        *period = p;
        return true;
}

static void visit(void *userdata, int version, const char *dir) {
        uint64_t *count = userdata, quota, period;

        if (!read_quota(version, dir, &quota, &period) || period == 0)
                return;
        uint64_t whole = quota / period + (quota % period > 0);
        if (whole < *count)
                *count = whole;
}

unsigned cpu_count(const char *root) {
        cpu_set_t set;
        uint64_t count = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint64_t)CPU_COUNT(&set) : 1;

        cgroup_each(root, "cpu", visit, &count);
        return count > 0 ? (unsigned)count : 1;
}
