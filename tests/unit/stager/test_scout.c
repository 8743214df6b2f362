/* SPDX-License-Identifier: Apache-2.0 */
/* What the scout says of an archive, compared with what libarchive's reader finds in it. */
#include "tests/unit/stager/tar_builder.h"

#include "stager/scout.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <locale.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GIB ((uint64_t)1 << 30)
#define MEMBERS_MAX 64

extern char **environ;

/* head, then `gap` bytes of 0, then tail: large members need not be in memory. */
struct blob {
        struct buf head, tail;
        uint64_t gap;
        uint64_t read; /* by libarchive */
};

struct view {
        struct scout_member members[MEMBERS_MAX];
        unsigned n;
        enum scout_step end;
};

struct world {
        char dir[64];
        struct blob blob;
};

static int set_up(void **state) {
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->dir, sizeof w->dir, "/tmp/scout-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->blob.head.max = w->blob.tail.max = 64 << 20;
        *state = w;
        return 0;
}

static void run(const char *dir, const char *command) {
        char *const argv[] = { (char *)"sh", (char *)"-ec", (char *)command, NULL };
        int status;
        pid_t pid;

        assert_int_equal(setenv("WORLD", dir, 1), 0);
        assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static int tear_down(void **state) {
        struct world *w = *state;

        run(w->dir, "rm -rf \"$WORLD\"");
        buf_free(&w->blob.head);
        buf_free(&w->blob.tail);
        free(w);
        return 0;
}

static uint64_t blob_size(const struct blob *b) {
        return b->head.len + b->gap + b->tail.len;
}

/* At most @max bytes from @pos on, all of one part. */
static size_t blob_bytes(const struct blob *b, uint64_t pos, size_t max, const void **ret) {
        static const char zeros[64 << 10];
        uint64_t n;

        if (pos < b->head.len) {
                *ret = b->head.data + pos;
                n = b->head.len - pos;
        } else if (pos < b->head.len + b->gap) {
                *ret = zeros;
                n = b->head.len + b->gap - pos;
                n = n < sizeof zeros ? n : sizeof zeros;
        } else {
                *ret = b->tail.data + (pos - b->head.len - b->gap);
                n = b->tail.len - (pos - b->head.len - b->gap);
        }
        return n < max ? (size_t)n : max;
}

/* ---- the two views ---- */

/* Gives @step bytes at a time. */
static void look(struct view *ret, const struct blob *b, uint64_t min, size_t step) {
        const void *data = NULL;
        struct scout s;

        memset(ret, 0, sizeof *ret);
        scout_init(&s, blob_size(b), min);
        for (;;) {
                uint64_t pos = scout_pos(&s);
                size_t n = pos < blob_size(b) ? blob_bytes(b, pos, step, &data) : 0;
                enum scout_step r = scout_feed(&s, data, n, &ret->members[ret->n]);

                assert_int_equal(scout_pos(&s) % SCOUT_BLOCK, 0);
                if (r == SCOUT_MEMBER) {
                        assert_true(++ret->n < MEMBERS_MAX);
                } else if (r != SCOUT_NEED) {
                        assert_int_equal(scout_feed(&s, data, n, &ret->members[ret->n]), r); /* it stays so */
                        ret->end = r;
                        return;
                }
                assert_true(scout_pos(&s) > pos);
        }
}

static la_ssize_t on_read(struct archive *a, void *userdata, const void **buffer) {
        struct blob *b = userdata;
        size_t n = blob_bytes(b, b->read, SIZE_MAX, buffer);

        (void)a;
        b->read += n;
        return (la_ssize_t)n;
}

static la_int64_t on_skip(struct archive *a, void *userdata, la_int64_t request) {
        struct blob *b = userdata;
        uint64_t left = blob_size(b) - b->read;
        uint64_t n = (uint64_t)request < left ? (uint64_t)request : left;

        (void)a;
        b->read += n;
        return (la_int64_t)n;
}

/* Files without holes of at least @min bytes, up to the end or the first complaint. */
static void read_all(struct view *ret, struct blob *b, uint64_t min) {
        struct archive *a = archive_read_new();
        struct archive_entry *entry;
        int r;

        memset(ret, 0, sizeof *ret);
        b->read = 0;
        assert_non_null(a);
        archive_read_support_format_tar(a);
        archive_read_support_format_empty(a);
        archive_read_set_read_callback(a, on_read);
        archive_read_set_skip_callback(a, on_skip);
        archive_read_set_callback_data(a, b);
        assert_int_equal(archive_read_open1(a), ARCHIVE_OK);
        while ((r = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
                uint64_t size = (uint64_t)archive_entry_size(entry);

                if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) ||
                    archive_entry_sparse_count(entry) > 0 || size < min)
                        continue;
                assert_true(ret->n + 1 < MEMBERS_MAX);
                ret->members[ret->n++] = (struct scout_member){
                        .header = (uint64_t)archive_read_header_position(a),
                        .data = (uint64_t)archive_filter_bytes(a, 0),
                        .size = size,
                };
        }
        ret->end = r == ARCHIVE_EOF ? SCOUT_END : SCOUT_LOST;
        if (r != ARCHIVE_EOF)
                print_message("libarchive: %s\n", archive_error_string(a));
        archive_read_free(a);
}

