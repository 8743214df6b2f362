/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: fsync */
#include "tests/unit/stager/tar_builder.h"

#include "base/path.h"
#include "cache/cache.h"
#include "stager/unpack.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

struct world {
        char dir[64];
        int dir_fd, tree_fd; /* DIR and DIR/tree */
        bool fails;          /* the source, where the stream ends */
        struct buf tar;
        size_t given, step;
        struct unpack_result result;
        struct error error;
        uint64_t grown, grow_limit;
};

static ino_t flushed[100]; /* what fsync() was called for */
static unsigned n_flushed;

int __real_fsync(int fd);
int __wrap_fsync(int fd);

int __wrap_fsync(int fd) {
        struct stat st;

        assert_int_equal(fstat(fd, &st), 0);
        if (n_flushed < sizeof flushed / sizeof *flushed)
                flushed[n_flushed++] = st.st_ino;
        return __real_fsync(fd);
}

static int set_up(void **state) {
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->dir, sizeof w->dir, "/tmp/unpack-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(mkdirat(w->dir_fd, "tree", 0755), 0);
        w->tree_fd = openat(w->dir_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(mkdirat(w->dir_fd, "outside", 0755), 0);
        w->tar.max = 16 << 20;
        w->step = SIZE_MAX;
        w->grow_limit = UINT64_MAX;
        *state = w;
        return 0;
}

static int tear_down(void **state) {
        struct world *w = *state;

        close(w->tree_fd);
        close(w->dir_fd);
        _cleanup_close_ int parent = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(path_remove_tree(parent, path_base(w->dir), NULL), 0);
        buf_free(&w->tar);
        free(w);
        return 0;
}

static int next(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct world *w = userdata;
        size_t n = w->tar.len - w->given < w->step ? w->tar.len - w->given : w->step;

        if (n == 0)
                return w->fails ? error_set(e, ERROR_UNAVAILABLE, "the registry has gone") : 0;
        *ret = w->tar.data + w->given;
        *ret_len = n;
        w->given += n;
        return 1;
}

static int grow(void *userdata, uint64_t bytes, struct error *e) {
        struct world *w = userdata;

        if (bytes > w->grow_limit - w->grown)
                return error_set(e, ERROR_NO_SPACE, "no more");
        w->grown += bytes;
        return 0;
}

/* All of it. */
static int unpack_whole(struct world *w, struct placer *p, const struct unpack_source *source) {
        struct unpack_notes notes = { .n_files = 0 };
        int r = unpack_tar(&w->result, w->tree_fd, p, source, &notes, &w->error);

        if (r == 0)
                r = unpack_finish(w->tree_fd, p, &notes, &w->error);
        unpack_notes_clear(&notes);
        return r;
}

static int unpack(struct world *w) {
        const struct unpack_source source = { .next = next, .userdata = w };
        struct placer p = { .allowed = w->tar.len, .grow = grow, .userdata = w };

        w->given = 0;
        w->error.kind = ERROR_NONE;
        placer_init(&p);
        int r = unpack_whole(w, &p, &source);
        placer_destroy(&p);
        return r;
}

static void assert_unpacks(struct world *w) {
        int r = unpack(w);

        if (r < 0)
                fail_msg("%s", w->error.text);
}

static void assert_refused(struct world *w, enum error_kind kind) {
        assert_true(unpack(w) < 0);
        assert_int_equal(w->error.kind, kind);
        assert_true(strlen(w->error.text) > 0);
}

static void assert_content(struct world *w, const char *name, const char *want) {
        char *got = NULL;
        size_t len;

        if (path_read_file(&got, &len, w->tree_fd, name, 1 << 20, &w->error) < 0)
                fail_msg("%s: %s", name, w->error.text);
        assert_string_equal(got, want);
        free(got);
}

static struct stat look(struct world *w, const char *name) {
        struct stat st;

        if (fstatat(w->tree_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                fail_msg("%s is missing", name);
        return st;
}

static void assert_missing(struct world *w, const char *name) {
        struct stat st;

        if (fstatat(w->tree_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                fail_msg("%s is there", name);
}

static void test_files_directories_and_links_come_out_as_they_went_in(void **state) {
        struct world *w = *state;
        char target[32] = { 0 };

        tar_header(&w->tar, '5', "./models/", NULL, 0, 0700);
        tar_file(&w->tar, "./models/config.json", "{}");
        tar_file(&w->tar, "implicit/parent/file", "deep");
        tar_file(&w->tar, "models/empty", "");
        tar_header(&w->tar, '2', "models/latest", "config.json", 0, 0777);
        tar_header(&w->tar, '1', "models/same", "./models/config.json", 0, 0644);
        tar_end(&w->tar);
        for (size_t step = 1; step <= 4096; step *= 64) {
                w->step = step;
                assert_unpacks(w);
                assert_int_equal(w->result.files, 3);
                assert_content(w, "models/config.json", "{}");
                assert_content(w, "implicit/parent/file", "deep");
                assert_content(w, "models/empty", "");
                assert_int_equal(look(w, "models/same").st_ino, look(w, "models/config.json").st_ino);
                assert_true(readlinkat(w->tree_fd, "models/latest", target, sizeof target - 1) > 0);
                assert_string_equal(target, "config.json");
        }
        assert_int_equal(look(w, "models").st_mtim.tv_sec, 1000000000);
        assert_int_equal(look(w, "models/config.json").st_mtim.tv_sec, 1000000000);
}

static void test_modes_let_everybody_read_and_nobody_gain(void **state) {
        static const struct {
                unsigned mode, want;
        } cases[] = { { 0, 0444 }, { 0600, 0644 }, { 04777, 0755 }, { 06666, 0644 }, { 01555, 0555 } };
        struct world *w = *state;
        char name[] = "a";

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++, name[0]++)
                tar_header(&w->tar, '0', name, NULL, 0, cases[i].mode);
        tar_header(&w->tar, '5', "dir", NULL, 0, 02000);
        tar_end(&w->tar);
        assert_unpacks(w);
        name[0] = 'a';
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++, name[0]++)
                assert_int_equal(look(w, name).st_mode & 07777, cases[i].want);
        assert_int_equal(look(w, "dir").st_mode & 07777, 0755);
        assert_int_equal(look(w, "a").st_uid, geteuid());
}

static void test_names_that_leave_the_tree_are_refused(void **state) {
        static const char *const names[] = { "../outside/x", "a/../../outside/x", "..", "a/..", "bad\nname" };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                buf_clear(&w->tar);
                tar_file(&w->tar, names[i], "evil");
                tar_end(&w->tar);
                assert_refused(w, ERROR_INVALID);
        }
        assert_int_equal(faccessat(w->dir_fd, "outside/x", F_OK, 0), -1);
}

static void test_absolute_names_are_below_the_tree(void **state) {
        struct world *w = *state;

        tar_file(&w->tar, "//etc/model", "inside");
        tar_header(&w->tar, '1', "/etc/other", "/etc/model", 0, 0644);
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_content(w, "etc/model", "inside");
        assert_content(w, "etc/other", "inside");
}

static void test_nothing_is_written_through_a_link_of_the_archive(void **state) {
        static const char *const targets[] = { "../outside", "/", ".", "real" };
        struct world *w = *state;

        assert_int_equal(mkdirat(w->tree_fd, "real", 0755), 0);
        for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
                buf_clear(&w->tar);
                tar_header(&w->tar, '2', "link", targets[i], 0, 0777);
                tar_file(&w->tar, "link/x", "evil");
                tar_end(&w->tar);
                assert_refused(w, ERROR_INVALID);
                assert_non_null(strstr(w->error.text, "link/x"));
        }
        assert_int_equal(faccessat(w->dir_fd, "outside/x", F_OK, 0), -1);
        assert_missing(w, "x");
        assert_missing(w, "real/x");
}

static void test_a_later_file_replaces_a_link_and_not_its_target(void **state) {
        struct world *w = *state;

        tar_file(&w->tar, "target", "old");
        tar_header(&w->tar, '2', "soft", "target", 0, 0777);
        tar_header(&w->tar, '1', "hard", "target", 0, 0644);
        tar_file(&w->tar, "soft", "new soft");
        tar_file(&w->tar, "hard", "new hard");
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_content(w, "target", "old");
        assert_content(w, "soft", "new soft");
        assert_content(w, "hard", "new hard");
        assert_int_equal(look(w, "target").st_nlink, 1);
}

static void test_last_of_a_name_wins_whatever_its_kind(void **state) {
        struct world *w = *state;

        tar_file(&w->tar, "a", "first");
        tar_file(&w->tar, "a", "second");
        tar_file(&w->tar, "d/inner", "gone");
        tar_file(&w->tar, "d", "file");
        tar_file(&w->tar, "f", "gone");
        tar_header(&w->tar, '5', "f", NULL, 0, 0755);
        tar_file(&w->tar, "f/inner", "here");
        tar_header(&w->tar, '5', "f", NULL, 0, 0755);
        tar_file(&w->tar, "g/h/one", "gone");
        tar_file(&w->tar, "g", "gone");
        tar_header(&w->tar, '5', "g", NULL, 0, 0755);
        tar_file(&w->tar, "g/h/two", "here");
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_content(w, "a", "second");
        assert_content(w, "d", "file");
        assert_content(w, "f/inner", "here");
        assert_content(w, "g/h/two", "here");
        assert_int_equal(faccessat(w->tree_fd, "g/h/one", F_OK, 0), -1);
}

/* What was to be flushed, or to get its time, is a link now. */
static void test_a_link_may_be_the_last_of_a_name(void **state) {
        struct world *w = *state;

        tar_header(&w->tar, '5', "d", NULL, 0, 0755);
        tar_file(&w->tar, "d/inner", "gone");
        tar_header(&w->tar, '2', "d", "elsewhere", 0, 0777);
        tar_file(&w->tar, "f", "gone");
        tar_header(&w->tar, '2', "f", "elsewhere", 0, 0777);
        tar_file(&w->tar, "p/q/inner", "gone");
        tar_header(&w->tar, '2', "p", "d", 0, 0777);
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_true(S_ISLNK(look(w, "d").st_mode));
        assert_true(S_ISLNK(look(w, "f").st_mode));
        assert_true(S_ISLNK(look(w, "p").st_mode));
}

static void test_hard_link_out_of_the_layer_becomes_a_marker(void **state) {
        struct world *w = *state;

        tar_file(&w->tar, "taken", "old");
        tar_header(&w->tar, '1', "dir/name", "./lower/file", 0, 0644);
        tar_header(&w->tar, '1', "taken", "lower/other", 0, 0644);
        tar_header(&w->tar, '1', "back", "lower/third", 0, 0644);
        tar_file(&w->tar, "back", "a file again");
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_content(w, "dir/.wh..wh.link.name", "lower/file");
        assert_missing(w, "dir/name");
        assert_content(w, ".wh..wh.link.taken", "lower/other");
        assert_missing(w, "taken");
        assert_missing(w, ".wh..wh.link.back");
        assert_content(w, "back", "a file again");
}

static void test_hard_links_that_lead_astray_are_refused(void **state) {
        static const char *const targets[] = { "../outside/x",  "..", "", "dir", "soft/x", ".wh.x",
                                               ".wh..wh.link.x" };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
                buf_clear(&w->tar);
                tar_header(&w->tar, '5', "dir", NULL, 0, 0755);
                tar_header(&w->tar, '2', "soft", "../outside", 0, 0777);
                tar_header(&w->tar, '1', "evil", targets[i], 0, 0644);
                tar_end(&w->tar);
                assert_refused(w, ERROR_INVALID);
                assert_missing(w, "evil");
        }
}

