/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zstd (RFC 8878)     magic 4 | descriptor 1, window, dictionary, content size | blocks | checksum
 *                             or: size 4 | bytes to skip
 * BGZF (RFC 1952 and  1f 8b 08 04 | mtime, xfl, os | xlen 2 | extra field: "BC" 2 0 size-1 | … | crc, isize
 * the SAM format)
 *
 * Each part is a number of bytes to collect, then a look at them that says which part comes next, and how
 * many bytes are passed over first.
 */
#include "stager/decode_scan.h"

#include <string.h>

#define ZSTD_BLOCK_MAX ((uint64_t)128 << 10)
#define GZIP_HEAD 12u /* with the length of the extra field */
#define GZIP_TAIL 8u
#define BGZF_CONTENT_MAX ((uint64_t)64 << 10)

static void expect(struct decode_scan *s, enum scan_part part, size_t want) {
        s->part = part;
        s->want = want;
        if (part == SCAN_START || part == SCAN_BLOCK || part == SCAN_SKIP_SIZE)
                s->got = 0;
}

static void pass(struct decode_scan *s, enum scan_part part, uint64_t len) {
        s->part = part;
        s->left = len;
}

static void begin(struct decode_scan *s) {
        *s = (struct decode_scan){ .codec = s->codec };
        expect(s, SCAN_START, s->codec == PLAN_CODEC_ZSTD ? 4 : GZIP_HEAD);
}

void decode_scan_init(struct decode_scan *s, enum plan_codec codec) {
        s->codec = codec;
        begin(s);
}

static uint64_t number(const uint8_t *p, size_t n) {
        uint64_t v = 0;

        while (n-- > 0)
                v = v << 8 | p[n];
        return v;
}

/* The magic number; 5 bytes are enough to know how long a frame's header is. */
static void look_at_magic(struct decode_scan *s) {
        uint64_t magic = number(s->head, 4);

        if (magic == 0xfd2fb528)
                expect(s, SCAN_HEADER, 5);
        else if ((magic & 0xfffffff0) == 0x184d2a50)
                expect(s, SCAN_SKIP_SIZE, 4);
        else
                s->part = SCAN_LOST;
}

/* How many bytes of content size the header has. */
static size_t content_field(uint8_t descriptor) {
        static const uint8_t sizes[] = { 0, 2, 4, 8 };
        bool single = descriptor & 0x20;

        return descriptor >> 6 == 0 && single ? 1 : sizes[descriptor >> 6];
}

static void look_at_header(struct decode_scan *s) {
        static const uint8_t dictionary_sizes[] = { 0, 1, 2, 4 };
        uint8_t descriptor = s->head[4];
        bool single = descriptor & 0x20;
        size_t content = content_field(descriptor), dictionary = dictionary_sizes[descriptor & 3];
        size_t len = 5 + !single + dictionary + content;
        const uint8_t *p = s->head + 5;
        uint64_t window = 0;

        if (s->want < len) {
                s->want = len;
                return;
        }
        if (!single) {
                uint64_t base = (uint64_t)1 << (10 + (*p >> 3));

                window = base + base / 8 * (*p & 7);
        }
        p += !single + dictionary;
        s->exact = content > 0;
        s->content = number(p, content) + (content == 2 ? 256 : 0);
        if (single)
                window = s->content;
        s->block = window < ZSTD_BLOCK_MAX ? window : ZSTD_BLOCK_MAX;
        s->checksum = descriptor & 4;
        expect(s, SCAN_BLOCK, 3);
        if (dictionary > 0 || window > SCAN_FRAME_MAX)
                s->part = SCAN_LOST;
}

static void look_at_block(struct decode_scan *s) {
        uint64_t header = number(s->head, 3), size = header >> 3;
        enum { RAW, RLE, COMPRESSED, RESERVED } type = header >> 1 & 3;
        bool last = header & 1;

        if (!s->exact)
                s->content += type == COMPRESSED ? s->block : size;
        if (type == RESERVED)
                s->part = SCAN_LOST;
        else
                pass(s, last ? SCAN_LAST : SCAN_BODY,
                     (type == RLE ? 1 : size) + (last && s->checksum ? 4 : 0));
}

static void look_at_member(struct decode_scan *s) {
        static const uint8_t magic[] = { 0x1f, 0x8b, 8, 4 }; /* deflate; an extra field and nothing else */
        size_t extra = (size_t)number(s->head + 10, 2);

        if (memcmp(s->head, magic, sizeof magic) == 0 && extra >= 6 && extra <= sizeof s->head - GZIP_HEAD)
                expect(s, SCAN_EXTRA, GZIP_HEAD + extra);
        else
                s->part = SCAN_LOST;
}

static void look_at_extra(struct decode_scan *s) {
        size_t at = GZIP_HEAD, size = 0;

        while (at + 4 <= s->want) {
                size_t len = (size_t)number(s->head + at + 2, 2);

                if (memcmp(s->head + at, "BC\2", 4) == 0 && at + 6 <= s->want)
                        size = (size_t)number(s->head + at + 4, 2) + 1;
                at += 4 + len;
        }
        s->content = BGZF_CONTENT_MAX;
        if (at == s->want && size >= s->want + GZIP_TAIL)
                pass(s, SCAN_LAST, size - s->want);
        else
                s->part = SCAN_LOST;
}

/* What was wanted is here. */
static void look(struct decode_scan *s) {
        switch (s->part) {
        case SCAN_START:
                if (s->codec == PLAN_CODEC_ZSTD)
                        look_at_magic(s);
                else
                        look_at_member(s);
                break;
        case SCAN_SKIP_SIZE:
                pass(s, SCAN_LAST, number(s->head, 4));
                break;
        case SCAN_HEADER:
                look_at_header(s);
                break;
        case SCAN_BLOCK:
                look_at_block(s);
                break;
        default:
                look_at_extra(s);
                break;
        }
}

static void collect(struct decode_scan *s, const char **data, size_t *len) {
        size_t n = s->want - s->got < *len ? s->want - s->got : *len;

        memcpy(s->head + s->got, *data, n);
        s->got += n;
        s->size += n;
        *data += n;
        *len -= n;
        if (s->got == s->want)
                look(s);
}

static void pass_over(struct decode_scan *s, const char **data, size_t *len) {
        size_t n = s->left < *len ? (size_t)s->left : *len;

        s->left -= n;
        s->size += n;
        *data += n;
        *len -= n;
        if (s->left == 0 && s->part == SCAN_BODY)
                expect(s, SCAN_BLOCK, 3);
}

/* A frame that is larger than allowed is given up as soon as that is known. */
static bool too_large(const struct decode_scan *s) {
        uint64_t rest = s->part == SCAN_BODY || s->part == SCAN_LAST ? s->left : 0;

        return s->content > SCAN_FRAME_MAX || s->size + rest > SCAN_COMPRESSED_MAX;
}

enum scan_step decode_scan_feed(struct decode_scan *s, const char **data, size_t *len,
                                uint64_t *ret_content) {
        while (s->part != SCAN_LOST) {
                if (s->part == SCAN_LAST && s->left == 0) {
                        *ret_content = s->content;
                        begin(s);
                        return SCAN_END;
                }
                if (*len == 0)
                        return SCAN_MORE;
                if (s->part == SCAN_BODY || s->part == SCAN_LAST)
                        pass_over(s, data, len);
                else
                        collect(s, data, len);
                if (too_large(s))
                        s->part = SCAN_LOST;
        }
        return SCAN_NOT;
}