static void assert_same(const struct view *a, const struct view *b) {
        for (unsigned i = 0; i < a->n && i < b->n; i++) {
                assert_int_equal(a->members[i].header, b->members[i].header);
                assert_int_equal(a->members[i].data, b->members[i].data);
                assert_int_equal(a->members[i].size, b->members[i].size);
        }
        assert_int_equal(a->n, b->n);
        assert_int_equal(a->end, b->end);
}

/* Both read it to its end and find the same @n members. */
static void assert_agree(struct blob *b, uint64_t min, unsigned n) {
        static const size_t steps[] = { 512, 513, 1536, 10240, 1 << 20 };
        struct view theirs, ours;

        read_all(&theirs, b, min);
        assert_int_equal(theirs.end, SCOUT_END);
        assert_int_equal(theirs.n, n);
        for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
                look(&ours, b, min, steps[i]);
                assert_same(&ours, &theirs);
        }
}

/* After @n members. */
static void assert_lost(const struct blob *b, unsigned n) {
        struct view ours;

        look(&ours, b, 0, 4096);
        assert_int_equal(ours.end, SCOUT_LOST);
        assert_int_equal(ours.n, n);
}

/* ---- archives of real tars ---- */

/* Many kinds, with small and long names, holes and sizes around a block. */
static const char make_files[] =
    "mkdir -p \"$WORLD\"/files/dir; cd \"$WORLD\"/files;"
    "printf '' >empty; printf x >one; head -c 512 /dev/zero >block; head -c 513 /dev/urandom >dir/block1;"
    "ln block hard; ln -s one soft; ln -s /$(printf '%0150d' 0) longlink; mkfifo pipe;"
    "head -c 70000 /dev/urandom >dir/$(printf '%0120d' 0);"
    "mkdir -p $(printf 'deep%0.s/' 1 2 3 4 5)$(printf '%090d' 0); "
    "head -c 1000 /dev/urandom >$(printf 'deep%0.s/' 1 2 3 4 5)$(printf '%090d' 0)/name;"
    "truncate -s 3M holes; printf data | dd of=holes bs=1 seek=1000000 conv=notrunc status=none;"
    "head -c 5000 /dev/urandom >last;";

static void load(struct blob *b, const char *dir) {
        char path[128];
        char piece[4096];
        size_t n;

        snprintf(path, sizeof path, "%s/out.tar", dir);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        buf_clear(&b->head);
        while ((n = fread(piece, 1, sizeof piece, f)) > 0)
                assert_int_equal(buf_append(&b->head, piece, n), 0);
        fclose(f);
}