static void test_hard_link_to_a_symbolic_link_links_the_link(void **state) {
        struct world *w = *state;
        struct stat outside;

        tar_header(&w->tar, '2', "soft", "../outside", 0, 0777);
        tar_header(&w->tar, '1', "hard", "soft", 0, 0644);
        tar_header(&w->tar, '1', "soft", "soft", 0, 0644);
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_true(S_ISLNK(look(w, "hard").st_mode));
        assert_int_equal(look(w, "hard").st_ino, look(w, "soft").st_ino);
        assert_int_equal(fstatat(w->dir_fd, "outside", &outside, 0), 0);
        assert_int_equal(outside.st_nlink, 2);
}

static void assert_flushed(struct world *w, const char *name) {
        ino_t ino = look(w, name).st_ino;

        for (unsigned i = 0; i < n_flushed; i++)
                if (flushed[i] == ino)
                        return;
        fail_msg("%s was not flushed", name);
}

static void test_few_files_are_flushed_one_by_one_with_their_directories(void **state) {
        static const char *const names[] = {
                "a",        "dir/deep/b", "dir/.wh..wh.link.name", "dir/.wh..wh..opq", "dir/.wh.linked",
                "dir/deep", "dir"
        };
        struct world *w = *state;

        tar_file(&w->tar, "a", "x");
        tar_file(&w->tar, "dir/deep/b", "x");
        tar_header(&w->tar, '1', "dir/name", "lower/file", 0, 0644);
        tar_file(&w->tar, "dir/.wh..wh..opq", "");
        tar_header(&w->tar, '1', "dir/.wh.linked", ".wh..wh.aufs", 0, 0644);
        tar_end(&w->tar);
        n_flushed = 0;
        assert_unpacks(w);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                assert_flushed(w, names[i]);
        struct stat st;
        assert_int_equal(fstat(w->tree_fd, &st), 0);
        assert_int_equal(flushed[n_flushed - 1], st.st_ino);
}

