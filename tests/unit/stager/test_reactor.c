/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: ring_open */
#include "tests/unit/test.h"

#include "base/ring.h"
#include "stager/reactor.h"

static unsigned depth_asked;

int __real_ring_open(struct ring **ret, enum ring_kind kind, unsigned depth, struct error *e);
int __wrap_ring_open(struct ring **ret, enum ring_kind kind, unsigned depth, struct error *e);

int __wrap_ring_open(struct ring **ret, enum ring_kind kind, unsigned depth, struct error *e) {
        depth_asked = depth;
        return __real_ring_open(ret, kind, depth, e);
}

static void test_the_disk_has_as_much_to_do_at_once_as_is_set(void **state) {
        static const char *const depths[] = { "1", "32", "1024" };

        (void)state;
        for (unsigned i = 0; i < 3; i++) {
                _cleanup_(settings_freep) struct settings *s = NULL;
                _cleanup_(arena_freep) struct arena *a = NULL;
                struct reactor *r;
                struct error e;

                assert_int_equal(settings_new(&s, &e), 0);
                assert_int_equal(settings_set(s, "engine.diskQueue", depths[i], &e), 0);
                assert_int_equal(arena_new(&a, 16 * SEGMENT_SIZE, 1, &e), 0);
                assert_int_equal(reactor_new(&r, s, a, NULL, &e), 0);
                reactor_free(r);
                assert_int_equal(depth_asked, atoi(depths[i]));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_disk_has_as_much_to_do_at_once_as_is_set),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
