/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_untar: standard input through libarchive's own filters into a folder, as bsdtar -x does it. It verifies nothing; the
 * benchmark has it to show what the engine's own decoding is worth.
 *
 *   bench_untar DIR
 */
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK (1u << 20)

static int copy_entry(struct archive *in, struct archive *out, struct archive_entry *entry) {
        const void *data;
        size_t len;
        la_int64_t offset;
        int r = archive_write_header(out, entry);

        while (r == ARCHIVE_OK && (r = archive_read_data_block(in, &data, &len, &offset)) == ARCHIVE_OK)
                if (archive_write_data_block(out, data, len, offset) < 0)
                        return ARCHIVE_FATAL;
        return r == ARCHIVE_EOF ? archive_write_finish_entry(out) : r;
}

int main(int argc, char *argv[]) {
        struct archive *in = archive_read_new(), *out = archive_write_disk_new();
        struct archive_entry *entry;
        int r;

        if (argc != 2 || chdir(argv[1]) < 0) {
                fprintf(stderr, "usage: %s DIR\n", argv[0]);
                return 2;
        }
        archive_read_support_filter_all(in);
        archive_read_support_format_tar(in);
        r = archive_read_open_fd(in, STDIN_FILENO, BLOCK);
        while (r == ARCHIVE_OK && (r = archive_read_next_header(in, &entry)) == ARCHIVE_OK)
                r = copy_entry(in, out, entry);
        if (r != ARCHIVE_EOF)
                fprintf(stderr, "bench_untar: %s%s\n",
                        archive_error_string(in) ? archive_error_string(in) : "",
                        archive_error_string(out) ? archive_error_string(out) : "");
        archive_write_free(out);
        archive_read_free(in);
        return r == ARCHIVE_EOF ? EXIT_SUCCESS : EXIT_FAILURE;
}