static void test_each_directory_is_flushed_once(void **state) {
        struct world *w = *state;

        tar_header(&w->tar, '5', "dir", NULL, 0, 0755);
        tar_header(&w->tar, '5', "dir/empty", NULL, 0, 0755);
        tar_file(&w->tar, "dir/a/b/c/d/one", "x");
        tar_file(&w->tar, "dir/a/b/c/d/two", "x");
        tar_file(&w->tar, "dir/a/b/other", "x");
        tar_file(&w->tar, "dir/ab", "x");
        tar_end(&w->tar);
        n_flushed = 0;
        assert_unpacks(w);
        assert_int_equal(n_flushed, 4 + 5 + 1 + 1); /* files, their directories, dir/empty, the tree */
        for (unsigned i = 0; i < n_flushed; i++)
                for (unsigned k = 0; k < i; k++)
                        assert_int_not_equal(flushed[i], flushed[k]);
        assert_int_equal(look(w, "dir").st_mtim.tv_sec, 1000000000);
}

static void test_directories_are_not_made_deeper_than_the_cache_takes(void **state) {
        struct world *w = *state;
        char path[2 * CACHE_TREE_DEPTH_MAX + 8];

        for (int file = 0; file < 2; file++)
                for (size_t more = 0; more < 2; more++) {
                        size_t deepest = CACHE_TREE_DEPTH_MAX - 1 + more; /* the tree itself is one */

                        buf_clear(&w->tar);
                        for (size_t i = 0; i < deepest; i++)
                                memcpy(path + 2 * i, "d/", 2);
                        strcpy(path + 2 * deepest, file ? "f" : "");
                        tar_gnu_long(&w->tar, 'L', path);
                        tar_header(&w->tar, file ? '0' : '5', "short", NULL, 0, 0755);
                        tar_end(&w->tar);
                        if (!more)
                                assert_unpacks(w);
                        else
                                assert_refused(w, ERROR_INVALID);
                }
        path[2 * CACHE_TREE_DEPTH_MAX - 1] = '\0';
        assert_missing(w, path);
}

