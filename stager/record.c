/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was given out is told when it is over, since only then it is known what of it was a file: a piece when
 * the next one is asked for, and the part of it before a file when the file is placed. Data are skipped only
 * as far as a file goes: the rest has to be seen.
 */
#include "stager/record.h"

#include <stdio.h>

/* All before @upto, which lies in the last piece, are no file's bytes. */
static void tell_bytes(struct record *r, uint64_t upto) {
        uint64_t start = r->pos - r->cur_len;

        if (upto <= r->told)
                return;
        keeper_bytes(r->keeper, r->told, r->cur + (r->told - start), (size_t)(upto - r->told));
        r->told = upto;
}

static int next(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct record *r = userdata;

        tell_bytes(r, r->pos);
        int result = r->inner.next(r->inner.userdata, ret, ret_len, e);
        r->cur = result > 0 ? *ret : NULL;
        r->cur_len = result > 0 ? *ret_len : 0;
        r->pos += r->cur_len;
        return result;
}

static int64_t skip(void *userdata, uint64_t len, struct error *e) {
        struct record *r = userdata;

        tell_bytes(r, r->pos);
        if (r->keeper && len > r->told - r->pos)
                len = r->told - r->pos;
        int64_t n = len > 0 ? r->inner.skip(r->inner.userdata, len, e) : 0;
        if (n > 0) {
                r->pos += (uint64_t)n;
                r->cur_len = 0;
        }
        if (n > 0 && !r->keeper && r->told < r->pos)
                r->told = r->pos;
        return n;
}

static int adopt(void *userdata, struct unpack_adopted *ret, uint64_t data, uint64_t size, int parent_fd,
                 const char *name, struct error *e) {
        const struct record *r = userdata;

        return r->inner.adopt(r->inner.userdata, ret, data, size, parent_fd, name, e);
}

static void placed(void *userdata, uint64_t data, uint64_t size, const char *path) {
        struct record *r = userdata;
        char name[JOURNAL_NAME_MAX];

        if (data < r->told || data > r->pos) /* then it is told as bytes */
                return;
        tell_bytes(r, data);
        if (snprintf(name, sizeof name, "tree/%s", path) >= (int)sizeof name)
                return;
        keeper_file(r->keeper, data, data + size, name, 0);
        r->told = data + size;
}

void record_init(struct record *r, struct keeper *keeper, const struct unpack_source *inner) {
        *r = (struct record){ .keeper = keeper, .inner = *inner };
}

struct unpack_source record_source(struct record *r) {
        return (struct unpack_source){ .next = next,
                                       .skip = r->inner.skip ? skip : NULL,
                                       .adopt = r->inner.adopt ? adopt : NULL,
                                       .adopt_min = r->inner.adopt_min,
                                       .placed = placed,
                                       .userdata = r };
}
