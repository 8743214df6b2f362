/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scout: walks the headers of a plain tar ahead of its bulk and tells where the members' data lie, so that
 * they can be fetched straight to their files. An engine without I/O: it says which part of the blob it wants
 * to see next and is given bytes of it.
 *
 *     x  PAX  hdr │ data ........... pad│hdr│ data ....... pad│ 0  0
 *     ▲           ▲                     ▲
 *   header       data          scout_pos() after SCOUT_MEMBER
 *
 * All that it says is advice: the archive is hostile, and libarchive's in-order pass decides what it means. A
 * wrong answer may cost speed. When the scout doubts whether libarchive would read a header as it does, it is
 * lost. Plain data, a few hundred bytes; nothing to free. Any one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCOUT_BLOCK 512u
#define SCOUT_EXTENSION_MAX ((uint64_t)1 << 20) /* a longer PAX header or long name: lost */

/* A regular file, stored verbatim: bytes [data, data + size) of the blob. */
struct scout_member {
        uint64_t header; /* of its first block, a PAX header or long name too: libarchive's header position */
        uint64_t data, size;
};

enum scout_step {
        SCOUT_NEED,   /* all used, or the rest is of no interest: go on from scout_pos() */
        SCOUT_MEMBER, /* *ret is one of at least `min` bytes; go on from scout_pos(), behind its data */
        SCOUT_END,    /* an empty block, or the blob's end */
        SCOUT_LOST,   /* not a tar that it understands: no more advice */
};

struct scout {
        uint64_t size;  /* of the blob */
        uint64_t min;   /* smaller members are passed over in silence */
        uint64_t pos;   /* of the next block to see */
        uint64_t start; /* of the member whose blocks are being seen, if `extensions` */
        uint64_t left;  /* SCOUT_IN_PAX, _NAME: its bytes still to come, padding not counted */
        uint64_t skip;  /* SCOUT_IN_MAP: what the member's data take, behind the map of its holes */
        enum {
                SCOUT_AT_HEADER,
                SCOUT_IN_PAX,
                SCOUT_IN_NAME,
                SCOUT_IN_MAP,
                SCOUT_AT_END,
                SCOUT_IS_LOST
        } state;
        unsigned extensions; /* headers before the member's own */
        bool has_pax, has_long_name, has_long_link;
        bool is_global;  /* the PAX header that is being read is for all members */
        bool is_renamed; /* the name is not the one in the member's own header */
        bool is_slashed; /* and it ends in a slash */
        bool is_sparse;  /* the data are not verbatim */
        bool has_size;   /* and it is pax_size, whatever the member's own header says */
        uint64_t pax_size;
        struct { /* of the PAX header, "LENGTH KEY=VALUE\n", the one that is being read */
                enum { SCOUT_IN_LENGTH, SCOUT_IN_KEY, SCOUT_IN_VALUE } part;
                uint64_t length, seen; /* in bytes */
                uint64_t number;       /* the value, if the key is "size" */
                bool has_number;
                char last;        /* of the value, or of the long name */
                unsigned key_len; /* of a longer key only the beginning is kept */
                char key[20];
        } record;
};

/* @min: the least size that a member is reported for. */
void scout_init(struct scout *s, uint64_t blob_size, uint64_t min);
/* Where it wants to read next: an offset in the blob, a multiple of SCOUT_BLOCK. */
uint64_t scout_pos(const struct scout *s);
/* Takes whole blocks of @data, which are the blob's from scout_pos() on; scout_pos() tells then how many.
 * Part of a block is of no use. */
enum scout_step scout_feed(struct scout *s, const void *data, size_t len, struct scout_member *ret);