static void test_whiteouts_are_left_for_the_cache(void **state) {
        struct world *w = *state;

        tar_file(&w->tar, "dir/.wh.gone", "a file, where there are no whiteouts");
        tar_header(&w->tar, '2', "dir/.wh.soft", "target", 0, 0777);
        tar_header(&w->tar, '1', "dir/.wh.linked", "dir/.wh..wh.plnk", 0, 0644);
        tar_file(&w->tar, "dir/.wh..wh..opq", "");
        tar_file(&w->tar, "dir/.wh..wh.plnk", "aufs");
        tar_file(&w->tar, ".wh..wh.plnk/1.2", "aufs");
        tar_header(&w->tar, '5', ".wh..wh.aufs", NULL, 0, 0755);
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_content(w, "dir/.wh.gone", "a file, where there are no whiteouts");
        assert_true(S_ISLNK(look(w, "dir/.wh.soft").st_mode));
        assert_content(w, "dir/.wh.linked", "");
        assert_content(w, "dir/.wh..wh..opq", "");
        assert_missing(w, "dir/.wh..wh.plnk");
        assert_missing(w, ".wh..wh.plnk");
        assert_missing(w, ".wh..wh.aufs");
}

static void test_reserved_names_are_refused(void **state) {
        static const char *const names[] = { ".wh..wh.link.x", "a/.wh..wh.link.x/y", ".wh.", ".wh.dir/x" };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                buf_clear(&w->tar);
                tar_file(&w->tar, names[i], "x");
                tar_end(&w->tar);
                assert_refused(w, ERROR_INVALID);
        }
}

