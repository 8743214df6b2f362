/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: disk_submit disk_submit_all path_remove_tree */
/* Writes of files in one segment wait for company, and nobody and nothing waits for them. */
#include "tests/unit/stager/place_world.h"

#include "stager/unpack.h"
#include "stager/unpack_notes.h"
#include "tests/unit/stager/tar_builder.h"

/* Directories that were removed with all that was in them, and whose queue has to be empty then. */
static atomic_int removals;
static const struct placer *remover;

int __real_path_remove_tree(int dir_fd, const char *name, struct error *e);
int __wrap_path_remove_tree(int dir_fd, const char *name, struct error *e);

int __wrap_path_remove_tree(int dir_fd, const char *name, struct error *e) {
        removals++;
        if (remover)
                assert_null(remover->queue);
        return __real_path_remove_tree(dir_fd, name, e);
}

/* Writes that were sent to the reactor alone, and lists of them. */
static atomic_int sent_alone, sent_together;

void __real_disk_submit(struct reactor *r, struct disk_op *op);
void __wrap_disk_submit(struct reactor *r, struct disk_op *op);
void __real_disk_submit_all(struct reactor *r, struct disk_op *first);
void __wrap_disk_submit_all(struct reactor *r, struct disk_op *first);

void __wrap_disk_submit(struct reactor *r, struct disk_op *op) {
        sent_alone++;
        __real_disk_submit(r, op);
}

void __wrap_disk_submit_all(struct reactor *r, struct disk_op *first) {
        sent_together++;
        __real_disk_submit_all(r, first);
}

static size_t size_of(int i) {
        return ((size_t)100 << 10) + (i % 2 ? (size_t)i : 0);
}

/* The file @i has what begins at @data + i. */
static void write_file(struct world *w, struct placer *p, const char *data, int i) {
        const struct place_end how = { .size = size_of(i), .mode = 0444, .mtime = { .tv_sec = 5 } };
        struct place_file *f;
        struct error e;
        char name[16];

        snprintf(name, sizeof name, "%d", i);
        assert_int_equal(place_open(&f, p, w->dir_fd, name, size_of(i), false, &e), 0);
        assert_int_equal(place_write(f, data + i, size_of(i), 0, &e), 0);
        assert_int_equal(place_end(f, &how, &e), 0);
}

static void assert_files(struct world *w, const char *data, int n) {
        char name[16];

        for (int i = 0; i < n; i++) {
                snprintf(name, sizeof name, "%d", i);
                assert_same(w, name, data + i, size_of(i));
        }
}

static void test_writes_of_files_in_one_segment_are_sent_together(void **state) {
        enum { FILES = 3 }; /* for which there are segments */
        struct world *w = *state;
        _cleanup_free_ char *data = random_bytes(MIB);
        struct error e;

        sent_alone = sent_together = 0;
        for (int i = 0; i < FILES; i++)
                write_file(w, &w->placer, data, i);
        assert_int_equal(sent_together, 0);
        placer_submit(&w->placer);
        assert_int_equal(sent_together, 1);
        placer_submit(&w->placer);
        assert_int_equal(sent_together, 1);
        assert_int_equal(sent_alone, 0);
        assert_int_equal(placer_drain(&w->placer, &e), 0);
        assert_files(w, data, FILES);
}

static void test_writes_of_larger_files_are_sent_at_once(void **state) {
        struct world *w = *state;
        _cleanup_free_ char *data = random_bytes(2 * MIB);
        struct place_file *f = begin(w, "a", 2 * MIB, false);
        struct error e;

        sent_alone = 0;
        assert_int_equal(place_write(f, data, MIB, 0, &e), 0);
        assert_int_equal(sent_alone, 1);
        assert_int_equal(place_write(f, data + MIB, MIB, MIB, &e), 0);
        end(f, 2 * MIB, false);
        assert_int_equal(placer_drain(&w->placer, &e), 0);
        assert_same(w, "a", data, 2 * MIB);
}

/* There are fewer segments than that. */
static void test_files_that_wait_for_company_do_not_keep_the_next_from_a_segment(void **state) {
        enum { FILES = 40 };
        struct world *w = *state;
        _cleanup_free_ char *data = random_bytes(MIB);
        struct error e;

        for (int i = 0; i < FILES; i++)
                write_file(w, &w->placer, data, i);
        assert_int_equal(placer_drain(&w->placer, &e), 0);
        assert_files(w, data, FILES);
}

/* There are more segments than files may be open. */
static void test_files_that_wait_for_company_do_not_keep_the_next_closed(void **state) {
        enum { FILES = 80 };
        struct world *w = *state;
        _cleanup_free_ char *data = random_bytes(MIB);
        struct placer p = { .reactor = w->reactor, .direct = true, .allowed = UINT64_MAX / 8 };
        unsigned most = 0;
        struct error e;

        assert_int_equal(arena_new(&p.arena, 128 * MIB, 16, &e), 0);
        placer_init(&p);
        for (int i = 0; i < FILES; i++) {
                write_file(w, &p, data, i);
                most = p.n_files > most ? p.n_files : most;
        }
        assert_int_equal(most, 32);
        assert_int_equal(placer_drain(&p, &e), 0);
        placer_destroy(&p);
        arena_free(p.arena);
        assert_files(w, data, FILES);
}

