/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/keep.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/path.h"
#include "base/text.h"
#include "cache/cache.h"
#include "stager/replay.h"
#include "stager/spool.h"
#include "stager/survey.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

/* Also tells whoever looks at the progress. */
static int go_on(void *userdata, uint64_t pos, struct error *e) {
        struct transfer *t = userdata;

        t->verified = pos;
        return window_check(&t->window, e);
}

/* Made by a transfer, of this form or another one. */
static bool is_ours(const char *name) {
        static const char *const names[] = { "blob",      "tree",     CACHE_PACKED,
                                             REPLAY_TREE, REPLAY_OLD, CACHE_JOURNAL };

        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (strcmp(name, names[i]) == 0)
                        return true;
        return strncmp(name, SURVEY_PREFIX, sizeof SURVEY_PREFIX - 1) == 0;
}

/* What the journal of such a transfer speaks of. */
static const char *data_name(const struct transfer *t) {
        if (t->order.codec != PLAN_CODEC_NONE)
                return CACHE_PACKED;
        return t->order.packing == PLAN_TAR ? "tree" : "blob";
}

/* Of a compressed layer a layout takes nothing over, and adds nothing to what a registry has begun. */
static bool is_apart(const struct transfer *t) {
        return t->order.codec != PLAN_CODEC_NONE && oci_blob_is_layout(t->order.source);
}

/* Removes what a transfer has left; with @kept all but the journal and what it speaks of. */
static int clear(const struct transfer *t, bool kept, struct error *e) {
        const char *data = data_name(t);
        _cleanup_closedir_ DIR *d = NULL;
        _cleanup_close_ int fd = openat(t->order.dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct dirent *entry;
        int r = 0;

        if (fd < 0 || !(d = fdopendir(fd)))
                return error_errno(e, errno, "read a staging directory");
        (void)take_fd(fd);
        while (r == 0 && (entry = readdir(d))) {
                const char *name = entry->d_name;

                if (is_ours(name) && !(kept && (strcmp(name, CACHE_JOURNAL) == 0 || strcmp(name, data) == 0)))
                        r = path_remove_tree(t->order.dir_fd, name, e);
        }
        return r;
}

static void tell(const struct transfer *t, uint64_t pos) {
        char digest[DIGEST_TEXT_SIZE], from[TEXT_SHORT], size[TEXT_SHORT];

        log_info("blob %s resumes at %s of %s", digest_format(&t->order.digest, digest),
                 text_format_size(pos, from), text_format_size(t->order.size, size));
        metric_add(RESUMED_BYTES, (double)pos, oci_blob_registry(t->order.source));
}

/* All that was kept is read for it. So that this is not done again and again while the registry does not have
 * the blob, it is asked first. */
static int look(struct keep *k, const struct journal_head *head, struct error *e) {
        struct transfer *t = k->transfer;
        size_t none = 0;

        if (faccessat(t->order.dir_fd, CACHE_JOURNAL, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                return 0;
        int r = oci_blob_locate(t->order.source, NULL, 0, &none, e);
        if (r < 0)
                return r;
        k->located = true;
        return resume_check(&k->resume, t->order.dir_fd, head, go_on, t, e);
}

int keep_begin(struct keep *k, struct transfer *t, bool fresh, struct error *e) {
        const struct journal_head head = { .digest = t->order.digest,
                                           .size = t->order.size,
                                           .packing = t->order.packing,
                                           .codec = t->order.codec };
        bool plain = t->order.codec == PLAN_CODEC_NONE, keeps = plain || spool_is_for(t);
        int r = 0;

        *k = (struct keep){ .transfer = t };
        sha256_init(&k->resume.state);
        if (keeps && !fresh)
                r = look(k, &head, e);
        if (r == 0)
                r = clear(t, k->resume.start.pos > 0 || is_apart(t), e);
        /* A layout is on a disk already. */
        if (r == 0 && keeps && !oci_blob_is_layout(t->order.source))
                r = keeper_new(&k->keeper, t->engine->reactor, t->order.dir_fd, &head, &k->resume.start, e);
        if (r < 0)
                return r;
        if (k->resume.start.pos > 0 && plain)
                placer_had(&t->placer, k->resume.start.pos);
        if (k->resume.start.pos > 0)
                tell(t, k->resume.start.pos);
        return 0;
}

bool keep_is_worth(const struct error *e) {
        switch (e->kind) {
        case ERROR_NOT_FOUND:
        case ERROR_UNAUTHENTICATED:
        case ERROR_DENIED:
        case ERROR_TIMEOUT:
        case ERROR_UNAVAILABLE:
        case ERROR_CANCELLED:
                return true;
        default:
                return false;
        }
}

/* The rest of a blob in one file was allocated in advance. */
static void cut(const struct transfer *t, uint64_t size) {
        _cleanup_close_ int fd = openat(t->order.dir_fd, data_name(t), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
                log_debug(FETCH, "what was kept cannot be cut: %s", strerror(errno));
}

/* What a decoder has put out is of no use to whoever goes on. */
static void leave(const struct keep *k, uint64_t pos) {
        const struct transfer *t = k->transfer;

        if (k->keeper && strcmp(data_name(t), "tree") != 0)
                cut(t, pos);
        if (t->order.codec != PLAN_CODEC_NONE)
                (void)clear(t, true, NULL);
}

void keep_no_more(struct keep *k) {
        keeper_free(k->keeper);
        k->keeper = NULL;
}

void keep_end(struct keep *k, int result, const struct error *e) {
        const struct transfer *t = k->transfer;
        uint64_t pos = keeper_finish(k->keeper);

        if (result < 0 && ((k->keeper && pos == 0) || !keep_is_worth(e)))
                (void)clear(t, is_apart(t), NULL);
        else if (result < 0)
                leave(k, pos);
        keep_no_more(k);
}