static void test_devices_are_skipped(void **state) {
        static const char types[] = { '3', '4', '6' };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof types; i++)
                tar_header(&w->tar, types[i], "device", NULL, 0, 0666);
        tar_file(&w->tar, "after", "still here");
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_missing(w, "device");
        assert_content(w, "after", "still here");
}

static void test_long_and_foreign_names_are_read(void **state) {
        struct world *w = *state;
        char gnu[220], pax[240];

        memset(gnu, 'g', sizeof gnu);
        memset(pax, 'p', sizeof pax);
        gnu[150] = pax[170] = '/';
        gnu[sizeof gnu - 1] = pax[sizeof pax - 1] = '\0';
        tar_gnu_long(&w->tar, 'L', gnu);
        tar_file(&w->tar, "short", "gnu");
        tar_pax(&w->tar, "path", pax);
        tar_file(&w->tar, "short", "pax");
        tar_pax(&w->tar, "path", "modèle/重み.bin");
        tar_file(&w->tar, "ascii", "utf-8");
        tar_pax(&w->tar, "linkpath", "modèle/重み.bin");
        tar_header(&w->tar, '2', "lien", "ascii", 0, 0777);
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_content(w, gnu, "gnu");
        assert_content(w, pax, "pax");
        assert_content(w, "modèle/重み.bin", "utf-8");
        assert_missing(w, "short");
}

static void test_component_longer_than_a_file_system_has_is_refused(void **state) {
        struct world *w = *state;
        char name[300];

        memset(name, 'n', sizeof name);
        name[sizeof name - 1] = '\0';
        tar_gnu_long(&w->tar, 'L', name);
        tar_file(&w->tar, "short", "x");
        tar_end(&w->tar);
        assert_refused(w, ERROR_INVALID);
}

static void test_a_name_that_is_not_utf8_is_refused_and_told(void **state) {
        struct world *w = *state;

        tar_file(&w->tar, "fine", "x");
        tar_file(&w->tar, "dir/\xe4.bin", "Latin-1");
        tar_end(&w->tar);
        assert_refused(w, ERROR_INVALID);
        assert_string_equal(w->error.text, "the archive's member 2: the name \"dir/?.bin\" is not UTF-8");
}

