/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scout: block by block through a tar, over the data of its members.
 *
 *   SCOUT_AT_HEADER ──x X g──▶ SCOUT_IN_PAX ──(its end)──▶ SCOUT_AT_HEADER
 *     │  │  ├──L──▶ SCOUT_IN_NAME ──(its end)────────────▶ SCOUT_AT_HEADER
 *     │  │  ├──K────────────────(over the name)──────────▶ SCOUT_AT_HEADER
 *     │  │  ├──a member────────(over its data)───────────▶ SCOUT_AT_HEADER
 *     │  │  └──GNU sparse, map goes on──▶ SCOUT_IN_MAP ──(over its data)──▶ SCOUT_AT_HEADER
 *     │  └─────an empty block, the blob's end────────────▶ SCOUT_AT_END
 *     └────────any doubt─────────────────────────────────▶ SCOUT_IS_LOST
 *
 * Rules and tolerances are those of libarchive's reader, which has the last word on what the archive holds:
 * one empty block ends it, links and directories have no data whatever their size says, checksums may be of
 * signed bytes. Where readers differ or versions of it do, there is doubt: a size for all members ('g'),
 * data of a hard link or of a directory that only its name tells, two PAX headers for one member, types that
 * POSIX does not know.
 *
 * A block is looked at once and the position only grows, so a hostile archive costs what its length is worth.
 */
#include "stager/scout.h"

#include <string.h>

#define EXTENSIONS_MAX 32u /* libarchive's limit */
#define SIZE_MAX_OF_TAR ((uint64_t)INT64_MAX)

/* Fields of a header: offset and length. */
enum {
        NAME = 0,
        NAME_LEN = 100,
        SIZE = 124,
        SIZE_LEN = 12,
        CHECKSUM = 148,
        CHECKSUM_LEN = 8,
        TYPE = 156,
        MAGIC = 257,
        PREFIX = 345,  /* ustar */
        GNU_MAP = 386, /* of holes; its first byte is 0 if there is none */
        GNU_MAP_GOES_ON = 482,
        GNU_REAL_SIZE = 483,
        MORE_MAP_GOES_ON = 504, /* in a block that continues the map */
};

static enum scout_step end(struct scout *s) {
        s->state = SCOUT_AT_END;
        return SCOUT_END;
}

static enum scout_step lost(struct scout *s) {
        s->state = SCOUT_IS_LOST;
        return SCOUT_LOST;
}

static bool is_gnu(const uint8_t *h) {
        return memcmp(h + MAGIC, "ustar  ", 8) == 0;
}

static bool is_ustar(const uint8_t *h) {
        return !is_gnu(h) && memcmp(h + MAGIC, "ustar", 5) == 0;
}

static bool is_empty(const uint8_t *block) {
        for (unsigned i = 0; i < SCOUT_BLOCK; i++)
                if (block[i])
                        return false;
        return true;
}

/* Base 256, big endian: the high bit marks it, the next one is the sign. */
static bool binary_number(const uint8_t *field, size_t len, uint64_t *ret) {
        uint64_t n = field[0] & 0x7f;

        if (n & 0x40)
                return false;
        for (size_t i = 1; i < len; i++) {
                if (n > SIZE_MAX_OF_TAR >> 8)
                        return false;
                n = n << 8 | field[i];
        }
        *ret = n;
        return true;
}

/* Octal digits behind blanks; what follows them does not count. False: it is negative, or too big. */
static bool number(const uint8_t *field, size_t len, uint64_t *ret) {
        uint64_t n = 0;
        size_t i = 0;

        if (field[0] & 0x80)
                return binary_number(field, len, ret);
        while (i < len && (field[i] == ' ' || field[i] == '\t'))
                i++;
        if (i < len && field[i] == '-')
                return false;
        for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
                n = n << 3 | (uint64_t)(field[i] - '0'); /* 12 digits have 36 bits */
        *ret = n;
        return true;
}

/* Of all bytes, those of the sum itself as blanks. Some old tars have added up signed ones. */
static bool has_checksum(const uint8_t *h) {
        unsigned sum = 0, high = 0; /* high: bytes that are negative when signed */
        uint64_t said;

        for (unsigned i = 0; i < SCOUT_BLOCK; i++) {
                bool own = i >= CHECKSUM && i < CHECKSUM + CHECKSUM_LEN;

                if (own && h[i] != ' ' && h[i] != '\0' && (h[i] < '0' || h[i] > '7'))
                        return false;
                sum += own ? ' ' : h[i];
                high += !own && h[i] >= 0x80;
        }
        if (!number(h + CHECKSUM, CHECKSUM_LEN, &said))
                return false;
        return said == sum || (sum >= high << 8 && said == sum - (high << 8));
}

/* Old tars have no type for a directory. */
static bool is_called_directory(const uint8_t *h) {
        size_t len = strnlen((const char *)h + NAME, NAME_LEN);

        return len > 0 ? h[NAME + len - 1] == '/' : is_ustar(h) && h[PREFIX];
}

