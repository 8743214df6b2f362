/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/journal.h"

#include "base/path.h"

#include <errno.h>
#include <string.h>

#define ZEROS_STEP 32u
#define FILE_FIXED (1u + 8u + 8u + 2u)
#define OTHER_FIXED (1u + 8u)

static const char magic[] = { 'm', 's', 'j', 'r', 'n', 'l', '1', '\n' };

static void put_number(char *to, uint64_t n, size_t bytes) {
        for (size_t i = 0; i < bytes; i++)
                to[i] = (char)(n >> (8 * i));
}

static uint64_t get_number(const char *from, size_t bytes) {
        uint64_t n = 0;

        for (size_t i = 0; i < bytes; i++)
                n |= (uint64_t)(unsigned char)from[i] << (8 * i);
        return n;
}

/* False: out of memory, which nobody can tell from a damaged journal, nor has to. */
static bool check_of(char ret[static JOURNAL_CHECK_SIZE], const char *data, size_t len) {
        struct digest d;

        if (digest_of(&d, data, len) < 0)
                return false;
        memcpy(ret, d.bytes, JOURNAL_CHECK_SIZE);
        return true;
}

static bool has_check(const char *data, size_t len) {
        char check[JOURNAL_CHECK_SIZE];

        return check_of(check, data, len) && memcmp(check, data + len, sizeof check) == 0;
}

/* ---- head ---- */

void journal_print_head(char ret[static JOURNAL_HEAD_SIZE], const struct journal_head *h) {
        memset(ret, 0, JOURNAL_HEAD_SIZE);
        memcpy(ret, magic, sizeof magic);
        memcpy(ret + 8, h->digest.bytes, 32);
        put_number(ret + 40, h->size, 8);
        ret[48] = (char)h->packing;
        ret[49] = (char)h->codec;
        (void)check_of(ret + JOURNAL_HEAD_SIZE - JOURNAL_CHECK_SIZE, ret,
                       JOURNAL_HEAD_SIZE - JOURNAL_CHECK_SIZE);
}

bool journal_parse_head(struct journal_head *ret, const char data[static JOURNAL_HEAD_SIZE]) {
        struct journal_head h = { .size = get_number(data + 40, 8),
                                  .packing = (enum plan_packing)data[48],
                                  .codec = (enum plan_codec)data[49] };
        char again[JOURNAL_HEAD_SIZE];

        memcpy(h.digest.bytes, data + 8, 32);
        journal_print_head(again, &h);
        if (memcmp(again, data, sizeof again) != 0)
                return false;
        *ret = h;
        return true;
}

bool journal_head_equal(const struct journal_head *a, const struct journal_head *b) {
        return digest_equal(&a->digest, &b->digest) && a->size == b->size && a->packing == b->packing &&
               a->codec == b->codec;
}

/* ---- printing ---- */

static int print_file(struct buf *out, const struct journal_entry *entry) {
        char fixed[FILE_FIXED];
        size_t len = strlen(entry->name);
        int r;

        if (len >= JOURNAL_NAME_MAX)
                return -ENAMETOOLONG;
        fixed[0] = JOURNAL_FILE;
        put_number(fixed + 1, entry->len, 8);
        put_number(fixed + 9, entry->offset, 8);
        put_number(fixed + 17, len, 2);
        r = buf_append(out, fixed, sizeof fixed);
        return r < 0 ? r : buf_append(out, entry->name, len + 1);
}

/* Tar headers are mostly zeros, and there may be many of them: looked at in steps. */
static bool is_zeros(const char *data) {
        uint64_t words[ZEROS_STEP / sizeof(uint64_t)], all = 0;

        memcpy(words, data, sizeof words);
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
                all |= words[i];
        return all == 0;
}

/* How much from @data on is zeros, or is not. */
static size_t span(const char *data, size_t len, bool zeros) {
        size_t n = 0;

        while (len - n >= ZEROS_STEP && is_zeros(data + n) == zeros)
                n += ZEROS_STEP;
        return !zeros && len - n < ZEROS_STEP ? len : n;
}

static int print_other(struct buf *out, enum journal_kind kind, const char *data, uint64_t len) {
        char fixed[OTHER_FIXED];
        int r;

        if (len == 0)
                return 0;
        fixed[0] = (char)kind;
        put_number(fixed + 1, len, 8);
        r = buf_append(out, fixed, sizeof fixed);
        return r < 0 || kind == JOURNAL_ZEROS ? r : buf_append(out, data, (size_t)len);
}

static int print_bytes(struct buf *out, const char *data, size_t len) {
        int r = 0;

        while (len > 0 && r == 0) {
                size_t plain = span(data, len, false), zeros = span(data + plain, len - plain, true);

                r = print_other(out, JOURNAL_BYTES, data, plain);
                if (r == 0)
                        r = print_other(out, JOURNAL_ZEROS, NULL, zeros);
                data += plain + zeros;
                len -= plain + zeros;
        }
        return r;
}

