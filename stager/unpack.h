/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack: a tar stream into a directory tree, member by member, each to its final place. The archive is
 * hostile: names are resolved beneath the tree without following a link, and everything is counted.
 *
 * What the layer says about other layers is left for the cache: names in ".wh." are made like all others,
 * since in a format without whiteouts they mean nothing, and a hard link to a file that is not in this
 * archive becomes a file CACHE_WHITEOUT_LINK + name that holds the target's clean path.
 */
#pragma once

#include "stager/place.h"
#include "stager/unpack_notes.h"

#define UNPACK_MAX_MEMBERS 1000000u
#define UNPACK_ADOPT_MIN ((uint64_t)1 << 20) /* smaller members are not worth a file ahead of their turn */

struct unpack_adopted {
        struct place_file *file; /* NULL: it is complete, and nothing is to be written */
        uint64_t kept, from;     /* the caller writes the bytes between; the others are there, or will be */
};

struct unpack_source {
        /* The next bytes of the tar stream, valid until the next call: 1; 0 at the end; a negative errno. */
        int (*next)(void *userdata, const void **ret, size_t *ret_len, struct error *e);
        /* Both are NULL if the source cannot. Passes over the next bytes, at most @len, and says how many. */
        int64_t (*skip)(void *userdata, uint64_t len, struct error *e);
        /* Gives @name in @parent_fd, where nothing has it, to the file that is being made, or was, for the
         * member of @size bytes whose first byte lies at @data of the stream: 1; 0: there is none. */
        int (*adopt)(void *userdata, struct unpack_adopted *ret, uint64_t data, uint64_t size, int parent_fd,
                     const char *name, struct error *e);
        uint64_t adopt_min; /* of members of fewer bytes it is not asked */
        /* May be NULL. Is told that @size bytes of the stream from @data on are those of the file @path in
         * the tree, as they are. They have not been asked for yet, and nothing before them will be. */
        void (*placed)(void *userdata, uint64_t data, uint64_t size, const char *path);
        void *userdata;
};

struct unpack_result {
        uint64_t files; /* regular ones */
};

/* Reads up to the archive's end mark. A malformed or forbidden archive is ERROR_INVALID; what the source or
 * the placer says is passed on. @notes, which are empty, are the caller's to clear in any case. All writes
 * have been sent when it returns: what is still to come of the blob may be long in coming. */
int unpack_tar(struct unpack_result *ret, int tree_fd, struct placer *p, const struct unpack_source *source,
               struct unpack_notes *notes, struct error *e);
/* Once all bytes have come: files are complete and everything is durable when it returns 0. */
int unpack_finish(int tree_fd, struct placer *p, struct unpack_notes *notes, struct error *e);