static void assert_agree_on(struct world *w, const char *command, unsigned n) {
        print_message("%s\n", command);
        run(w->dir, command);
        load(&w->blob, w->dir);
        assert_agree(&w->blob, 0, n);
}

static void test_archives_of_gnu_tar(void **state) {
        struct world *w = *state;

        run(w->dir, make_files);
        assert_agree_on(w, "cd \"$WORLD\"/files && tar --format=gnu -cf ../out.tar .", 8);
        assert_agree_on(w, "cd \"$WORLD\"/files && tar --format=oldgnu -cf ../out.tar .", 8);
        assert_agree_on(w, "cd \"$WORLD\"/files && tar --format=posix -cf ../out.tar .", 8);
        assert_agree_on(w,
                        "cd \"$WORLD\"/files && rm -rf dir/0* && tar --format=ustar -cf ../out.tar "
                        "--exclude=longlink . && mv longlink ..",
                        7);
        assert_agree_on(w, "cd \"$WORLD\"/files && rm -r deep pipe && tar --format=v7 -cf ../out.tar .", 6);
}

static void test_sparse_archives_of_gnu_tar(void **state) {
        struct world *w = *state;

        /* libarchive passes over the third way's map too, but the file's data are behind it. */
        run(w->dir, make_files);
        assert_agree_on(w, "cd \"$WORLD\"/files && tar -S --hole-detection=raw --format=gnu -cf ../out.tar .",
                        7);
        for (unsigned version = 0; version < 3; version++) {
                static const char *const versions[] = { "0.0", "0.1", "1.0" };
                char command[256];

                snprintf(command, sizeof command,
                         "cd \"$WORLD\"/files && tar -S --hole-detection=raw --format=posix "
                         "--sparse-version=%s -cf ../out.tar .",
                         versions[version]);
                assert_agree_on(w, command, 7);
        }
        /* Enough pieces for blocks that continue the map. */
        assert_agree_on(w,
                        "cd \"$WORLD\"/files && for i in $(seq 60); do printf data | "
                        "dd of=holes bs=1 seek=$((i * 40000)) conv=notrunc status=none; done; "
                        "tar -S --hole-detection=raw --format=gnu -cf ../out.tar .",
                        7);
}

static void test_archives_of_python(void **state) {
        struct world *w = *state;
        static const char *const formats[] = { "GNU", "PAX" };

        run(w->dir, make_files);
        for (unsigned i = 0; i < 2; i++) {
                char command[256];

                snprintf(command, sizeof command,
                         "cd \"$WORLD\"/files && python3 -c 'import tarfile\n"
                         "with tarfile.open(\"../out.tar\", \"w\", format=tarfile.%s_FORMAT, "
                         "pax_headers={\"comment\": \"of all\"}) as t: t.add(\".\")'",
                         formats[i]);
                assert_agree_on(w, command, 8);
        }
        assert_agree_on(
            w,
            "cd \"$WORLD\"/files && rm -r dir/0* longlink && python3 -c 'import tarfile\n"
            "with tarfile.open(\"../out.tar\", \"w\", format=tarfile.USTAR_FORMAT) as t: t.add(\".\")'",
            7);
}

/* libarchive's writer, which is bsdtar's: a file, a link to it, one with a long name, one with attributes. */
static void write_libarchive(struct world *w, int format) {
        static const char *const names[] = { "a", "dir/b", "a-very-%0150d", "dir/c" };
        struct archive *a = archive_write_new();
        char path[128], name[256], data[3000] = { 1 };

        snprintf(path, sizeof path, "%s/out.tar", w->dir);
        assert_int_equal(archive_write_set_format(a, format), ARCHIVE_OK);
        assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                struct archive_entry *entry = archive_entry_new();

                if (i == 2)
                        snprintf(
                            name, sizeof name, "a-long-name-%0*d",
                            format == ARCHIVE_FORMAT_TAR || format == ARCHIVE_FORMAT_TAR_USTAR ? 80 : 180, 0);
                else
                        snprintf(name, sizeof name, "%s", names[i]);
                archive_entry_set_pathname(entry, name);
                archive_entry_set_filetype(entry, AE_IFREG);
                archive_entry_set_perm(entry, 0644);
                archive_entry_set_mtime(entry, 1000, i == 3 ? 5 : 0);
                archive_entry_set_size(entry, 700 * (la_int64_t)i);
                assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
                assert_int_equal(archive_write_data(a, data, 700 * i), 700 * i);
                archive_entry_clear(entry);
                archive_entry_set_pathname(entry, "link");
                archive_entry_set_hardlink(entry, name);
                archive_entry_set_perm(entry, 0644);
                assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
                archive_entry_free(entry);
        }
        assert_int_equal(archive_write_free(a), ARCHIVE_OK);
        load(&w->blob, w->dir);
}