/* GNU.sparse 1.0, whose map comes before the data: 4 KiB at 32 MiB, and @size in all. */
static void add_sparse(struct world *w, const char *name, uint64_t size) {
        char *data = calloc(1, TAR_BLOCK + 4096), path[64], real[32];
        struct buf records = BUF_INIT(4096);

        snprintf(data, TAR_BLOCK, "2\n33554432\n4096\n%llu\n0\n", (unsigned long long)size);
        memset(data + TAR_BLOCK, 'D', 4096);
        snprintf(real, sizeof real, "%llu", (unsigned long long)size);
        tar_pax_record(&records, "GNU.sparse.major", "1");
        tar_pax_record(&records, "GNU.sparse.minor", "0");
        tar_pax_record(&records, "GNU.sparse.name", name);
        tar_pax_record(&records, "GNU.sparse.realsize", real);
        tar_header(&w->tar, 'x', "PaxHeaders/x", NULL, records.len, 0644);
        tar_data(&w->tar, records.data, records.len);
        snprintf(path, sizeof path, "GNUSparseFile.0/%s", name);
        tar_header(&w->tar, '0', path, NULL, TAR_BLOCK + 4096, 0644);
        tar_data(&w->tar, data, TAR_BLOCK + 4096);
        buf_free(&records);
        free(data);
}

static void test_holes_stay_holes(void **state) {
        struct world *w = *state;
        const uint64_t size = 64 << 20;

        add_sparse(w, "holes", size);
        tar_end(&w->tar);
        assert_unpacks(w);
        struct stat st = look(w, "holes");
        assert_int_equal(st.st_size, size);
        assert_true(st.st_blocks * 512 <= 1 << 20);
        int fd = openat(w->tree_fd, "holes", O_RDONLY | O_CLOEXEC);
        char c[2];
        assert_int_equal(pread(fd, c, 2, 33554431), 2);
        assert_int_equal(c[0], 0);
        assert_int_equal(c[1], 'D');
        close(fd);
}

static void test_files_larger_together_than_the_disk_are_refused(void **state) {
        struct world *w = *state;
        struct statvfs disk;

        assert_int_equal(fstatvfs(w->tree_fd, &disk), 0);
        uint64_t size = (uint64_t)disk.f_blocks * disk.f_frsize;
        add_sparse(w, "all-of-it", size + 1);
        tar_end(&w->tar);
        assert_refused(w, ERROR_INVALID);
        buf_clear(&w->tar);
        add_sparse(w, "one", size - (64 << 20));
        add_sparse(w, "two", size - (64 << 20));
        tar_end(&w->tar);
        assert_refused(w, ERROR_INVALID);
        assert_non_null(strstr(w->error.text, "up to two"));
}

static void test_truncated_archives_are_refused(void **state) {
        struct world *w = *state;

        tar_file(&w->tar, "a", "some content");
        tar_header(&w->tar, '0', "b", NULL, 100000, 0644);
        tar_data(&w->tar, "too little", 10);
        assert_refused(w, ERROR_INVALID);
        w->tar.len = TAR_BLOCK / 2;
        assert_refused(w, ERROR_INVALID);
        w->tar.len = 0;
        tar_file(&w->tar, "a", "x");
        w->tar.data[0] ^= 1; /* now its checksum is wrong */
        assert_refused(w, ERROR_INVALID);
}

/* libarchive would take a stream that breaks off in its first block for an empty archive. */
static void test_a_source_that_fails_is_no_end(void **state) {
        struct world *w = *state;

        tar_file(&w->tar, "a", "some content");
        tar_file(&w->tar, "b", "some content");
        tar_end(&w->tar);
        size_t whole = w->tar.len;
        w->fails = true;
        for (size_t len = 0; len < whole; len += len < TAR_BLOCK ? 73 : TAR_BLOCK / 2) {
                w->tar.len = len;
                assert_refused(w, ERROR_UNAVAILABLE);
        }
        w->tar.len = whole;
        w->fails = false;
        assert_unpacks(w);
}

