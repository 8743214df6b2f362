/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/resume.h"

#include "base/path.h"
#include "cache/cache.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define STEP ((size_t)1 << 20) /* read and hashed at once */

/* ---- the journal, batch by batch ---- */

struct reader {
        int fd;
        uint64_t at;   /* where the next batch begins in the journal */
        uint64_t pos;  /* of the blob: what comes next */
        uint64_t blob; /* its size */
        char *data;    /* of the batch; owned */
        size_t size;   /* allocated */
        struct journal_batch batch;
};

static bool read_at(int fd, void *data, size_t len, uint64_t offset) {
        for (size_t done = 0; done < len;) {
                ssize_t n = pread(fd, (char *)data + done, len - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                done += (size_t)n;
        }
        return true;
}

/* -ENOENT: there is none, or not this blob's. */
static int reader_open(struct reader *r, int dir_fd, const struct journal_head *want) {
        char data[JOURNAL_HEAD_SIZE];
        struct journal_head head;
        struct stat st;

        *r = (struct reader){ .at = sizeof data };
        r->fd = openat(dir_fd, CACHE_JOURNAL, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (r->fd >= 0 && fstat(r->fd, &st) == 0 && S_ISREG(st.st_mode) &&
            read_at(r->fd, data, sizeof data, 0) && journal_parse_head(&head, data) &&
            (!want || journal_head_equal(&head, want))) {
                r->blob = head.size;
                return 0;
        }
        if (r->fd >= 0)
                close(take_fd(r->fd));
        return -ENOENT;
}

static void reader_close(struct reader *r) {
        if (r->fd >= 0)
                close(r->fd);
        free(r->data);
}

/* The batch at r->at. False: there is none, or none that can be used. */
static bool reader_next(struct reader *r) {
        char fixed[JOURNAL_BATCH_SIZE];
        size_t size;

        if (!read_at(r->fd, fixed, sizeof fixed, r->at) || (size = journal_batch_size(fixed)) == 0)
                return false;
        if (size > r->size) {
                free(r->data);
                r->data = malloc(size);
                r->size = r->data ? size : 0;
        }
        if (!r->data || !read_at(r->fd, r->data, size, r->at) ||
            !journal_parse_batch(&r->batch, r->data, size) || r->batch.from != r->pos ||
            r->batch.to > r->blob)
                return false;
        r->at += size;
        r->pos = r->batch.to;
        return true;
}

/* ---- checking ---- */

struct check {
        int dir_fd;
        int (*go_on)(void *userdata, uint64_t pos, struct error *e);
        void *userdata;
        struct sha256 state;
        char *data; /* STEP bytes */
        int fd;     /* of the last file; -1: none */
        char name[JOURNAL_NAME_MAX];
};

/* 1; 0: there is no such file. */
static int open_file(struct check *c, const char *name) {
        struct stat st;

        if (c->fd >= 0 && strcmp(c->name, name) == 0)
                return 1;
        if (c->fd >= 0)
                close(take_fd(c->fd));
        c->fd = path_open(c->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, NULL);
        if (c->fd < 0 || fstat(c->fd, &st) < 0 || !S_ISREG(st.st_mode))
                return 0;
        (void)posix_fadvise(c->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        snprintf(c->name, sizeof c->name, "%s", name);
        return 1;
}

/* 1; 0: the bytes cannot be had. */
static int hash_file(struct check *c, const struct journal_entry *entry, struct error *e) {
        uint64_t offset = entry->offset, left = entry->len;

        if (!open_file(c, entry->name))
                return 0;
        while (left > 0) {
                size_t n = left < STEP ? (size_t)left : STEP;
                int r = c->go_on(c->userdata, c->state.len, e);

                if (r < 0)
                        return r;
                if (!read_at(c->fd, c->data, n, offset))
                        return 0;
                sha256_update(&c->state, c->data, n);
                offset += n;
                left -= n;
        }
        return 1;
}

static int hash_zeros(struct check *c, uint64_t len, struct error *e) {
        memset(c->data, 0, STEP);
        for (size_t n; len > 0; len -= n) {
                int r = c->go_on(c->userdata, c->state.len, e);

                if (r < 0)
                        return r;
                n = len < STEP ? (size_t)len : STEP;
                sha256_update(&c->state, c->data, n);
        }
        return 1;
}

/* 1: the batch is confirmed. */
static int check_batch(struct check *c, struct journal_batch b, struct error *e) {
        const struct sha256 want = b.state;
        struct journal_entry entry;
        int r = 1;

        while (r > 0 && journal_next(&b, &entry)) {
                if (entry.kind == JOURNAL_FILE)
                        r = hash_file(c, &entry, e);
                else if (entry.kind == JOURNAL_ZEROS)
                        r = hash_zeros(c, entry.len, e);
                else
                        sha256_update(&c->state, entry.data, (size_t)entry.len);
        }
        return r > 0 ? sha256_equal(&c->state, &want) : r;
}

static int check_all(struct resume *ret, struct check *c, struct reader *reader, struct error *e) {
        int r = 0;

        while (reader_next(reader) && (r = check_batch(c, reader->batch, e)) > 0)
                *ret = (struct resume){ .start = { .pos = reader->pos, .journal_len = reader->at },
                                        .state = c->state };
        return r < 0 ? r : 0;
}

int resume_check(struct resume *ret, int dir_fd, const struct journal_head *head,
                 int (*go_on)(void *userdata, uint64_t pos, struct error *e), void *userdata,
                 struct error *e) {
        _cleanup_free_ struct check *c = malloc(sizeof *c);
        _cleanup_free_ char *data = malloc(STEP);
        struct reader reader;
        struct resume found = { .start = { .pos = 0 } };

        sha256_init(&found.state);
        *ret = found;
        if (reader_open(&reader, dir_fd, head) < 0)
                return 0;
        if (!c || !data) {
                reader_close(&reader);
                return error_errno(e, ENOMEM, "go on with a transfer");
        }
        *c = (struct check){ .dir_fd = dir_fd, .go_on = go_on, .userdata = userdata, .data = data, .fd = -1 };
        sha256_init(&c->state);
        int r = check_all(&found, c, &reader, e);
        if (c->fd >= 0)
                close(c->fd);
        reader_close(&reader);
        if (r == 0)
                *ret = found;
        return r;
}

/* ---- reading once more ---- */

struct resume_reader {
        struct reader reader;
        uint64_t pos, upto; /* of the blob: given, to be given */
};

int resume_reader_new(struct resume_reader **ret, int dir_fd, uint64_t upto, struct error *e) {
        struct resume_reader *r = calloc(1, sizeof *r);

        if (!r)
                return error_errno(e, ENOMEM, "go on with a transfer");
        r->upto = upto;
        if (reader_open(&r->reader, dir_fd, NULL) < 0) {
                free(r);
                return error_set(e, ERROR_INVALID, "the journal of the transfer has gone");
        }
        *ret = r;
        return 0;
}

void resume_reader_free(struct resume_reader *r) {
        if (!r)
                return;
        reader_close(&r->reader);
        free(r);
}

int resume_reader_next(struct resume_reader *r, struct journal_entry *ret, struct error *e) {
        struct journal_entry entry;

        if (r->pos == r->upto)
                return 0;
        while (!journal_next(&r->reader.batch, &entry))
                if (!reader_next(&r->reader))
                        return error_set(e, ERROR_INVALID, "the journal of the transfer has changed");
        if (entry.len > r->upto - r->pos)
                entry.len = r->upto - r->pos;
        r->pos += entry.len;
        *ret = entry;
        return 1;
}