int journal_print_entry(struct buf *out, const struct journal_entry *entry) {
        switch (entry->kind) {
        case JOURNAL_FILE:
                return print_file(out, entry);
        case JOURNAL_BYTES:
                return print_bytes(out, entry->data, (size_t)entry->len);
        case JOURNAL_ZEROS:
                return print_other(out, JOURNAL_ZEROS, NULL, entry->len);
        }
        return -EINVAL;
}

int journal_print_batch(struct buf *out, const struct journal_batch *b) {
        char fixed[JOURNAL_BATCH_SIZE], check[JOURNAL_CHECK_SIZE];
        size_t start = out->len;
        int r;

        put_number(fixed, b->len, 8);
        put_number(fixed + 8, b->from, 8);
        put_number(fixed + 16, b->to, 8);
        sha256_save(&b->state, (uint8_t *)fixed + 24);
        if ((r = buf_append(out, fixed, sizeof fixed)) < 0 || (r = buf_append(out, b->entries, b->len)) < 0)
                return r;
        if (!check_of(check, out->data + start, out->len - start))
                return -ENOMEM;
        return buf_append(out, check, sizeof check);
}

/* ---- parsing ---- */

/* The entry at @data, and how long it is there; 0: none that is whole. */
static size_t parse_file(struct journal_entry *ret, const char *data, size_t len) {
        if (len < FILE_FIXED)
                return 0;
        size_t name = (size_t)get_number(data + 17, 2);
        if (name >= JOURNAL_NAME_MAX || len - FILE_FIXED < name + 1 || data[FILE_FIXED + name] != '\0')
                return 0;
        *ret = (struct journal_entry){ .kind = JOURNAL_FILE,
                                       .len = get_number(data + 1, 8),
                                       .offset = get_number(data + 9, 8),
                                       .name = data + FILE_FIXED };
        return FILE_FIXED + name + 1;
}

static size_t parse_entry(struct journal_entry *ret, const char *data, size_t len) {
        if (len < OTHER_FIXED || *data == JOURNAL_FILE)
                return parse_file(ret, data, len);
        *ret = (struct journal_entry){ .len = get_number(data + 1, 8), .data = data + OTHER_FIXED };
        if (*data == JOURNAL_ZEROS) {
                ret->kind = JOURNAL_ZEROS;
                return OTHER_FIXED;
        }
        ret->kind = JOURNAL_BYTES;
        return *data == JOURNAL_BYTES && ret->len <= len - OTHER_FIXED ? OTHER_FIXED + (size_t)ret->len : 0;
}

/* As path_clean() leaves it: it stays below the directory that it is opened in. */
static bool is_clean(const char *name) {
        _cleanup_free_ char *clean = NULL;

        return *name && path_clean(&clean, name, NULL) == 0 && strcmp(clean, name) == 0;
}

static bool is_sound(const struct journal_batch *b) {
        uint64_t pos = b->from;
        struct journal_entry entry;

        for (size_t at = 0, n; at < b->len; at += n) {
                n = parse_entry(&entry, b->entries + at, b->len - at);
                if (n == 0 || entry.len == 0 || entry.len > b->to - pos)
                        return false;
                if (entry.kind == JOURNAL_FILE &&
                    (entry.offset > INT64_MAX - entry.len || !is_clean(entry.name)))
                        return false;
                pos += entry.len;
        }
        return pos == b->to;
}

size_t journal_batch_size(const char data[static JOURNAL_BATCH_SIZE]) {
        uint64_t len = get_number(data, 8);

        return len == 0 || len > JOURNAL_ENTRIES_MAX ? 0
                                                     : JOURNAL_BATCH_SIZE + (size_t)len + JOURNAL_CHECK_SIZE;
}

bool journal_parse_batch(struct journal_batch *ret, const char *data, size_t len) {
        struct journal_batch b;

        if (len < JOURNAL_BATCH_SIZE || journal_batch_size(data) != len ||
            !has_check(data, len - JOURNAL_CHECK_SIZE))
                return false;
        b = (struct journal_batch){ .from = get_number(data + 8, 8),
                                    .to = get_number(data + 16, 8),
                                    .entries = data + JOURNAL_BATCH_SIZE,
                                    .len = len - JOURNAL_BATCH_SIZE - JOURNAL_CHECK_SIZE };
        if (b.from >= b.to || b.to > INT64_MAX || sha256_load(&b.state, (const uint8_t *)data + 24) < 0 ||
            b.state.len != b.to || !is_sound(&b))
                return false;
        *ret = b;
        return true;
}

bool journal_next(struct journal_batch *b, struct journal_entry *ret) {
        if (b->len == 0)
                return false;
        size_t n = parse_entry(ret, b->entries, b->len);
        b->entries += n;
        b->len -= n;
        b->from += ret->len;
        return true;
}
