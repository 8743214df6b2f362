/* SPDX-License-Identifier: Apache-2.0 */
/* What memory and CPUs the control groups leave us, against made-up /proc and /sys. */
#include "tests/unit/test.h"

#include "base/cgroup.h"
#include "base/cpu.h"
#include "base/memory.h"
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

struct world {
        char root[64];
};

static int set_up(void **state) {
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->root, sizeof w->root, "/tmp/cgroup-XXXXXX");
        assert_non_null(mkdtemp(w->root));
        *state = w;
        return 0;
}

static int tear_down(void **state) {
        struct world *w = *state;
        int parent = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(path_remove_tree(parent, path_base(w->root), NULL), 0);
        close(parent);
        free(w);
        return 0;
}

static void put(struct world *w, const char *dir, const char *name, const char *text) {
        char path[256];

        snprintf(path, sizeof path, "%s%s", w->root, dir);
        assert_int_equal(path_make_dirs_absolute(path, 0755, NULL), 0);
        snprintf(path, sizeof path, "%s%s/%s", w->root, dir, name);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        fclose(f);
}

/* 1000 MiB, 600 of them available. */
static void put_machine(struct world *w) {
        put(w, "/proc", "meminfo",
            "MemTotal:        1024000 kB\nMemFree:           12345 kB\nMemAvailable:     614400 kB\n");
}

static void assert_room(struct world *w, uint64_t whole_mib, uint64_t room_mib) {
        struct memory_room m;

        assert_int_equal(memory_look(&m, w->root), 0);
        assert_int_equal(m.whole, whole_mib * MIB);
        assert_int_equal(m.room, room_mib * MIB);
}

static void test_the_machine_alone(void **state) {
        struct world *w = *state;
        struct memory_room m;

        assert_int_equal(memory_look(&m, w->root), -ENOENT);
        put(w, "/proc", "meminfo", "MemTotal: 5 kB\n");
        assert_int_equal(memory_look(&m, w->root), -ENODATA);
        put_machine(*state);
        assert_room(w, 1000, 600);
}

static void test_version_2(void **state) {
        struct world *w = *state;

        put_machine(w);
        put(w, "/proc/self", "cgroup", "0::/kubepods/pod1/daemon\n");
        put(w, "/sys/fs/cgroup/kubepods/pod1/daemon", "memory.current", "104857600\n"); /* 100 MiB */
        put(w, "/sys/fs/cgroup/kubepods/pod1/daemon", "memory.max", "max\n");
        assert_room(w, 1000, 600);
        put(w, "/sys/fs/cgroup/kubepods/pod1/daemon", "memory.max", "209715200\n");
        assert_room(w, 200, 100);
        put(w, "/sys/fs/cgroup/kubepods/pod1/daemon", "memory.stat",
            "anon 1\nfile 5\nactive_file 7\ninactive_file 52428800\ninactive_file_of_others 1\n");
        assert_room(w, 200, 150);
        put(w, "/sys/fs/cgroup/kubepods/pod1/daemon", "memory.high", "157286400\n");
        assert_room(w, 150, 100);
        put(w, "/sys/fs/cgroup/kubepods", "memory.current", "104857600\n");
        put(w, "/sys/fs/cgroup/kubepods", "memory.max", "115343360\n"); /* 110 MiB for all pods */
        assert_room(w, 110, 10);
        put(w, "/sys/fs/cgroup/kubepods", "memory.current", "999999999\n");
        assert_room(w, 110, 0);
}

static void test_a_limit_above_what_the_machine_has(void **state) {
        struct world *w = *state;

        put_machine(w);
        put(w, "/proc/self", "cgroup", "0::/big\n");
        put(w, "/sys/fs/cgroup/big", "memory.current", "1048576\n");
        put(w, "/sys/fs/cgroup/big", "memory.max", "9223372036854771712\n");
        assert_room(w, 1000, 600);
}

/* The container's own group is the root of what it sees. */
static void test_the_name_of_the_group_is_the_hosts(void **state) {
        struct world *w = *state;

        put_machine(w);
        put(w, "/proc/self", "cgroup", "0::/../../kubepods/pod1/daemon\n");
        put(w, "/sys/fs/cgroup", "memory.current", "104857600\n");
        put(w, "/sys/fs/cgroup", "memory.max", "209715200\n");
        assert_room(w, 200, 100);
        put(w, "/proc/self", "cgroup", "0::/\n");
        assert_room(w, 200, 100);
}

static void test_version_1(void **state) {
        struct world *w = *state;

        put_machine(w);
        put(w, "/proc/self", "cgroup",
            "9:name=systemd:/\n5:cpu,cpuacct:/x\n4:hugetlb,memory:/pods/daemon\n0::/unified\n");
        put(w, "/sys/fs/cgroup/unified", "memory.current", "1\n");
        put(w, "/sys/fs/cgroup/unified", "memory.max", "1\n");
        put(w, "/sys/fs/cgroup/memory/pods", "memory.usage_in_bytes", "104857600\n");
        put(w, "/sys/fs/cgroup/memory/pods", "memory.limit_in_bytes", "209715200\n");
        put(w, "/sys/fs/cgroup/memory/pods", "memory.stat",
            "inactive_file 1\ntotal_inactive_file 10485760\n");
        assert_room(w, 200, 110);
}

