/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a tar: the scout only moves forward, what it tells lies within the blob and does not depend on
 * how the bytes are cut, and where libarchive reads all of it without a complaint, it finds the same files at
 * the same places. */
#include "stager/scout.h"

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <locale.h>
#include <string.h>

#define MEMBERS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct view {
        struct scout_member members[MEMBERS_MAX];
        size_t n;
        enum scout_step end;
};

static void check_member(const struct view *v, const struct scout_member *m, uint64_t size) {
        const struct scout_member *before = v->n > 0 ? &v->members[v->n - 1] : NULL;

        assert(m->header < m->data && m->data <= size && m->size <= size - m->data);
        assert(m->header % SCOUT_BLOCK == 0 && m->data % SCOUT_BLOCK == 0);
        assert(!before || m->header >= before->data + before->size);
}

/* Gives @step bytes at a time. */
static void look(struct view *ret, const uint8_t *data, size_t size, size_t step) {
        struct scout_member m;
        struct scout s;

        ret->n = 0;
        scout_init(&s, size, 0);
        for (;;) {
                uint64_t pos = scout_pos(&s);
                size_t n = pos < size ? size - (size_t)pos : 0;

                ret->end = scout_feed(&s, data + (n > 0 ? pos : 0), n < step ? n : step, &m);
                if (ret->end == SCOUT_END || ret->end == SCOUT_LOST)
                        return;
                assert(scout_pos(&s) > pos && scout_pos(&s) % SCOUT_BLOCK == 0);
                if (ret->end == SCOUT_MEMBER) {
                        check_member(ret, &m, size);
                        assert(ret->n < MEMBERS_MAX);
                        ret->members[ret->n++] = m;
                }
        }
}

/* Of libarchive's: the files without holes. False: it has complained. */
static bool read_all(struct view *ret, const uint8_t *data, size_t size) {
        struct archive *a = archive_read_new();
        struct archive_entry *entry;
        int r = ARCHIVE_FATAL;

        ret->n = 0;
        assert(a);
        archive_read_support_format_tar(a);
        archive_read_support_format_empty(a);
        if (archive_read_open_memory(a, data, size) == ARCHIVE_OK)
                while ((r = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
                        if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) ||
                            archive_entry_sparse_count(entry) > 0)
                                continue;
                        assert(ret->n < MEMBERS_MAX);
                        ret->members[ret->n++] = (struct scout_member){
                                .header = (uint64_t)archive_read_header_position(a),
                                .data = (uint64_t)archive_filter_bytes(a, 0),
                                .size = (uint64_t)archive_entry_size(entry),
                        };
                }
        archive_read_free(a);
        return r == ARCHIVE_EOF;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct view whole, cut, theirs;
        size_t j = 0;

        if (size > MEMBERS_MAX * SCOUT_BLOCK)
                return 0;
        (void)setlocale(LC_CTYPE, "C.UTF-8");
        look(&whole, data, size, SIZE_MAX);
        look(&cut, data, size, SCOUT_BLOCK + 7);
        assert(whole.end == cut.end && whole.n == cut.n);
        assert(memcmp(whole.members, cut.members, whole.n * sizeof *whole.members) == 0);
        if (!read_all(&theirs, data, size))
                return 0;
        for (size_t i = 0; i < whole.n; i++) {
                while (j < theirs.n && theirs.members[j].header < whole.members[i].header)
                        j++;
                assert(j < theirs.n &&
                       memcmp(&theirs.members[j], &whole.members[i], sizeof whole.members[i]) == 0);
        }
        return 0;
}
