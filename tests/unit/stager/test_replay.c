/* SPDX-License-Identifier: Apache-2.0 */
/* An archive whose transfer is cut off again and again is in the end what it would have been at once. */
#include "tests/unit/stager/tar_builder.h"

#include "base/path.h"
#include "cache/cache.h"
#include "stager/record.h"
#include "stager/replay.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

struct world {
        char dir[64];
        int dir_fd;
        struct buf tar;
        size_t cut;  /* the stream fails there */
        size_t pos;  /* of the stream: given */
        size_t sent; /* in all sessions */
        struct keeper *keeper;
        struct sha256 hash;
        struct placer placer;
        struct unpack_notes notes;
        struct unpack_result result;
        struct error error;
        size_t kept;          /* bytes that the last session began with */
        unsigned lasts, made; /* calls of last(); files it opened */
};

static void assert_ok(int r, const struct error *e) {
        if (r < 0)
                fail_msg("%d: %s", r, e->text);
}

static int set_up(void **state) {
        struct world *w = calloc(1, sizeof *w);

        snprintf(w->dir, sizeof w->dir, "/tmp/ms-replay-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        w->tar.max = 128 * MIB;
        *state = w;
        return 0;
}

static int tear_down(void **state) {
        struct world *w = *state;
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(path_remove_tree(tmp, path_base(w->dir), NULL), 0);
        close(tmp);
        close(w->dir_fd);
        buf_free(&w->tar);
        free(w);
        return 0;
}

/* ---- the stream: what the registry sends ---- */

static int take(struct world *w, size_t most, const void **ret, size_t *ret_len, struct error *e) {
        size_t left = w->tar.len - w->pos, n = left < 300000 ? left : 300000;

        if (n > most)
                n = most;
        if (n == 0)
                return 0;
        if (w->pos >= w->cut)
                return error_set(e, ERROR_UNAVAILABLE, "the registry has gone");
        if (n > w->cut - w->pos)
                n = w->cut - w->pos;
        *ret = w->tar.data + w->pos;
        *ret_len = n;
        sha256_update(&w->hash, *ret, n);
        w->pos += n;
        w->sent += n;
        keeper_mark(w->keeper, &w->hash);
        return 1;
}

static int next(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        return take(userdata, SIZE_MAX, ret, ret_len, e);
}

static int64_t pass_over(void *userdata, uint64_t len, struct error *e) {
        const void *data;
        size_t n = 0;
        int r = take(userdata, len, &data, &n, e);

        return r > 0 ? (int64_t)n : r;
}

/* ---- a session ---- */

static int yes(void *userdata, uint64_t pos, struct error *e) {
        (void)userdata, (void)pos, (void)e;
        return 0;
}

static int arrive(void *userdata, struct error *e) {
        (void)userdata, (void)e;
        return 0;
}

static int last(void *userdata, struct unpack_adopted *ret, const struct replay_last *l, struct error *e) {
        struct world *w = userdata;

        w->lasts++;
        assert_true(l->data + l->size >= w->kept);
        if (l->kept == l->size)
                return 0;
        w->made++;
        return place_open_kept(&ret->file, &w->placer, l->parent_fd, l->name, l->size, l->kept, e);
}

static int run(struct world *w, const struct resume *resume, struct error *e) {
        const struct unpack_source registry = { .next = next, .skip = pass_over, .userdata = w };
        struct unpack_source source = registry;
        _cleanup_(replay_freep) struct replay *replay = NULL;
        _cleanup_close_ int tree_fd = -1;
        struct record record;
        bool again = resume->start.pos > 0;

        if (again) {
                const struct replay_order order = { .dir_fd = w->dir_fd,
                                                    .upto = resume->start.pos,
                                                    .placer = &w->placer,
                                                    .after = &registry,
                                                    .arrive = arrive,
                                                    .last = last,
                                                    .userdata = w };
                assert_ok(replay_new(&replay, &order, e), e);
                source = replay_source(replay);
        }
        const char *tree = again ? REPLAY_TREE : "tree";
        assert_ok(path_remove_tree(w->dir_fd, tree, e), e);
        assert_int_equal(mkdirat(w->dir_fd, tree, 0755), 0);
        tree_fd = openat(w->dir_fd, tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        record_init(&record, w->keeper, &source);
        source = record_source(&record);
        int r = unpack_tar(&w->result, tree_fd, &w->placer, &source, &w->notes, e);
        return r < 0 ? r : unpack_finish(tree_fd, &w->placer, &w->notes, e);
}

/* Fetches up to byte @cut of the stream, going on with what is there. */
static int session(struct world *w, size_t cut) {
        struct journal_head head = { .size = w->tar.len, .packing = PLAN_TAR };
        struct resume resume;
        struct error e;
        int r;

        assert_int_equal(digest_of(&head.digest, w->tar.data, w->tar.len), 0);
        assert_ok(resume_check(&resume, w->dir_fd, &head, yes, NULL, &e), &e);
        w->kept = w->pos = resume.start.pos;
        w->hash = resume.state;
        w->cut = cut;
        w->placer = (struct placer){ .allowed = UINT64_MAX };
        placer_init(&w->placer);
        assert_ok(keeper_new(&w->keeper, NULL, w->dir_fd, &head, &resume.start, &e), &e);
        r = run(w, &resume, &w->error);
        keeper_free(w->keeper);
        w->keeper = NULL;
        unpack_notes_clear(&w->notes);
        placer_destroy(&w->placer);
        return r;
}

/* ---- what came of it ---- */

static void add(struct sha256 *s, const char *path, const struct stat *st, const void *data, size_t len) {
        char line[PATH_MAX + 100];
        int n = snprintf(line, sizeof line, "%s %o %lld %zu\n", path, st->st_mode,
                         S_ISDIR(st->st_mode) ? 0 : (long long)st->st_mtime, len);

        sha256_update(s, line, (size_t)n);
        sha256_update(s, data, len);
}

static int compare(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static void walk(struct sha256 *s, const char *path) {
        struct dirent **list;
        int n = scandir(path, &list, NULL, compare);

        assert_true(n >= 2);
        for (int i = 0; i < n; free(list[i++])) {
                char sub[PATH_MAX], link[PATH_MAX];
                struct stat st;

                if (strcmp(list[i]->d_name, ".") == 0 || strcmp(list[i]->d_name, "..") == 0)
                        continue;
                assert_true(snprintf(sub, sizeof sub, "%s/%s", path, list[i]->d_name) < PATH_MAX);
                assert_int_equal(lstat(sub, &st), 0);
                const char *name = strstr(sub, "/tree/");
                if (S_ISDIR(st.st_mode)) {
                        add(s, name, &st, "", 0);
                        walk(s, sub);
                } else if (S_ISLNK(st.st_mode)) {
                        ssize_t len = readlink(sub, link, sizeof link);
                        add(s, name, &st, link, (size_t)len);
                } else {
                        char *data = NULL;
                        size_t len;
                        struct error e;
                        assert_ok(path_read_absolute(&data, &len, sub, 128 * MIB, &e), &e);
                        add(s, name, &st, data, len);
                        free(data);
                }
        }
        free(list);
}

static struct digest tree_digest(const struct world *w) {
        struct sha256 s;
        struct digest d;
        char path[PATH_MAX];

        sha256_init(&s);
        snprintf(path, sizeof path, "%s/tree", w->dir);
        walk(&s, path);
        sha256_final(&s, &d);
        return d;
}

static void start_over(struct world *w) {
        assert_int_equal(path_remove_tree(w->dir_fd, "tree", NULL), 0);
        assert_int_equal(path_remove_tree(w->dir_fd, CACHE_JOURNAL, NULL), 0);
        w->sent = 0;
}

/* Once at once, for comparison. */
static struct digest whole(struct world *w, uint64_t *ret_files) {
        assert_ok(session(w, SIZE_MAX), &w->error);
        struct digest d = tree_digest(w);
        *ret_files = w->result.files;
        start_over(w);
        return d;
}

/* ---- archives ---- */

static void add_file(struct world *w, struct test_rng *rng, const char *name, size_t size) {
        char *data = malloc(size + 8);

        for (size_t i = 0; i < size; i += 8) {
                uint64_t n = test_rng_next(rng);
                memcpy(data + i, &n, 8);
        }
        tar_header(&w->tar, '0', name, NULL, size, 0640 + test_rng_next(rng) % 8);
        tar_data(&w->tar, data, size);
        free(data);
}

/* A bit of everything, until there are @size bytes; members of at most @most. */
static void fill(struct world *w, struct test_rng *rng, size_t size, size_t most) {
        for (unsigned i = 0; w->tar.len < size; i++) {
                char name[64], other[96];
                unsigned kind = (unsigned)(test_rng_next(rng) % 16);

                snprintf(name, sizeof name, "d%u/f%u", i % 7, i);
                snprintf(other, sizeof other, "d%u/f%u", (i - 1) % 7, i - 1);
                if (kind == 0)
                        tar_header(&w->tar, '5', "d3/", NULL, 0, 0750);
                else if (kind == 1)
                        tar_header(&w->tar, '2', name, "f1", 0, 0777);
                else if (kind == 2 && i > 0)
                        tar_header(&w->tar, '1', name, other, 0, 0644);
                else if (kind == 3)
                        tar_header(&w->tar, '3', name, NULL, 0, 0644);
                else if (kind == 4)
                        add_file(w, rng, name, 0);
                snprintf(other, sizeof other, "a rather long way/to a name/which is not in the header/%u", i);
                if (kind == 5)
                        tar_pax(&w->tar, "path", other);
                if (kind >= 5)
                        add_file(w, rng, name,
                                 kind < 10 ? test_rng_next(rng) % 5000 : test_rng_next(rng) % most);
        }
        tar_data(&w->tar, (char[1024]){ 0 }, 1024);
}

static void cut_again_and_again(struct world *w, struct test_rng *rng, size_t size, size_t most) {
        uint64_t files;
        size_t cut = 0, sessions = 0, lost = 0;

        fill(w, rng, size, most);
        struct digest want = whole(w, &files);
        for (;;) {
                cut += test_rng_next(rng) % (size / 5);
                int r = session(w, cut);
                sessions++;
                assert_true(w->kept <= cut);
                if (r == 0)
                        break;
                assert_int_equal(w->error.kind, ERROR_UNAVAILABLE);
                lost += 5 * MIB; /* a mark each 4 MiB, and its place may be among headers */
        }
        struct digest got = tree_digest(w);
        assert_true(digest_equal(&got, &want));
        assert_int_equal(w->result.files, files);
        assert_true(sessions >= 4);
        assert_true(w->sent <= w->tar.len + lost);
        assert_true(w->sent < w->tar.len * 2);
        assert_int_equal(faccessat(w->dir_fd, REPLAY_TREE, F_OK, 0), -1);
        assert_int_equal(faccessat(w->dir_fd, "old", F_OK, 0), -1);
}

static void test_an_archive_of_small_files(void **state) {
        struct test_rng rng = test_rng_new(__func__);

        cut_again_and_again(*state, &rng, 40 * MIB, 300000);
}

static void test_an_archive_of_large_files(void **state) {
        struct test_rng rng = test_rng_new(__func__);

        cut_again_and_again(*state, &rng, 60 * MIB, 40 * MIB);
}

static void test_an_archive_of_one_file_is_gone_on_with_in_it(void **state) {
        struct world *w = *state;
        struct test_rng rng = test_rng_new(__func__);
        uint64_t files;

        add_file(w, &rng, "dir/model", 30 * MIB + 77);
        struct digest want = whole(w, &files);
        assert_true(session(w, 11 * MIB) < 0);
        assert_int_equal(w->kept, 0);
        assert_true(session(w, 23 * MIB) < 0);
        assert_in_range(w->kept, 8 * MIB, 11 * MIB);
        assert_int_equal(w->made, 1);
        assert_ok(session(w, SIZE_MAX), &w->error);
        assert_in_range(w->kept, 19 * MIB, 23 * MIB);
        assert_int_equal(w->lasts, 2);
        struct digest got = tree_digest(w);
        assert_true(digest_equal(&got, &want));
}

/* What a wrong header has made beyond the last mark is not in the tree that is gone on with. */
static void test_what_nobody_vouches_for_is_gone(void **state) {
        struct world *w = *state;
        struct test_rng rng = test_rng_new(__func__);
        uint64_t files;
        struct error e;

        for (int i = 0; i < 10; i++) {
                char name[16];

                snprintf(name, sizeof name, "f%d", i);
                add_file(w, &rng, name, 2 * MIB);
        }
        struct digest want = whole(w, &files);
        assert_true(session(w, 13 * MIB) < 0);
        int tree = openat(w->dir_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int fd = path_make_dirs(tree, "evil/dir", 0755, false, &e);
        assert_ok(fd, &e);
        close(fd);
        fd = openat(tree, "evil/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        close(fd);
        close(tree);
        assert_ok(session(w, SIZE_MAX), &w->error);
        assert_true(w->kept > 0);
        struct digest got = tree_digest(w);
        assert_true(digest_equal(&got, &want));
}

/* The kept files are linked, not written again. */
static void test_kept_files_are_the_same_files(void **state) {
        struct world *w = *state;
        struct test_rng rng = test_rng_new(__func__);
        struct stat before, after;

        add_file(w, &rng, "first", 5 * MIB);
        add_file(w, &rng, "second", 15 * MIB);
        assert_true(session(w, 18 * MIB) < 0);
        assert_int_equal(fstatat(w->dir_fd, "tree/first", &before, 0), 0);
        assert_ok(session(w, SIZE_MAX), &w->error);
        assert_int_equal(fstatat(w->dir_fd, "tree/first", &after, 0), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_int_equal(after.st_nlink, 1);
        assert_int_equal(after.st_mode & 07777, before.st_mode & 07777);
}

/* It was killed between the last write, which is padded, and the setting of size, mode and time. */
static void test_a_kept_file_gets_its_size_mode_and_time(void **state) {
        struct world *w = *state;
        struct test_rng rng = test_rng_new(__func__);
        uint64_t files;
        int fd;

        add_file(w, &rng, "first", 6 * MIB + 5);
        add_file(w, &rng, "second", 15 * MIB);
        struct digest want = whole(w, &files);
        assert_true(session(w, 18 * MIB) < 0);
        fd = openat(w->dir_fd, "tree/first", O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, 7 * MIB), 0);
        assert_int_equal(fchmod(fd, 0600), 0);
        close(fd);
        assert_ok(session(w, SIZE_MAX), &w->error);
        assert_true(w->kept > 7 * MIB);
        struct digest got = tree_digest(w);
        assert_true(digest_equal(&got, &want));
}

/* The last one of a name wins; what the journal says of the first is not true any more, and is found to be. */
static void test_a_name_that_comes_twice(void **state) {
        struct world *w = *state;
        struct test_rng rng = test_rng_new(__func__);
        uint64_t files;

        add_file(w, &rng, "other", 5 * MIB);
        add_file(w, &rng, "twice", 9 * MIB);
        add_file(w, &rng, "twice", 9 * MIB);
        struct digest want = whole(w, &files);
        assert_true(session(w, 20 * MIB) < 0);
        assert_ok(session(w, SIZE_MAX), &w->error);
        assert_in_range(w->kept, 1, 5 * MIB + 1024);
        struct digest got = tree_digest(w);
        assert_true(digest_equal(&got, &want));
}

/* Few names, which come again and again: as files that begin alike, and as links to each other. */
static void fill_with_the_same_names(struct world *w, struct test_rng *rng, size_t size) {
        static const char *const names[] = { "a", "b", "c", "d/e" };
        static const size_t sizes[] = { 0, 3000, MIB, MIB + 4096, 2 * MIB, 3 * MIB + 5, 5 * MIB };
        const struct test_rng alike = *rng;

        while (w->tar.len < size) {
                const char *name = names[test_rng_next(rng) % 4], *other = names[test_rng_next(rng) % 4];
                struct test_rng content = alike;
                size_t n = sizes[test_rng_next(rng) % 7], kind = test_rng_next(rng) % 8;

                if (kind == 0)
                        tar_header(&w->tar, '2', name, "elsewhere", 0, 0777);
                else if (kind <= 2)
                        tar_header(&w->tar, '1', name, other, 0, 0644);
                else
                        add_file(w, &content, name, n);
                if (kind >= 6 && n > MIB) /* ends as what is allocated and not written yet */
                        memset(w->tar.data + w->tar.len - MIB, 0, MIB);
        }
        tar_data(&w->tar, (char[1024]){ 0 }, 1024);
}

static void test_names_that_come_again_and_again(void **state) {
        struct world *w = *state;
        struct test_rng rng = test_rng_new(__func__);
        const char *rounds = getenv("TEST_ROUNDS");

        for (unsigned round = rounds ? (unsigned)atoi(rounds) : 20; round > 0; round--) {
                uint64_t files;
                size_t cut = 0;

                w->tar.len = 0;
                fill_with_the_same_names(w, &rng, 30 * MIB);
                struct digest want = whole(w, &files);
                while (session(w, cut += test_rng_next(&rng) % (12 * MIB)) < 0)
                        ;
                struct digest got = tree_digest(w);
                assert_true(digest_equal(&got, &want));
                assert_int_equal(w->result.files, files);
                start_over(w);
        }
}

/* Interrupted at @upto and gone on with, it becomes what it is in one go. */
static void assert_same_in_two(struct world *w, size_t upto) {
        uint64_t files;
        struct digest want = whole(w, &files);

        assert_true(session(w, upto) < 0);
        assert_ok(session(w, SIZE_MAX), &w->error);
        assert_true(w->kept > 12 * MIB);
        struct digest got = tree_digest(w);
        assert_true(digest_equal(&got, &want));
}

/* As `tar -r` makes it: what the journal says of the first one is true of the second one's beginning. */
static void test_a_name_that_comes_again_longer(void **state) {
        struct world *w = *state;
        struct test_rng rng = test_rng_new(__func__), alike = rng;

        add_file(w, &rng, "grown", 5 * MIB);
        add_file(w, &alike, "grown", 9 * MIB);
        add_file(w, &rng, "other", 9 * MIB);
        assert_same_in_two(w, 20 * MIB);
}

/* Its name is a link to another file now, which begins alike. */
static void test_a_kept_file_that_was_replaced_by_a_link(void **state) {
        struct world *w = *state;
        struct test_rng rng = test_rng_new(__func__), alike = rng;

        add_file(w, &rng, "a", 9 * MIB);
        add_file(w, &alike, "c", 5 * MIB);
        tar_header(&w->tar, '1', "c", "a", 0, 0644);
        add_file(w, &rng, "other", 9 * MIB);
        assert_same_in_two(w, 20 * MIB);
}

/* Likewise, and what is kept of it ends before the part that differs. */
static void test_nothing_is_written_through_the_name_of_a_kept_file(void **state) {
        struct world *w = *state;
        struct test_rng rng = test_rng_new(__func__), alike = rng;

        add_file(w, &rng, "a", 9 * MIB);
        add_file(w, &alike, "c", 8 * MIB);
        memset(w->tar.data + w->tar.len - MIB, 'x', MIB);
        tar_header(&w->tar, '1', "c", "a", 0, 0644);
        add_file(w, &rng, "other", 9 * MIB);
        assert_same_in_two(w, 19 * MIB);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_an_archive_of_small_files),
                TEST(test_an_archive_of_large_files),
                TEST(test_an_archive_of_one_file_is_gone_on_with_in_it),
                TEST(test_what_nobody_vouches_for_is_gone),
                TEST(test_kept_files_are_the_same_files),
                TEST(test_a_kept_file_gets_its_size_mode_and_time),
                TEST(test_a_name_that_comes_twice),
                TEST(test_a_name_that_comes_again_longer),
                TEST(test_names_that_come_again_and_again),
                TEST(test_a_kept_file_that_was_replaced_by_a_link),
                TEST(test_nothing_is_written_through_the_name_of_a_kept_file),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