static void test_empty_archive_is_an_empty_tree(void **state) {
        struct world *w = *state;

        assert_unpacks(w);
        assert_int_equal(w->result.files, 0);
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_int_equal(w->result.files, 0);
}

static void test_root_may_be_a_member_but_only_as_directory(void **state) {
        struct world *w = *state;

        tar_header(&w->tar, '5', "./", NULL, 0, 0755);
        tar_file(&w->tar, "a", "x");
        tar_end(&w->tar);
        assert_unpacks(w);
        buf_clear(&w->tar);
        tar_header(&w->tar, '2', "./", "../outside", 0, 0777);
        tar_end(&w->tar);
        assert_refused(w, ERROR_INVALID);
}

static void test_growth_is_asked_for_in_steps_and_its_refusal_ends_it(void **state) {
        struct world *w = *state;
        static char big[3 << 20];

        memset(big, 'b', sizeof big);
        tar_header(&w->tar, '0', "a", NULL, sizeof big, 0644);
        tar_data(&w->tar, big, sizeof big);
        tar_end(&w->tar);
        assert_unpacks(w);
        assert_int_equal(w->grown, 0); /* it is no larger than the archive */

        const struct unpack_source source = { .next = next, .userdata = w };
        struct placer p = { .allowed = 1000, .grow = grow, .userdata = w };
        w->given = 0;
        placer_init(&p);
        assert_int_equal(unpack_whole(w, &p, &source), 0);
        assert_int_equal(w->grown, PLACE_GROW_STEP);
        placer_destroy(&p);

        p = (struct placer){ .allowed = 1000, .grow = grow, .userdata = w };
        w->given = w->grown = 0;
        w->grow_limit = 0;
        placer_init(&p);
        assert_true(unpack_whole(w, &p, &source) < 0);
        assert_int_equal(w->error.kind, ERROR_NO_SPACE);
        placer_destroy(&p);
        assert_int_equal(look(w, "a").st_size, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_files_directories_and_links_come_out_as_they_went_in),
                T(test_modes_let_everybody_read_and_nobody_gain),
                T(test_names_that_leave_the_tree_are_refused),
                T(test_absolute_names_are_below_the_tree),
                T(test_nothing_is_written_through_a_link_of_the_archive),
                T(test_a_later_file_replaces_a_link_and_not_its_target),
                T(test_last_of_a_name_wins_whatever_its_kind),
                T(test_a_link_may_be_the_last_of_a_name),
                T(test_hard_link_out_of_the_layer_becomes_a_marker),
                T(test_hard_links_that_lead_astray_are_refused),
                T(test_hard_link_to_a_symbolic_link_links_the_link),
                T(test_few_files_are_flushed_one_by_one_with_their_directories),
                T(test_each_directory_is_flushed_once),
                T(test_directories_are_not_made_deeper_than_the_cache_takes),
                T(test_whiteouts_are_left_for_the_cache),
                T(test_reserved_names_are_refused),
                T(test_devices_are_skipped),
                T(test_long_and_foreign_names_are_read),
                T(test_component_longer_than_a_file_system_has_is_refused),
                T(test_a_name_that_is_not_utf8_is_refused_and_told),
                T(test_holes_stay_holes),
                T(test_files_larger_together_than_the_disk_are_refused),
                T(test_truncated_archives_are_refused),
                T(test_a_source_that_fails_is_no_end),
                T(test_empty_archive_is_an_empty_tree),
                T(test_root_may_be_a_member_but_only_as_directory),
                T(test_growth_is_asked_for_in_steps_and_its_refusal_ends_it),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
