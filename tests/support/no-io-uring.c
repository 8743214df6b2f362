/* SPDX-License-Identifier: Apache-2.0 */
/*
 * no-io-uring [--enosys] COMMAND [ARGUMENT...]
 *
 * Runs COMMAND where io_uring_setup() fails: with EPERM, as under a seccomp profile of a container runtime,
 * or with ENOSYS, as on a kernel without it. The filter is inherited by everything that COMMAND starts, so
 * the whole suite can run a second time under it. Exits with 77 (skipped) if the filter cannot be installed.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_SKIPPED 77
#define EXIT_NOT_FOUND 127

static int forbid_io_uring(int with_errno) {
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

        if (!filter)
                return -ENOMEM;
        int r = seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)with_errno), SCMP_SYS(io_uring_setup), 0);
        if (r >= 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r;
}

int main(int argc, char *argv[]) {
        int enosys = argc > 1 && strcmp(argv[1], "--enosys") == 0;
        char **command = argv + 1 + enosys;

        if (argc < 2 + enosys) {
                fprintf(stderr, "usage: no-io-uring [--enosys] COMMAND [ARGUMENT...]\n");
                return EXIT_USAGE;
        }
        int r = forbid_io_uring(enosys ? ENOSYS : EPERM);
        if (r < 0) {
                fprintf(stderr, "no-io-uring: cannot install the filter: %s; skipping\n", strerror(-r));
                return EXIT_SKIPPED;
        }
        execvp(command[0], command);
        fprintf(stderr, "no-io-uring: cannot run %s: %s\n", command[0], strerror(errno));
        return EXIT_NOT_FOUND;
}
