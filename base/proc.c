/* SPDX-License-Identifier: Apache-2.0 */
#include "base/proc.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

int proc_read_text(char text[static PROC_TEXT_MAX], const char *dir, const char *name) {
        char path[PATH_MAX];
        size_t len = 0;
        ssize_t n = 0;

        *text = '\0';
        if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
                return -ENAMETOOLONG;
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        while (len < PROC_TEXT_MAX - 1 && (n = read(fd, text + len, PROC_TEXT_MAX - 1 - len)) > 0)
                len += (size_t)n;
        if (n < 0)
                return -errno;
        text[len] = '\0';
        return 0;
}

bool proc_read_number(const char *dir, const char *name, uint64_t *ret) {
        char text[PROC_TEXT_MAX];
        unsigned long long n;

        if (proc_read_text(text, dir, name) < 0 || *text == '-' || sscanf(text, "%llu", &n) != 1)
                return false;
        *ret = n;
        return true;
}
