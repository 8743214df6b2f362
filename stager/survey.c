/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scout's position is in one of three places:
 *
 *   behind the window's end     a probe brings the next header, if it is worth one: a large member has just
 *                               been found, or few probes have been made at all
 *   in the window, and here     it is looked at there
 *   in the window, not here yet the bulk brings it; nothing is done until then
 *
 * A member of less than LEAST bytes is left to the copying in order. So is the part of a large one that the
 * window already holds when it is found.
 */
#include "stager/survey.h"

#include "base/log.h"
#include "base/path.h"
#include "stager/reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LEAST ((uint64_t)4 << 20)          /* of a member, and */
#define LEAST_STRAIGHT ((uint64_t)1 << 20) /* of what is left of it */
#define FIRST_PROBES 8u
#define PROBES_A_MEMBER 2u
#define VAIN_PROBES_MAX 2u /* each may have held the bulk back until it timed out */

typedef char file_name[24];

static const char *name_of(file_name text, unsigned serial) {
        snprintf(text, sizeof(file_name), SURVEY_PREFIX "%u", serial);
        return text;
}

void survey_begin(struct survey *s, struct fetch *fetch, struct placer *p, int dir_fd, uint64_t from) {
        *s = (struct survey){ .fetch = fetch, .placer = p, .dir_fd = dir_fd, .probes = FIRST_PROBES };
        scout_init(&s->scout, fetch->size, LEAST);
        s->scout.pos = from;
        s->over = from >= fetch->size;
}

/* The bulk goes on, wherever the scout is. */
static void let_go(struct survey *s) {
        if (!s->holding)
                return;
        s->holding = false;
        regions_hold(s->fetch->regions, REGIONS_NO_HOLD);
        reactor_wake(s->placer->reactor);
}

/* @r was made for what is no member after all. */
static void drop_region(const struct survey *s, const struct region *r) {
        file_name name;

        place_abandon(r->file);
        (void)unlinkat(s->dir_fd, name_of(name, r->serial), 0);
}

/* Those go that the archive's reader has passed and has not taken: nobody would make room for them, and the
 * bulk may be waiting for us. */
static bool has_room(const struct survey *s) {
        uint64_t read = s->fetch->window->readers[WINDOW_CONTENT].pos; /* by this thread */
        struct region r;

        while (read > 0 && regions_take(s->fetch->regions, read - 1, &r))
                drop_region(s, &r);
        return !regions_are_full(s->fetch->regions, s->fetch->window);
}

/* A file and a region for the member at hand; 0: not now. */
static int add_region(struct survey *s, struct error *e) {
        const struct scout_member *m = &s->found;
        struct region r = { .from = m->data, .to = m->data + m->size, .data = m->data, .serial = s->made };
        file_name name;

        if (!has_room(s)) {
                let_go(s); /* they may never find their members, and then nobody would make room */
                return 0;
        }
        s->has_found = false;
        s->probes += PROBES_A_MEMBER;
        uint64_t held = window_next(s->fetch->window);
        if (held >= r.to || r.to - held < LEAST_STRAIGHT + SEGMENT_SIZE)
                return 1;
        int result = place_open_straight(&r.file, s->placer, s->dir_fd, name_of(name, r.serial), m->size, e);
        if (result < 0)
                return result;
        s->made++;
        if (!regions_add(s->fetch->regions, s->fetch->window, &r, LEAST_STRAIGHT, &r)) {
                drop_region(s, &r); /* the window has come near it meanwhile */
                return 1;
        }
        log_debug(FETCH, "bytes %" PRIu64 "-%" PRIu64 " go straight to a file of %" PRIu64 " bytes", r.from,
                  r.to - 1, m->size);
        return 1;
}

/* The blocks at the scout's position, if they are here: their number of bytes. */
static size_t look(struct survey *s, const char **ret) {
        uint64_t pos = scout_pos(&s->scout);
        size_t n = window_peek(s->fetch->window, pos, s->block, sizeof s->block) / SCOUT_BLOCK * SCOUT_BLOCK;

        *ret = s->block;
        if (n > 0)
                return n;
        n = fetch_probed(s->fetch, pos, ret) / SCOUT_BLOCK * SCOUT_BLOCK;
        if (n > 0)
                s->waiting = false;
        return n;
}

/* Nothing is here. Asks for it, or leaves it to the bulk. */
static void ask(struct survey *s) {
        uint64_t pos = scout_pos(&s->scout);

        if (fetch_is_probing(s->fetch))
                return;
        if (s->waiting) { /* in vain */
                s->probes = 0;
                s->vain++;
        }
        s->waiting = false;
        if (pos < window_next(s->fetch->window) || s->probes == 0 || s->vain >= VAIN_PROBES_MAX ||
            !oci_blob_has_ranges(s->fetch->blob)) {
                let_go(s);
                return;
        }
        s->probes--;
        s->waiting = s->holding = true;
        regions_hold(s->fetch->regions, pos);
        fetch_probe(s->fetch, pos);
        reactor_wake(s->placer->reactor);
}

int survey_go_on(struct survey *s, struct error *e) {
        while (!s->over) {
                const char *data;
                size_t n;

                if (s->has_found) {
                        int r = add_region(s, e);
                        if (r <= 0)
                                return r;
                }
                n = look(s, &data);
                if (n == 0) {
                        ask(s);
                        return 0;
                }
                enum scout_step step = scout_feed(&s->scout, data, n, &s->found);
                s->has_found = step == SCOUT_MEMBER;
                s->over = step == SCOUT_END || step == SCOUT_LOST;
        }
        let_go(s);
        return 0;
}

void survey_stop(struct survey *s) {
        s->over = true;
        let_go(s);
}

/*
 * Not only where the header is has to be right, and the size, but where the data are: a host may answer a
 * probe with other bytes than it sends later.
 */
int survey_adopt(struct place_file **ret, uint64_t *ret_from, struct survey *s, uint64_t data, uint64_t size,
                 int parent_fd, const char *name, struct error *e) {
        struct region r;
        file_name old;

        if (s->found.data <= data)
                s->has_found = false; /* too late for it */
        for (;;) {
                if (!regions_take(s->fetch->regions, data, &r))
                        return 0;
                if (r.data == data && place_size(r.file) == size)
                        break;
                drop_region(s, &r);
        }
        if (renameat(s->dir_fd, name_of(old, r.serial), parent_fd, name) < 0)
                return path_make_failed(parent_fd, errno, e, "create %s", name);
        s->adopted++;
        *ret = r.file;
        *ret_from = r.offset;
        return 1;
}

void survey_give_up(struct survey *s) {
        struct region r;

        survey_stop(s);
        while (regions_take(s->fetch->regions, UINT64_MAX, &r))
                drop_region(s, &r);
}

void survey_end(struct survey *s) {
        file_name name;

        for (unsigned i = 0; s->adopted < s->made && i < s->made; i++)
                (void)unlinkat(s->dir_fd, name_of(name, i), 0);
}