/* Over @len bytes, and what fills the last block. */
static void skip(struct scout *s, uint64_t len) {
        s->pos += len + (SCOUT_BLOCK - len % SCOUT_BLOCK) % SCOUT_BLOCK;
}

/* An empty name is none. */
static void rename_member(struct scout *s, char last) {
        s->is_renamed = s->is_renamed || last != '\0';
        s->is_slashed = s->is_slashed || last == '/';
}

static void begin_member(struct scout *s) {
        s->state = SCOUT_AT_HEADER;
        s->extensions = 0;
        s->has_pax = s->has_long_name = s->has_long_link = false;
        s->is_renamed = s->is_slashed = s->is_sparse = s->has_size = false;
}

/* A header that says something about the member to come, or about all of them. */
static enum scout_step extension(struct scout *s, char type, uint64_t size) {
        bool *once = type == 'L' ? &s->has_long_name : type == 'K' ? &s->has_long_link : &s->has_pax;

        if (size > SCOUT_EXTENSION_MAX || size > s->size - s->pos || ++s->extensions > EXTENSIONS_MAX)
                return lost(s);
        if (type != 'g') {
                if (*once)
                        return lost(s);
                *once = true;
        }
        if (type == 'K') {
                skip(s, size);
                return SCOUT_NEED;
        }
        s->is_global = type == 'g';
        s->left = size;
        memset(&s->record, 0, sizeof s->record);
        if (size > 0)
                s->state = type == 'L' ? SCOUT_IN_NAME : SCOUT_IN_PAX;
        return SCOUT_NEED;
}

/* Links and devices and whatever else has no data. */
static enum scout_step without_data(struct scout *s, const uint8_t *h, uint64_t size) {
        bool has_data = h[TYPE] == '1' && is_ustar(h) && size > 0;

        if (has_data || (s->has_size && s->pax_size > 0) || (is_gnu(h) && h[GNU_MAP]))
                return lost(s);
        begin_member(s);
        return SCOUT_NEED;
}

static enum scout_step with_data(struct scout *s, const uint8_t *h, uint64_t size, struct scout_member *ret) {
        bool has_map = is_gnu(h) && h[GNU_MAP];
        bool verbatim = h[TYPE] != 'S' && !has_map && !s->is_sparse && !(is_gnu(h) && h[GNU_REAL_SIZE]);

        if (s->has_size)
                size = s->pax_size;
        if (size > s->size - s->pos || (h[TYPE] == 'S' && !is_gnu(h)))
                return lost(s);
        if (s->is_renamed ? s->is_slashed : is_called_directory(h)) {
                if (size > 0)
                        return lost(s);
                verbatim = false;
        }
        if (has_map && h[GNU_MAP_GOES_ON]) {
                s->skip = size;
                s->state = SCOUT_IN_MAP;
                return SCOUT_NEED;
        }
        const struct scout_member m = { .header = s->start, .data = s->pos, .size = size };
        skip(s, size);
        begin_member(s);
        if (!verbatim || size < s->min)
                return SCOUT_NEED;
        *ret = m;
        return SCOUT_MEMBER;
}

static enum scout_step take_header(struct scout *s, const uint8_t *h, struct scout_member *ret) {
        uint64_t size;

        if (is_empty(h))
                return end(s);
        if (!has_checksum(h) || !number(h + SIZE, SIZE_LEN, &size))
                return lost(s);
        if (s->extensions == 0)
                s->start = s->pos;
        s->pos += SCOUT_BLOCK;
        switch (h[TYPE]) {
        case 'x':
        case 'X': /* Sun's */
        case 'g':
        case 'L':
        case 'K':
                return extension(s, (char)h[TYPE], size);
        case '1': /* hard link */
        case '2': /* symbolic link */
        case '3': /* devices */
        case '4':
        case '5': /* directory */
        case '6': /* pipe */
                return without_data(s, h, size);
        case '\0':
        case '0':
        case '7':
        case 'S':
                return with_data(s, h, size, ret);
        default:
                return lost(s);
        }
}

static bool key_is(const struct scout *s, const char *key) {
        return s->record.key_len == strlen(key) && memcmp(s->record.key, key, s->record.key_len) == 0;
}

static bool key_begins(const struct scout *s, const char *key) {
        return s->record.key_len >= strlen(key) && memcmp(s->record.key, key, strlen(key)) == 0;
}

/* False: for all members at once that would be beyond us. */
static bool take_key(struct scout *s) {
        bool sparse =
            key_begins(s, "GNU.sparse.") || key_is(s, "SCHILY.realsize") || key_is(s, "SUN.holesdata");

        s->is_sparse = s->is_sparse || sparse;
        s->has_size = s->has_size || key_is(s, "size");
        return !s->is_global || !(sparse || key_is(s, "size"));
}