/* Who goes on with the transfer later is told that their bytes are there. */
static void test_writes_that_wait_for_company_are_done_when_the_placer_restarts(void **state) {
        struct world *w = *state;
        _cleanup_free_ char *data = random_bytes(MIB);
        char name[16], *got;
        struct error e;
        size_t len;

        for (int i = 0; i < 3; i++)
                write_file(w, &w->placer, data, i);
        assert_non_null(w->placer.queue);
        placer_restart(&w->placer);
        assert_null(w->placer.queue);
        assert_int_equal(arena_available(w->arena, ARENA_OUTPUT), arena_segments(w->arena, ARENA_OUTPUT));
        for (int i = 0; i < 3; i++) {
                snprintf(name, sizeof name, "%d", i);
                assert_int_equal(path_read_file(&got, &len, w->dir_fd, name, MAX_SIZE, &e), 0);
                assert_int_equal(len, size_of(i));
                assert_true(memcmp(got, data + i, len) == 0);
                free(got);
        }
}

/* An archive's way in, in pieces; whoever waits, waits here. */
struct input {
        struct placer *placer;
        const struct buf *tar;
        size_t given;
        unsigned skips;
};

static int next_piece(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct input *in = userdata;
        size_t n = in->tar->len - in->given;

        (void)e;
        assert_null(in->placer->queue);
        if (n > 300000)
                n = 300000;
        *ret = in->tar->data + in->given;
        *ret_len = n;
        in->given += n;
        return n > 0;
}

static int64_t skip_piece(void *userdata, uint64_t len, struct error *e) {
        struct input *in = userdata;
        size_t n = in->tar->len - in->given;

        (void)e;
        assert_null(in->placer->queue);
        if (n > len)
                n = (size_t)len;
        in->given += n;
        in->skips++;
        return (int64_t)n;
}

static int grow_alone(void *userdata, uint64_t bytes, struct error *e) {
        struct world *w = userdata;

        (void)bytes;
        (void)e;
        assert_null(w->placer.queue);
        return 0;
}

static void test_nothing_waits_for_company_while_space_is_asked_for(void **state) {
        struct world *w = *state;
        _cleanup_free_ char *data = random_bytes(MIB);
        struct error e;

        write_file(w, &w->placer, data, 0);
        assert_non_null(w->placer.queue);
        w->placer.allowed = w->placer.claimed;
        w->placer.grow = grow_alone;
        write_file(w, &w->placer, data, 1);
        assert_int_not_equal(w->placer.allowed, size_of(0));
        assert_int_equal(placer_drain(&w->placer, &e), 0);
}

/* By the members of an archive that replace each other. */
static void test_nothing_waits_for_company_while_a_directory_is_removed(void **state) {
        struct world *w = *state;
        _cleanup_free_ char *data = random_bytes(MIB);
        _cleanup_buf_ struct buf tar = BUF_INIT(MIB);
        struct input in = { .placer = &w->placer, .tar = &tar };
        const struct unpack_source source = { .next = next_piece, .skip = skip_piece, .userdata = &in };
        struct unpack_notes notes = { 0 };
        struct unpack_result result;
        struct error e;

        tar_header(&tar, '0', "dir/file", NULL, 0, 0444);
        tar_header(&tar, '0', "a", NULL, size_of(0), 0444);
        tar_data(&tar, data, size_of(0));
        tar_header(&tar, '0', "dir", NULL, 0, 0444);
        tar_end(&tar);
        removals = 0;
        remover = &w->placer;
        int r = unpack_tar(&result, w->dir_fd, &w->placer, &source, &notes, &e);
        remover = NULL;
        if (r < 0)
                fail_msg("%s", e.text);
        assert_int_equal(removals, 1);
        assert_int_equal(placer_drain(&w->placer, &e), 0);
        unpack_notes_clear(&notes);
}

/* Other blobs may want the segments, and nobody knows how long the next bytes take. */
static void test_nothing_waits_for_company_while_input_is_waited_for(void **state) {
        struct world *w = *state;
        _cleanup_free_ char *data = random_bytes(3 * MIB);
        _cleanup_buf_ struct buf tar = BUF_INIT(64 * MIB);
        struct input in = { .placer = &w->placer, .tar = &tar };
        const struct unpack_source source = { .next = next_piece, .skip = skip_piece, .userdata = &in };
        struct unpack_notes notes = { 0 };
        struct unpack_result result;
        struct error e;
        char name[16];

        for (int i = 0; i < 30; i++) {
                snprintf(name, sizeof name, "%d", i);
                tar_header(&tar, '0', name, NULL, size_of(i), 0444);
                tar_data(&tar, data + i, size_of(i));
                if (i != 10)
                        continue;
                tar_header(&tar, '0', ".wh..wh.passed", NULL, 3 * MIB, 0444);
                tar_data(&tar, data, 3 * MIB);
        }
        tar_end(&tar);
        if (unpack_tar(&result, w->dir_fd, &w->placer, &source, &notes, &e) < 0)
                fail_msg("%s", e.text);
        assert_null(w->placer.queue);
        assert_int_equal(result.files, 30);
        assert_int_not_equal(in.skips, 0);
        assert_int_equal(placer_drain(&w->placer, &e), 0);
        unpack_notes_clear(&notes);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_writes_of_files_in_one_segment_are_sent_together),
                T(test_writes_of_larger_files_are_sent_at_once),
                T(test_files_that_wait_for_company_do_not_keep_the_next_from_a_segment),
                T(test_files_that_wait_for_company_do_not_keep_the_next_closed),
                T(test_writes_that_wait_for_company_are_done_when_the_placer_restarts),
                T(test_nothing_waits_for_company_while_space_is_asked_for),
                T(test_nothing_waits_for_company_while_a_directory_is_removed),
                T(test_nothing_waits_for_company_while_input_is_waited_for),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
