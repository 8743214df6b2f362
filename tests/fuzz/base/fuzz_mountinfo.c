/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is accepted can be found again by its target, and there are as many entries as lines. */
#include "base/mount.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct mount_table t = { 0 };
        size_t lines = 0;

        if (mount_table_parse(&t, (const char *)data, size, NULL) < 0) {
                assert(t.n == 0 && !t.entries);
                return 0;
        }
        for (size_t i = 0; i < size; i++)
                lines += data[i] == '\n' || i + 1 == size;
        assert(t.n == lines);
        for (size_t i = 0; i < t.n; i++) {
                const struct mount_entry *m = mount_table_find(&t, t.entries[i].target);

                assert(m && m >= &t.entries[i] && strcmp(m->target, t.entries[i].target) == 0);
        }
        mount_table_free(&t);
        return 0;
}