static void test_archives_of_libarchive(void **state) {
        static const int formats[] = { ARCHIVE_FORMAT_TAR, ARCHIVE_FORMAT_TAR_USTAR,
                                       ARCHIVE_FORMAT_TAR_GNUTAR, ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE,
                                       ARCHIVE_FORMAT_TAR_PAX_RESTRICTED };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
                write_libarchive(w, formats[i]);
                assert_agree(&w->blob, 0, 4);
        }
}

/* ---- sizes ---- */

/* The header of a file of 9 GiB as real tars write it, its data in the gap, and a small file behind it. */
static void assert_agree_on_large(struct world *w, const char *command) {
        print_message("%s\n", command);
        run(w->dir, command);
        load(&w->blob, w->dir);
        w->blob.gap = 9 * GIB;
        buf_clear(&w->blob.tail);
        tar_file(&w->blob.tail, "small", "behind it");
        tar_end(&w->blob.tail);
        assert_agree(&w->blob, 1, 2);
}

/* The data follow at once, so what the tar has written before them is what stands before the first mark. */
static const char gnu_headers[] =
    "cd \"$WORLD\" && truncate -s 9G big && printf @@MARK@@ | dd of=big conv=notrunc status=none; "
    "(tar --format=%s -cf - big 2>errors || true) | head -c 8192 >some; "
    "head -c $(grep -abo @@MARK@@ some | head -n 1 | cut -d: -f1) some >out.tar";
static const char python_headers[] =
    "cd \"$WORLD\" && python3 -c 'import tarfile\nt = tarfile.TarInfo(\"big\"); t.size = 9 << 30; "
    "open(\"out.tar\", \"wb\").write(t.tobuf(tarfile.%s_FORMAT))'";

static void test_members_of_more_than_8_gib(void **state) {
        struct world *w = *state;
        char command[512];

        snprintf(command, sizeof command, gnu_headers, "gnu");
        assert_agree_on_large(w, command);
        snprintf(command, sizeof command, gnu_headers, "posix");
        assert_agree_on_large(w, command);
        snprintf(command, sizeof command, python_headers, "GNU");
        assert_agree_on_large(w, command);
        snprintf(command, sizeof command, python_headers, "PAX");
        assert_agree_on_large(w, command);
}

static void test_only_members_of_the_least_size_are_told(void **state) {
        struct world *w = *state;
        struct view ours;

        tar_file(&w->blob.head, "a", "1234");
        tar_file(&w->blob.head, "b", "12345");
        tar_file(&w->blob.head, "c", "");
        tar_end(&w->blob.head);
        look(&ours, &w->blob, 5, 4096);
        assert_int_equal(ours.end, SCOUT_END);
        assert_int_equal(ours.n, 1);
        assert_int_equal(ours.members[0].header, 1024);
        assert_int_equal(ours.members[0].data, 1536);
        assert_int_equal(ours.members[0].size, 5);
}

/* ---- headers that no tar of today writes ---- */

static void fix_checksum(char *h, bool is_signed) {
        int sum = 0;

        memset(h + 148, ' ', 8);
        for (unsigned i = 0; i < TAR_BLOCK; i++)
                sum += is_signed ? (signed char)h[i] : (unsigned char)h[i];
        snprintf(h + 148, 8, "%06o", (unsigned)sum);
}

