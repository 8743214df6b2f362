/* SPDX-License-Identifier: Apache-2.0 */
/* A settings file either loads, or is refused with the name of the file and a line in front. */
#include "base/settings.h"
#include "base/text.h"

#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(settings_freep) struct settings *s = NULL;
        _cleanup_close_ int fd = memfd_create("settings", MFD_CLOEXEC);
        struct error e = { 0 };
        char path[64];

        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (write(fd, data, size) != (ssize_t)size || settings_new(&s, &e) < 0)
                abort();
        if (settings_load_file(s, path, &e) < 0) {
                if (e.kind != ERROR_INVALID || !text_starts_with(e.text, path) || e.text[strlen(path)] != ':')
                        abort();
                if (strtoul(e.text + strlen(path) + 1, NULL, 10) == 0)
                        abort();
                return 0;
        }
        if (settings_check(s, &e) < 0 && e.kind != ERROR_INVALID)
                abort();
        return 0;
}
