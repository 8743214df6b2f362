/* SPDX-License-Identifier: Apache-2.0 */
/* How the window is cut along the files that its bytes belong to. */
#include "tests/unit/test.h"

#include "base/path.h"
#include "stager/place.h"
#include "stager/regions.h"

#include <fcntl.h>

#define MIB SEGMENT_SIZE
#define SIZE (20 * MIB)

struct world {
        struct arena *arena;
        struct placer placer;
        struct window window;
        struct regions regions;
        char dir[64];
        int dir_fd;
        unsigned held;
};

static int set_up(void **state) {
        struct world *w = calloc(1, sizeof *w);
        struct error e;

        strcpy(w->dir, "/tmp/ms-regions-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(arena_new(&w->arena, 40 * MIB, 4, &e), 0);
        w->placer = (struct placer){ .arena = w->arena, .allowed = UINT64_MAX / 8 };
        placer_init(&w->placer);
        assert_int_equal(window_init(&w->window, w->arena), 0);
        window_reset(&w->window, 0, SIZE);
        regions_init(&w->regions);
        *state = w;
        return 0;
}

static int tear_down(void **state) {
        struct world *w = *state;

        window_destroy(&w->window);
        regions_destroy(&w->regions);
        placer_destroy(&w->placer);
        arena_free(w->arena);
        close(w->dir_fd);
        int parent = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(path_remove_tree(parent, path_base(w->dir), NULL), 0);
        close(parent);
        free(w);
        return 0;
}

static struct place_file *file(struct world *w, const char *name, uint64_t size) {
        struct place_file *f;
        struct error e;

        assert_int_equal(place_open_straight(&f, &w->placer, w->dir_fd, name, size, &e), 0);
        return f;
}

/* The next segment, or NULL: held back. */
static struct segment *extend(struct world *w) {
        struct segment *s;

        assert_true(arena_take(w->arena, &s, 1, &w->held, 40));
        if (regions_extend(&w->regions, &w->window, s))
                return s;
        arena_unref(w->arena, s);
        return NULL;
}

static void expect(struct world *w, uint64_t pos, size_t len, const struct place_file *f, uint64_t offset) {
        const struct segment *s = extend(w);

        assert_non_null(s);
        assert_int_equal(s->pos, pos);
        assert_int_equal(s->len, len);
        assert_ptr_equal(s->file, f);
        if (f)
                assert_int_equal(s->file_offset, offset);
}

static void test_segments_end_where_a_region_begins_and_ends(void **state) {
        struct world *w = *state;
        struct place_file *f = file(w, "f", 2 * MIB + 100), *g = file(w, "g", MIB);
        struct region r = { .data = 1024, .from = 1024, .to = 1024 + 2 * MIB + 100, .file = f };
        struct region next = { .data = 3 * MIB + 512, .from = 3 * MIB + 512, .to = 4 * MIB + 512, .file = g };

        assert_true(regions_add(&w->regions, &w->window, &r, 1, &r));
        assert_true(regions_add(&w->regions, &w->window, &next, 1, &next));
        expect(w, 0, 1024, NULL, 0);
        expect(w, 1024, MIB, f, 0);
        expect(w, 1024 + MIB, MIB, f, MIB);
        expect(w, 1024 + 2 * MIB, 100, f, 2 * MIB);
        expect(w, 1124 + 2 * MIB, MIB - 612, NULL, 0);
        expect(w, 3 * MIB + 512, MIB, g, 0);
        expect(w, 4 * MIB + 512, MIB, NULL, 0);
}

static void test_region_begins_behind_what_is_held(void **state) {
        struct world *w = *state;
        struct place_file *f = file(w, "f", 5 * MIB);
        struct region r = { .data = 512, .from = 512, .to = 512 + 5 * MIB, .file = f };

        for (int i = 0; i < 2; i++)
                assert_non_null(extend(w));
        assert_false(regions_add(&w->regions, &w->window, &r, 4 * MIB, &r));
        assert_true(regions_add(&w->regions, &w->window, &r, 3 * MIB, &r));
        assert_int_equal(r.from, 512 + 2 * MIB);
        assert_int_equal(r.offset, 2 * MIB);
        expect(w, 2 * MIB, 512, NULL, 0);
        expect(w, 2 * MIB + 512, MIB, f, 2 * MIB);
}

static void test_no_block_lies_across_an_edge_behind_a_region(void **state) {
        struct world *w = *state;
        struct place_file *f = file(w, "f", MIB + 100);
        struct region r = { .data = 1024, .from = 1024, .to = 1024 + MIB + 100, .file = f };

        assert_true(regions_add(&w->regions, &w->window, &r, 1, &r));
        for (int i = 0; i < 3; i++)
                assert_non_null(extend(w));
        expect(w, 1124 + MIB, MIB - 100, NULL, 0);
        expect(w, 1024 + 2 * MIB, MIB, NULL, 0);
}

static void test_nothing_is_made_behind_a_hold(void **state) {
        struct world *w = *state;

        regions_hold(&w->regions, MIB + 512);
        expect(w, 0, MIB, NULL, 0);
        assert_false(regions_are_held(&w->regions, &w->window));
        expect(w, MIB, 512, NULL, 0);
        assert_true(regions_are_held(&w->regions, &w->window));
        assert_null(extend(w));
        regions_hold(&w->regions, REGIONS_NO_HOLD);
        assert_false(regions_are_held(&w->regions, &w->window));
        expect(w, MIB + 512, MIB, NULL, 0);
}

static void test_list_is_short_and_makes_room(void **state) {
        struct world *w = *state;
        struct region r;
        char name[16];

        for (unsigned i = 0; i < REGIONS_MAX; i++) {
                snprintf(name, sizeof name, "f%u", i);
                r = (struct region){ .data = i * MIB + 512, .from = i * MIB + 512, .to = (i + 1) * MIB };
                r.file = file(w, name, MIB - 512);
                assert_false(regions_are_full(&w->regions, &w->window));
                assert_true(regions_add(&w->regions, &w->window, &r, 1, &r));
        }
        assert_true(regions_are_full(&w->regions, &w->window));
        assert_false(regions_take(&w->regions, 511, &r));
        for (unsigned i = 0; i < 4; i++) {
                assert_true(regions_take(&w->regions, 3 * MIB + 512, &r));
                assert_int_equal(r.data, i * MIB + 512);
        }
        assert_false(regions_take(&w->regions, 3 * MIB + 512, &r));
        assert_false(regions_take(&w->regions, 2 * MIB, &r));
        assert_true(regions_are_full(&w->regions, &w->window)); /* their segments are not made yet */
        while (window_next(&w->window) < 4 * MIB)
                assert_non_null(extend(w));
        assert_non_null(extend(w));
        assert_false(regions_are_full(&w->regions, &w->window));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_segments_end_where_a_region_begins_and_ends, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_region_begins_behind_what_is_held, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_no_block_lies_across_an_edge_behind_a_region, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_nothing_is_made_behind_a_hold, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_list_is_short_and_makes_room, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