/* The header that was appended last, with @len bytes at @offset changed. */
static void patch(struct buf *b, unsigned offset, const void *bytes, size_t len) {
        char *h = b->data + b->len - TAR_BLOCK;

        memcpy(h + offset, bytes, len);
        fix_checksum(h, false);
}

static void header_with_size(struct buf *b, const char field[static 12]) {
        tar_header(b, '0', "a", NULL, 0, 0644);
        patch(b, 124, field, 12);
}

static void test_sizes_are_read_as_libarchive_does(void **state) {
        static const char *const fields[] = {
                "00000000003\0", "          3\0",          "\t 3\0\0\0\0\0\0\0\0",         "000000000003",
                "3 garbage...",  "\0\0\0\0\0\0\0\0\0\0\0", "\x80\0\0\0\0\0\0\0\0\0\0\x03",
        };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
                header_with_size(&w->blob.head, fields[i]);
                if (fields[i][0])
                        tar_data(&w->blob.head, "abc", 3);
        }
        tar_end(&w->blob.head);
        assert_agree(&w->blob, 0, sizeof fields / sizeof *fields);
}

static void test_checksums_of_signed_bytes(void **state) {
        struct world *w = *state;

        tar_file(&w->blob.head, "f\xc3\xbcr", "abc");
        fix_checksum(w->blob.head.data, true);
        tar_end(&w->blob.head);
        assert_int_equal(setlocale(LC_CTYPE, "C.UTF-8") != NULL, true);
        assert_agree(&w->blob, 0, 1);
}

static void test_regular_files_of_all_kinds(void **state) {
        struct world *w = *state;

        for (const char *type = "07"; *type; type++) {
                tar_header(&w->blob.head, *type, "a", NULL, 3, 0644);
                tar_data(&w->blob.head, "abc", 3);
        }
        tar_header(&w->blob.head, '\0', "v7", NULL, 3, 0644);
        patch(&w->blob.head, 257, "\0\0\0\0\0\0\0", 8);
        tar_data(&w->blob.head, "abc", 3);
        tar_end(&w->blob.head);
        assert_agree(&w->blob, 0, 3);
}

static void test_a_name_with_a_slash_is_a_directory(void **state) {
        struct world *w = *state;

        tar_file(&w->blob.head, "dir/", "");
        tar_gnu_long(&w->blob.head, 'L', "a/long");
        tar_file(&w->blob.head, "a/", "is the beginning of the long name");
        tar_pax(&w->blob.head, "path", "a/long/name");
        tar_file(&w->blob.head, "a/", "the same");
        tar_pax(&w->blob.head, "path", "");
        tar_file(&w->blob.head, "a", "no name is none");
        tar_end(&w->blob.head);
        assert_agree(&w->blob, 0, 3);
}

/* Versions of libarchive differ in whether it has data. */
static void test_a_directory_of_any_size(void **state) {
        struct world *w = *state;
        char *name = calloc(1, 2000);

        tar_file(&w->blob.head, "dir/", "abc");
        tar_end(&w->blob.head);
        assert_lost(&w->blob, 0);
        buf_clear(&w->blob.head);
        tar_file(&w->blob.head, "", "abc");
        memcpy(w->blob.head.data + 345, "dir", 3); /* its prefix */
        fix_checksum(w->blob.head.data, false);
        tar_end(&w->blob.head);
        assert_lost(&w->blob, 0);
        for (unsigned len = 1020; len < 1030; len++) {
                memset(name, 'n', len);
                name[len - 1] = '/';
                buf_clear(&w->blob.head);
                tar_gnu_long(&w->blob.head, 'L', name);
                tar_file(&w->blob.head, "a", "abc");
                tar_end(&w->blob.head);
                assert_lost(&w->blob, 0);
        }
        buf_clear(&w->blob.head);
        tar_pax(&w->blob.head, "path", "a/long/name/");
        tar_file(&w->blob.head, "a", "abc");
        tar_end(&w->blob.head);
        assert_lost(&w->blob, 0);
        free(name);
}