static bool take_length_char(struct scout *s, char c) {
        if (c >= '0' && c <= '9') {
                s->record.length = s->record.length * 10 + (uint64_t)(c - '0');
                return s->record.length <= SCOUT_EXTENSION_MAX;
        }
        s->record.part = SCOUT_IN_KEY;
        return c == ' ' && s->record.length > s->record.seen && s->record.length - s->record.seen <= s->left;
}

static bool take_key_char(struct scout *s, char c) {
        if (c == '\0' || c == '\n')
                return false;
        if (c == '=') {
                s->record.part = SCOUT_IN_VALUE;
                return s->record.key_len > 0 && s->record.seen < s->record.length && take_key(s);
        }
        if (s->record.key_len < sizeof s->record.key)
                s->record.key[s->record.key_len++] = c;
        return s->record.seen < s->record.length;
}

static bool take_value_char(struct scout *s, char c) {
        bool is_size = key_is(s, "size");

        if (s->record.seen == s->record.length) {
                bool fits = c == '\n' && (!is_size || s->record.has_number);

                if (is_size)
                        s->pax_size = s->record.number;
                if (key_is(s, "path"))
                        rename_member(s, s->record.last);
                memset(&s->record, 0, sizeof s->record);
                return fits;
        }
        s->record.last = c;
        if (!is_size)
                return true;
        if (c < '0' || c > '9' || s->record.number > (SIZE_MAX_OF_TAR - 9) / 10)
                return false;
        s->record.number = s->record.number * 10 + (uint64_t)(c - '0');
        s->record.has_number = true;
        return true;
}

static bool take_char(struct scout *s, char c) {
        s->left--;
        s->record.seen++;
        switch (s->record.part) {
        case SCOUT_IN_LENGTH:
                return take_length_char(s, c);
        case SCOUT_IN_KEY:
                return take_key_char(s, c);
        default:
                return take_value_char(s, c);
        }
}

static enum scout_step take_pax(struct scout *s, const uint8_t *block) {
        for (unsigned i = 0; i < SCOUT_BLOCK && s->left > 0; i++)
                if (!take_char(s, (char)block[i]))
                        return lost(s);
        s->pos += SCOUT_BLOCK;
        if (s->left > 0)
                return SCOUT_NEED;
        if (s->record.seen > 0) /* it ends within a record */
                return lost(s);
        s->state = SCOUT_AT_HEADER;
        return SCOUT_NEED;
}

static enum scout_step take_name(struct scout *s, const uint8_t *block) {
        size_t there = s->left < SCOUT_BLOCK ? (size_t)s->left : SCOUT_BLOCK;
        size_t len = strnlen((const char *)block, there);

        if (len > 0)
                s->record.last = (char)block[len - 1];
        if (len == there && there < s->left) {
                s->left -= there;
                s->pos += SCOUT_BLOCK;
                return SCOUT_NEED;
        }
        rename_member(s, s->record.last);
        skip(s, s->left);
        s->state = SCOUT_AT_HEADER;
        return SCOUT_NEED;
}

static enum scout_step take_map(struct scout *s, const uint8_t *block) {
        s->pos += SCOUT_BLOCK;
        if (block[MORE_MAP_GOES_ON])
                return SCOUT_NEED;
        if (s->skip > s->size - s->pos)
                return lost(s);
        skip(s, s->skip);
        begin_member(s);
        return SCOUT_NEED;
}

void scout_init(struct scout *s, uint64_t blob_size, uint64_t min) {
        *s = (struct scout){ .size = blob_size, .min = min };
        if (blob_size > SIZE_MAX_OF_TAR - SCOUT_BLOCK)
                s->state = SCOUT_IS_LOST;
}

uint64_t scout_pos(const struct scout *s) {
        return s->pos;
}

static enum scout_step take_block(struct scout *s, const uint8_t *block, struct scout_member *ret) {
        switch (s->state) {
        case SCOUT_AT_HEADER:
                return take_header(s, block, ret);
        case SCOUT_IN_PAX:
                return take_pax(s, block);
        case SCOUT_IN_NAME:
                return take_name(s, block);
        case SCOUT_IN_MAP:
                return take_map(s, block);
        case SCOUT_AT_END:
                return SCOUT_END;
        default:
                return SCOUT_LOST;
        }
}

enum scout_step scout_feed(struct scout *s, const void *data, size_t len, struct scout_member *ret) {
        const uint64_t from = s->pos;

        for (;;) {
                if (s->state == SCOUT_IS_LOST)
                        return SCOUT_LOST;
                if (s->state == SCOUT_AT_END || s->pos > s->size || s->size - s->pos < SCOUT_BLOCK)
                        return end(s);
                if (s->pos - from > len || len - (s->pos - from) < SCOUT_BLOCK)
                        return SCOUT_NEED;
                enum scout_step step = take_block(s, (const uint8_t *)data + (s->pos - from), ret);

                if (step != SCOUT_NEED)
                        return step;
        }
}
