/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_scan: where the frames of a compressed stream end, found without decoding them, so that several can
 * be decoded at once. zstd tells the size of each block in front of it, and whether it is the last one; of
 * gzip only BGZF does, whose members carry their own size. Others are not known, which is no error.
 *
 * An engine without I/O. It may be wrong about damaged or hostile streams: whoever decodes a piece finds out.
 */
#pragma once

#include "oci/plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of one frame decoded, and of its window; a larger one is not worth its memory. */
#define SCAN_FRAME_MAX ((uint64_t)4 << 20)
#define SCAN_COMPRESSED_MAX (SCAN_FRAME_MAX + SCAN_FRAME_MAX / 64) /* what does not compress grows a little */

enum scan_part {
        SCAN_START,     /* the first bytes of a frame or member */
        SCAN_SKIP_SIZE, /* zstd: of a frame that is to be skipped */
        SCAN_HEADER,    /* zstd: of a frame, all of it */
        SCAN_BLOCK,     /* zstd: the header of a block */
        SCAN_EXTRA,     /* gzip: the extra field */
        SCAN_BODY,      /* bytes that are passed over, up to a block's end */
        SCAN_LAST,      /* likewise, up to the frame's end */
        SCAN_LOST,      /* for good */
};

struct decode_scan {
        enum plan_codec codec;
        enum scan_part part;
        uint8_t head[32]; /* what is being looked at */
        size_t got, want; /* bytes of it */
        uint64_t left;    /* to be passed over */
        uint64_t size;    /* of the frame so far */
        uint64_t content; /* decoded bytes of the frame, at most */
        uint64_t block;   /* zstd: of a block's content, at most */
        bool exact;       /* zstd: the header says how much it is */
        bool checksum;    /* zstd: four bytes behind the last block */
};

enum scan_step {
        SCAN_MORE, /* all was taken */
        SCAN_END,  /* a frame ends behind what was taken; go on with the next one */
        SCAN_NOT,  /* where this frame ends is not known, or it is too large */
};

void decode_scan_init(struct decode_scan *s, enum plan_codec codec); /* not PLAN_CODEC_NONE */
/* Takes bytes from *@data, which moves on. SCAN_END: *ret_content is what the frame has decoded, at most. */
enum scan_step decode_scan_feed(struct decode_scan *s, const char **data, size_t *len, uint64_t *ret_content);