static void test_links_and_directories_have_no_data(void **state) {
        struct world *w = *state;

        for (const char *type = "23456"; *type; type++)
                tar_header(&w->blob.head, *type, "a", "b", 4096, 0644);
        tar_header(&w->blob.head, '1', "v7", "b", 4096, 0644);
        patch(&w->blob.head, 257, "\0\0\0\0\0\0\0", 8);
        tar_header(&w->blob.head, '1', "gnu", "b", 4096, 0644);
        patch(&w->blob.head, 257, "ustar  ", 8);
        tar_file(&w->blob.head, "a", "abc");
        tar_end(&w->blob.head);
        assert_agree(&w->blob, 0, 1);
}

static void test_the_size_of_the_pax_header_counts(void **state) {
        struct world *w = *state;
        struct buf records = BUF_INIT(1 << 20);
        char *long_value = calloc(1, 12000);

        memset(long_value, 'v', 11999);
        tar_pax_record(&records, "SCHILY.xattr.user.long", long_value);
        tar_pax_record(&records, "size", "0600");
        tar_pax_record(&records, "sizes", "7");
        tar_pax_record(&records, "comment", "two\nlines, 12 size=7");
        tar_header(&w->blob.head, 'x', "PaxHeaders/x", NULL, records.len, 0644);
        tar_data(&w->blob.head, records.data, records.len);
        tar_header(&w->blob.head, '0', "a", NULL, 0, 0644);
        tar_data(&w->blob.head, long_value, 600);
        tar_file(&w->blob.head, "b", "abc");
        tar_end(&w->blob.head);

        struct view ours;
        look(&ours, &w->blob, 0, 4096);
        assert_int_equal(ours.end, SCOUT_END);
        assert_int_equal(ours.n, 2);
        assert_int_equal(ours.members[0].header, 0);
        assert_int_equal(ours.members[0].size, 600);
        assert_int_equal(ours.members[1].size, 3);
        assert_agree(&w->blob, 0, 2);
        buf_free(&records);
        free(long_value);
}

static void test_a_global_header_without_size_is_harmless(void **state) {
        struct world *w = *state;
        struct buf record = BUF_INIT(1 << 20);

        tar_pax_record(&record, "comment", "0123456789abcdef");
        tar_header(&w->blob.head, 'g', "pax_global_header", NULL, record.len, 0644);
        tar_data(&w->blob.head, record.data, record.len);
        tar_pax(&w->blob.head, "mtime", "1.5");
        tar_file(&w->blob.head, "a", "abc");
        tar_end(&w->blob.head);
        assert_agree(&w->blob, 0, 1);
        buf_free(&record);
}

/* As umoci writes them: no padding, no end mark. */
static void test_the_end_may_be_bare(void **state) {
        struct world *w = *state;
        struct view ours;

        tar_file(&w->blob.head, "a", "abc");
        w->blob.head.len = 515;
        look(&ours, &w->blob, 0, 4096);
        assert_int_equal(ours.end, SCOUT_END);
        assert_int_equal(ours.n, 1);
        w->blob.head.len = 100; /* and so may be all of it */
        look(&ours, &w->blob, 0, 4096);
        assert_int_equal(ours.end, SCOUT_END);
        w->blob.head.len = 0;
        assert_agree(&w->blob, 0, 0);
}

static void test_nothing_counts_behind_an_empty_block(void **state) {
        struct world *w = *state;

        tar_file(&w->blob.head, "a", "abc");
        tar_end(&w->blob.head);
        w->blob.head.len -= TAR_BLOCK;
        tar_file(&w->blob.head, "b", "abc");
        tar_file(&w->blob.head, "c", "abc");
        tar_end(&w->blob.head);
        assert_agree(&w->blob, 0, 1);
}

/* ---- doubt ---- */