static unsigned allowed_cpus(void) {
        cpu_set_t set;

        assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
        return (unsigned)CPU_COUNT(&set);
}

static void test_cpus_without_a_quota(void **state) {
        struct world *w = *state;

        assert_int_equal(cpu_count(w->root), allowed_cpus());
        put(w, "/proc/self", "cgroup", "0::/pod\n");
        assert_int_equal(cpu_count(w->root), allowed_cpus());
        put(w, "/sys/fs/cgroup/pod", "cpu.max", "max 100000\n");
        assert_int_equal(cpu_count(w->root), allowed_cpus());
        put(w, "/sys/fs/cgroup/pod", "cpu.max", "9000000000 100000\n");
        assert_int_equal(cpu_count(w->root), allowed_cpus());
        put(w, "/sys/fs/cgroup/pod", "cpu.max", "100000 0\n");
        assert_int_equal(cpu_count(w->root), allowed_cpus());
}

static void test_cpus_of_the_least_quota(void **state) {
        struct world *w = *state;

        if (allowed_cpus() < 2)
                skip();
        put(w, "/proc/self", "cgroup", "0::/kubepods/pod\n");
        put(w, "/sys/fs/cgroup/kubepods/pod", "cpu.max", "100001 100000\n"); /* more than one */
        assert_int_equal(cpu_count(w->root), 2);
        put(w, "/sys/fs/cgroup", "cpu.max", "100000 100000\n"); /* in a container that is our own group */
        assert_int_equal(cpu_count(w->root), 1);
        put(w, "/sys/fs/cgroup/kubepods/pod", "cpu.max", "1000 100000\n");
        assert_int_equal(cpu_count(w->root), 1);
}

static void test_cpus_of_version_1(void **state) {
        struct world *w = *state;

        put(w, "/proc/self", "cgroup", "5:cpu,cpuacct:/pod\n4:cpuset:/\n0::/\n");
        put(w, "/sys/fs/cgroup/cpu/pod", "cpu.cfs_period_us", "100000\n");
        put(w, "/sys/fs/cgroup/cpu/pod", "cpu.cfs_quota_us", "-1\n");
        assert_int_equal(cpu_count(w->root), allowed_cpus());
        put(w, "/sys/fs/cgroup/cpu/pod", "cpu.cfs_quota_us", "50000\n");
        assert_int_equal(cpu_count(w->root), 1);
}

static void test_cpus_that_are_fewer_than_the_quota(void **state) {
        struct world *w = *state;
        cpu_set_t all, one;

        assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
        CPU_ZERO(&one);
        for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
                if (CPU_ISSET(i, &all))
                        CPU_SET(i, &one);
        put(w, "/proc/self", "cgroup", "0::/\n");
        put(w, "/sys/fs/cgroup", "cpu.max", "200000 100000\n");
        assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
        unsigned n = cpu_count(w->root);
        assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
        assert_int_equal(n, 1);
}

struct visits {
        const char *root;
        char text[512];
};

static void note_visit(void *userdata, int version, const char *dir) {
        struct visits *v = userdata;
        size_t len = strlen(v->text);

        assert_memory_equal(dir, v->root, strlen(v->root));
        snprintf(v->text + len, sizeof v->text - len, "%d %s\n", version, dir + strlen(v->root));
}

static void assert_visits(struct world *w, const char *cgroup, const char *expected) {
        struct visits v = { .root = w->root };

        put(w, "/proc/self", "cgroup", cgroup);
        cgroup_each(w->root, "cpu", note_visit, &v);
        assert_string_equal(v.text, expected);
}

static void test_each_group_is_visited_once_up_to_the_root(void **state) {
        struct world *w = *state;

        assert_visits(w, "0::/\n", "2 /sys/fs/cgroup\n");
        assert_visits(w, "0::/a/b\n", "2 /sys/fs/cgroup/a/b\n2 /sys/fs/cgroup/a\n2 /sys/fs/cgroup\n");
        assert_visits(w, "0::/a\n7:cpuset:/x\n5:cpu,cpuacct:/b\n",
                      "1 /sys/fs/cgroup/cpu/b\n1 /sys/fs/cgroup/cpu\n");
        assert_visits(w, "5:cpuset,memory:/b\n", "");
        assert_visits(w, "0::a\n", "");
        assert_visits(w, "0:\n::\n:", "");
        assert_visits(w, "", "");
}

static void test_this_machine(void **state) {
        struct memory_room m;

        (void)state;
        assert_int_equal(memory_look(&m, ""), 0);
        assert_true(m.room > 0 && m.room <= m.whole);
        assert_in_range(cpu_count(""), 1, allowed_cpus());
        assert_true(m.whole <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_the_machine_alone, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_version_2, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_limit_above_what_the_machine_has, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_name_of_the_group_is_the_hosts, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_version_1, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cpus_without_a_quota, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cpus_of_the_least_quota, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cpus_of_version_1, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cpus_that_are_fewer_than_the_quota, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_each_group_is_visited_once_up_to_the_root, set_up,
                                                tear_down),
                cmocka_unit_test(test_this_machine),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
