/* SPDX-License-Identifier: Apache-2.0 */
/* A tar stream into DIR/tree: nothing beside the tree is made or changed, and what is accepted is accepted
 * again. */
#include "base/path.h"
#include "stager/unpack.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PLACED_MAX ((uint64_t)8 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
        const uint8_t *data;
        size_t left;
};

static int next(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct input *in = userdata;

        (void)e;
        *ret = in->data;
        *ret_len = in->left;
        in->left = 0;
        return *ret_len > 0;
}

static int no_more(void *userdata, uint64_t bytes, struct error *e) {
        (void)userdata, (void)bytes;
        return error_set(e, ERROR_NO_SPACE, "enough");
}

static int unpack(int dir_fd, const uint8_t *data, size_t size) {
        struct input in = { data, size };
        const struct unpack_source source = { .next = next, .userdata = &in };
        struct unpack_notes notes = { .n_files = 0 };
        struct placer p = { .allowed = PLACED_MAX, .grow = no_more };
        struct unpack_result result;
        struct error e = { .kind = ERROR_NONE };
        int tree_fd, r;

        assert(path_remove_tree(dir_fd, "tree", &e) == 0 && mkdirat(dir_fd, "tree", 0755) == 0);
        tree_fd = openat(dir_fd, "tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        placer_init(&p);
        r = unpack_tar(&result, tree_fd, &p, &source, &notes, &e);
        if (r == 0)
                r = unpack_finish(tree_fd, &p, &notes, &e);
        unpack_notes_clear(&notes);
        placer_destroy(&p);
        close(tree_fd);
        assert(r == 0 || e.kind != ERROR_NONE);
        return r;
}

/* DIR holds the canary and the tree, and nothing else. */
static void check_surroundings(int dir_fd) {
        struct stat canary, dir;
        char text[8] = { 0 };
        int fd = openat(dir_fd, "canary", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        assert(fd >= 0 && read(fd, text, sizeof text) == 6 && memcmp(text, "canary", 6) == 0);
        assert(fstat(fd, &canary) == 0 && canary.st_nlink == 1 && (canary.st_mode & 07777) == 0600);
        assert(fstat(dir_fd, &dir) == 0 && dir.st_nlink == 3 /* itself, its parent's entry, the tree */);
        close(fd);
}

static char world[] = "/tmp/fuzz-unpack-XXXXXX";

static void remove_world(void) {
        int parent = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        (void)path_remove_tree(parent, path_base(world), NULL);
        close(parent);
}

static int make_world(void) {
        int dir_fd, fd;

        assert(mkdtemp(world) && atexit(remove_world) == 0);
        dir_fd = open(world, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fd = openat(dir_fd, "canary", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert(dir_fd >= 0 && fd >= 0 && write(fd, "canary", 6) == 6);
        close(fd);
        return dir_fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static int dir_fd = -1;

        if (dir_fd < 0)
                dir_fd = make_world();
        int r = unpack(dir_fd, data, size);
        check_surroundings(dir_fd);
        assert(unpack(dir_fd, data, size) == r);
        return 0;
}