static void test_what_is_no_tar(void **state) {
        struct world *w = *state;

        for (unsigned i = 0; i < 4096; i++)
                assert_int_equal(buf_append(&w->blob.head, "x", 1), 0);
        assert_lost(&w->blob, 0);
}

static void test_a_wrong_checksum(void **state) {
        struct world *w = *state;

        tar_file(&w->blob.head, "a", "abc");
        tar_file(&w->blob.head, "b", "abc");
        w->blob.head.data[1024]++;
        tar_end(&w->blob.head);
        assert_lost(&w->blob, 1);
        w->blob.head.data[1024]--;
        w->blob.head.data[1024 + 148] = '8';
        assert_lost(&w->blob, 1);
}

static void test_impossible_sizes(void **state) {
        static const char *const fields[] = {
                "-0000000001\0", /* negative */
                "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                "\xc0\0\0\0\0\0\0\0\0\0\0\x03",
                "\x80\0\0\0\x80\0\0\0\0\0\0\0", /* 2^63 */
                "\x80\0\0\x01\0\0\0\0\0\0\0\0", /* 2^64 */
                "\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", /* rounded up it does not fit */
                "77777777777\0",                              /* more than there is */
                "00000002001\0",                              /* by one byte: 1024 are left */
        };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
                buf_clear(&w->blob.head);
                tar_file(&w->blob.head, "before", "abc");
                header_with_size(&w->blob.head, fields[i]);
                tar_end(&w->blob.head);
                assert_lost(&w->blob, 1);
        }
}

static void lost_with_pax(struct world *w, char type, const void *body, size_t len) {
        buf_clear(&w->blob.head);
        tar_file(&w->blob.head, "before", "abc");
        tar_header(&w->blob.head, type, "PaxHeaders/x", NULL, len, 0644);
        tar_data(&w->blob.head, body, len);
        tar_file(&w->blob.head, "a", "abc");
        tar_end(&w->blob.head);
        assert_lost(&w->blob, 1);
}

static void test_malformed_pax_headers(void **state) {
        static const char *const bodies[] = {
                "9 size=3\nx", /* a record begins behind the last one */
                "9 size=3x",   /* no line */
                "11 size=3\n", /* too long */
                "8 size=3\n",  /* too short */
                "size=3\n",    /* no length */
                " 9 size=3\n",
                "-9 size=3\n",
                "99999999999999999999999999999999 size=3\n",
                "2 \n",
                "3 \n\n",
                "5 a=\n6 abc\n",
                "7 =abc\n",
                "8 size=\n", /* readers differ */
                "11 size=+3\n",
                "11 size=-3\n",
                "12 size=3 k\n",
                "28 size=9223372036854775808\n",
                "32 size=99999999999999999999999\n",
                "14 size=99999\n", /* more than there is */
                "",
        };
        struct world *w = *state;

        for (size_t i = 0; *bodies[i]; i++) {
                print_message("%s\n", bodies[i]);
                lost_with_pax(w, 'x', bodies[i], strlen(bodies[i]));
        }
        lost_with_pax(w, 'x', "12 k\0ey=abc\n", 12);
        lost_with_pax(w, 'x', "12 key=abcd\n\0\0", 14);
        lost_with_pax(w, 'g', "9 size=3\n", 9);
        lost_with_pax(w, 'g', "22 GNU.sparse.major=1\n", 22);
}

static void test_extensions_that_are_too_long(void **state) {
        struct world *w = *state;
        char *zeros = calloc(1, 2 << 20);

        for (const char *type = "xgLK"; *type; type++) {
                buf_clear(&w->blob.head);
                tar_header(&w->blob.head, *type, "x", NULL, (1 << 20) + 1, 0644);
                tar_data(&w->blob.head, zeros, (1 << 20) + 1);
                tar_file(&w->blob.head, "a", "abc");
                assert_lost(&w->blob, 0);
        }
        free(zeros);
        for (const char *type = "xgLK"; *type; type++) { /* than the blob */
                buf_clear(&w->blob.head);
                tar_header(&w->blob.head, *type, "x", NULL, 1025, 0644);
                tar_end(&w->blob.head);
                assert_lost(&w->blob, 0);
        }
}

