/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"
#include "tools/modelstage/placing.h"

/* root/tree is a finished model, root/dir the directory that was asked for. */
struct fixture {
        char root[32];
        int root_fd, tree_fd, dir_fd;
        char tree[80];
        struct placing p;
};
static struct cache_file files[] = { { (char *)"config.json", 2, S_IFREG | 0444 },
                                     { (char *)"sub", 0, S_IFDIR | 0555 },
                                     { (char *)"sub/weights.bin", 3, S_IFREG | 0555 } };

static void put(int dir_fd, const char *path, const char *text, mode_t mode) {
        int fd = openat(dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

static char *content(int dir_fd, const char *path) {
        char *text = NULL;
        size_t len;
        struct error e = { 0 };

        return path_read_file(&text, &len, dir_fd, path, 1 << 20, &e) < 0 ? NULL : text;
}

static void assert_content(int dir_fd, const char *path, const char *wanted) {
        char *text = content(dir_fd, path);

        assert_non_null(text);
        assert_string_equal(text, wanted);
        free(text);
}

static int set_up(void **state) {
        struct fixture *f = calloc(1, sizeof *f);

        strcpy(f->root, "/tmp/test_placing.XXXXXX");
        assert_non_null(mkdtemp(f->root));
        f->root_fd = open(f->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(mkdirat(f->root_fd, "tree", 0755) | mkdirat(f->root_fd, "dir", 0755), 0);
        assert_int_equal(mkdirat(f->root_fd, "tree/sub", 0755) | mkdirat(f->root_fd, "dir/spare", 0755), 0);
        f->tree_fd = openat(f->root_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        f->dir_fd = openat(f->root_fd, "dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        put(f->tree_fd, "config.json", "{}", 0444);
        put(f->tree_fd, "sub/weights.bin", "abc", 0555);
        snprintf(f->tree, sizeof f->tree, "%s/tree", f->root);
        f->p = (struct placing){
                .dir = "dir", .dir_fd = f->dir_fd, .tree = f->tree, .spare = "spare", .files = files, .n = 3
        };
        *state = f;
        return 0;
}

static int tear_down(void **state) {
        struct fixture *f = *state;
        struct error e = { 0 };

        assert_int_equal(path_remove_tree(f->root_fd, "tree", &e) | path_remove_tree(f->root_fd, "dir", &e),
                         0);
        assert_int_equal(rmdir(f->root), 0);
        close(f->tree_fd);
        close(f->dir_fd);
        close(f->root_fd);
        free(f);
        return 0;
}

static void test_files_get_their_names_and_can_be_written_by_their_owner(void **state) {
        struct fixture *f = *state;
        struct error e = { 0 };
        struct stat st, tree;

        assert_int_equal(placing_run(&f->p, &e), 0);
        assert_content(f->dir_fd, "config.json", "{}");
        assert_content(f->dir_fd, "sub/weights.bin", "abc");
        assert_int_equal(fstatat(f->dir_fd, "config.json", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0644);
        assert_int_equal(fstatat(f->dir_fd, "sub/weights.bin", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0755);
        assert_int_equal(fstatat(f->dir_fd, "sub", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0755);
        assert_int_equal(fstatat(f->dir_fd, "sub/weights.bin", &st, 0), 0);
        assert_int_equal(fstatat(f->tree_fd, "sub/weights.bin", &tree, 0), 0);
        assert_int_equal(st.st_ino, tree.st_ino); /* linked, not copied */
}

static void test_an_existing_file_stops_everything(void **state) {
        struct fixture *f = *state;
        struct error e = { 0 };
        struct stat st;

        assert_int_equal(mkdirat(f->dir_fd, "sub", 0755), 0);
        put(f->dir_fd, "sub/weights.bin", "mine", 0644);
        assert_int_equal(placing_run(&f->p, &e), -EEXIST);
        assert_int_equal(e.kind, ERROR_EXISTS);
        assert_string_equal(e.text, "dir/sub/weights.bin exists already; --force replaces it");
        assert_content(f->dir_fd, "sub/weights.bin", "mine");
        assert_int_equal(fstatat(f->dir_fd, "config.json", &st, 0), -1);
}

static void empty_spare(const struct fixture *f) {
        struct error e = { 0 };

        assert_int_equal(path_remove_tree(f->dir_fd, "spare", &e), 0);
        assert_int_equal(mkdirat(f->dir_fd, "spare", 0755), 0);
}

static void test_force_replaces_files_but_not_directories(void **state) {
        struct fixture *f = *state;
        struct error e = { 0 };

        put(f->dir_fd, "config.json", "old", 0600);
        f->p.force = true;
        assert_int_equal(placing_run(&f->p, &e), 0);
        assert_content(f->dir_fd, "config.json", "{}");
        empty_spare(f);
        assert_int_equal(placing_run(&f->p, &e), 0); /* and once more, over the same inodes */
        assert_content(f->dir_fd, "sub/weights.bin", "abc");
        assert_int_equal(unlinkat(f->dir_fd, "config.json", 0), 0);
        assert_int_equal(mkdirat(f->dir_fd, "config.json", 0755), 0);
        assert_int_equal(placing_run(&f->p, &e), -EEXIST);
        assert_string_equal(e.text, "dir/config.json exists already and is not a file");
        assert_int_equal(unlinkat(f->dir_fd, "config.json", AT_REMOVEDIR), 0);
        assert_int_equal(unlinkat(f->dir_fd, "sub/weights.bin", 0) | unlinkat(f->dir_fd, "sub", AT_REMOVEDIR),
                         0);
        put(f->dir_fd, "sub", "a file", 0600);
        assert_int_equal(placing_run(&f->p, &e), -EEXIST);
        assert_string_equal(e.text, "dir/sub exists already and is not a directory");
        assert_content(f->dir_fd, "sub", "a file");
}

static void test_what_is_in_the_way_of_the_last_stops_the_first(void **state) {
        struct fixture *f = *state;
        struct error e = { 0 };
        struct stat st;

        put(f->dir_fd, "config.json", "old", 0600);
        assert_int_equal(mkdirat(f->dir_fd, "sub", 0755) | mkdirat(f->dir_fd, "sub/weights.bin", 0755), 0);
        f->p.force = true;
        assert_int_equal(placing_run(&f->p, &e), -EEXIST);
        assert_content(f->dir_fd, "config.json", "old");
        assert_int_equal(fstatat(f->dir_fd, "spare/old-0", &st, 0), -1);
}

/* The last file is missing in the tree, as if the disk had failed. */
static void test_a_failure_in_the_middle_is_undone(void **state) {
        struct fixture *f = *state;
        struct error e = { 0 };
        struct stat st;

        assert_int_equal(symlinkat("there", f->tree_fd, "link"), 0);
        for (int force = 0; force < 2; force++) {
                f->p.force = force;
                if (force) {
                        put(f->dir_fd, "config.json", "old", 0640);
                        assert_int_equal(symlinkat("nowhere", f->dir_fd, "link"), 0);
                }
                struct cache_file more[] = { files[0],
                                             { (char *)"link", 0, S_IFLNK | 0777 },
                                             files[1],
                                             { (char *)"sub/missing", 0, S_IFREG | 0444 } };
                f->p.files = more;
                f->p.n = 4;
                assert_true(placing_run(&f->p, &e) < 0);
                assert_int_equal(fstatat(f->dir_fd, "sub", &st, 0), -1);
                assert_int_equal(fstatat(f->dir_fd, "config.json", &st, 0), force ? 0 : -1);
        }
        assert_content(f->dir_fd, "config.json", "old");
        assert_int_equal(st.st_mode & 0777, 0640);
        char target[16] = { 0 };
        assert_int_equal(readlinkat(f->dir_fd, "link", target, sizeof target - 1), 7);
        assert_string_equal(target, "nowhere");
}

static void test_a_symbolic_link_in_the_directory_is_not_followed(void **state) {
        struct fixture *f = *state;
        struct error e = { 0 };
        struct stat st;

        assert_int_equal(mkdirat(f->root_fd, "dir/outside", 0755), 0);
        assert_int_equal(symlinkat("outside", f->dir_fd, "sub"), 0);
        f->p.force = true;
        assert_true(placing_run(&f->p, &e) < 0);
        assert_int_equal(fstatat(f->dir_fd, "outside/weights.bin", &st, 0), -1);
}

static void test_a_symbolic_link_in_the_tree_stays_one_and_its_target_keeps_its_mode(void **state) {
        static const struct cache_file link = { (char *)"link", 0, S_IFLNK | 0777 };
        struct fixture *f = *state;
        struct error e = { 0 };
        struct stat st;
        char target[80];

        put(f->root_fd, "dir/spare/victim", "x", 0400);
        snprintf(target, sizeof target, "%s/dir/spare/victim", f->root);
        assert_int_equal(symlinkat(target, f->tree_fd, "link"), 0);
        f->p.files = &link;
        f->p.n = 1;
        assert_int_equal(placing_run(&f->p, &e), 0);
        assert_int_equal(fstatat(f->dir_fd, "link", &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISLNK(st.st_mode));
        assert_int_equal(fstatat(f->dir_fd, "spare/victim", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777, 0400);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_files_get_their_names_and_can_be_written_by_their_owner),
                TEST(test_an_existing_file_stops_everything),
                TEST(test_force_replaces_files_but_not_directories),
                TEST(test_what_is_in_the_way_of_the_last_stops_the_first),
                TEST(test_a_failure_in_the_middle_is_undone),
                TEST(test_a_symbolic_link_in_the_directory_is_not_followed),
                TEST(test_a_symbolic_link_in_the_tree_stays_one_and_its_target_keeps_its_mode),
        };

        umask(022);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
