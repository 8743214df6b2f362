/* SPDX-License-Identifier: Apache-2.0 */
/* A journal's head and batches: what is accepted says only what can be used, and is printed again byte for
 * byte. The checksums are put right first, or nothing but their mismatch would be found. */
#include "base/path.h"
#include "stager/journal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_check(char *data, size_t len) {
        struct digest d;

        assert(digest_of(&d, data, len) == 0);
        memcpy(data + len, d.bytes, JOURNAL_CHECK_SIZE);
}

static void check_entries(struct journal_batch b) {
        uint64_t pos = b.from, to = b.to;
        struct journal_entry entry;

        while (journal_next(&b, &entry)) {
                assert(entry.len > 0 && entry.len <= to - pos);
                if (entry.kind == JOURNAL_FILE)
                        assert(entry.name[0] && entry.name[0] != '/' &&
                               strlen(entry.name) < JOURNAL_NAME_MAX && !strstr(entry.name, "//"));
                pos += entry.len;
        }
        assert(pos == to && b.from == to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct buf again = BUF_INIT((size_t)32 << 20);
        struct journal_batch b;
        struct journal_head head;
        char *copy = malloc(size + 1);

        assert(copy);
        memcpy(copy, data, size);
        if (size >= JOURNAL_HEAD_SIZE && journal_parse_head(&head, copy)) {
                char same[JOURNAL_HEAD_SIZE];

                journal_print_head(same, &head);
                assert(memcmp(same, copy, sizeof same) == 0);
        }
        if (size >= JOURNAL_BATCH_SIZE + JOURNAL_CHECK_SIZE) {
                put_check(copy, size - JOURNAL_CHECK_SIZE);
                if (journal_parse_batch(&b, copy, size)) {
                        buf_clear(&again);
                        assert(journal_print_batch(&again, &b) == 0);
                        assert(again.len == size && memcmp(again.data, copy, size) == 0);
                        check_entries(b);
                }
        }
        free(copy);
        return 0;
}