static void test_two_extensions_of_one_kind(void **state) {
        struct world *w = *state;

        for (const char *type = "LKx"; *type; type++) {
                buf_clear(&w->blob.head);
                for (unsigned i = 0; i < 2; i++) {
                        tar_header(&w->blob.head, *type, "x", NULL, 12, 0644);
                        tar_data(&w->blob.head, "12 key=abcd\n", 12);
                }
                tar_file(&w->blob.head, "a", "abc");
                tar_end(&w->blob.head);
                assert_lost(&w->blob, 0);
        }
        buf_clear(&w->blob.head);
        for (unsigned i = 0; i < 33; i++)
                tar_header(&w->blob.head, 'g', "x", NULL, 0, 0644);
        tar_file(&w->blob.head, "a", "abc");
        tar_end(&w->blob.head);
        assert_lost(&w->blob, 0);
}

static void test_members_whose_data_readers_disagree_about(void **state) {
        struct world *w = *state;

        tar_header(&w->blob.head, '1', "a", "b", 512, 0644); /* a hard link of PAX may have data */
        tar_end(&w->blob.head);
        assert_lost(&w->blob, 0);
        for (const char *type = "2345"; *type; type++) {
                buf_clear(&w->blob.head);
                tar_pax(&w->blob.head, "size", "512");
                tar_header(&w->blob.head, *type, "a", "b", 0, 0644);
                tar_end(&w->blob.head);
                assert_lost(&w->blob, 0);
        }
        for (const char *type = "SADMNVaq9\x80"; *type;
             type++) { /* 'S': sparse is GNU's, and this is ustar */
                buf_clear(&w->blob.head);
                tar_header(&w->blob.head, *type, "a", "b", 512, 0644);
                tar_end(&w->blob.head);
                assert_lost(&w->blob, 0);
        }
}

static void test_a_map_that_never_ends(void **state) {
        struct world *w = *state;
        uint8_t block[TAR_BLOCK];
        struct view ours;

        memset(block, '1', sizeof block);
        tar_header(&w->blob.head, 'S', "a", NULL, 512, 0644);
        patch(&w->blob.head, 257, "ustar  ", 8);
        patch(&w->blob.head, 386, block, 97);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(buf_append(&w->blob.head, block, sizeof block), 0);
        look(&ours, &w->blob, 0, 4096);
        assert_int_equal(ours.end, SCOUT_END);
        assert_int_equal(ours.n, 0);
        w->blob.head.data[w->blob.head.len - 8] = '\0'; /* its last block, and no data */
        assert_lost(&w->blob, 0);
}

static void test_a_blob_beyond_all_sizes(void **state) {
        struct scout s;
        struct scout_member m;
        char block[SCOUT_BLOCK] = { 0 };

        (void)state;
        scout_init(&s, UINT64_MAX, 0);
        assert_int_equal(scout_feed(&s, block, sizeof block, &m), SCOUT_LOST);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_archives_of_gnu_tar, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_sparse_archives_of_gnu_tar, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_archives_of_python, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_archives_of_libarchive, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_members_of_more_than_8_gib, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_only_members_of_the_least_size_are_told, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_sizes_are_read_as_libarchive_does, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_checksums_of_signed_bytes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_regular_files_of_all_kinds, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_name_with_a_slash_is_a_directory, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_directory_of_any_size, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_links_and_directories_have_no_data, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_size_of_the_pax_header_counts, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_global_header_without_size_is_harmless, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_the_end_may_be_bare, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_nothing_counts_behind_an_empty_block, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_what_is_no_tar, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_wrong_checksum, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_impossible_sizes, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_malformed_pax_headers, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_extensions_that_are_too_long, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_two_extensions_of_one_kind, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_members_whose_data_readers_disagree_about, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_a_map_that_never_ends, set_up, tear_down),
                cmocka_unit_test(test_a_blob_beyond_all_sizes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
