/* SPDX-License-Identifier: Apache-2.0 */
/* tar_builder: tar archives made header by header, so that a test can make what no tool would. */
#pragma once

#include "tests/unit/test.h"

#include "base/buf.h"

#define TAR_BLOCK 512u

static inline void tar_pad(struct buf *b) {
        static const char zeros[TAR_BLOCK];

        if (b->len % TAR_BLOCK)
                assert_int_equal(buf_append(b, zeros, TAR_BLOCK - b->len % TAR_BLOCK), 0);
}

/* One ustar header; @size is what it says, whatever follows. */
static inline void tar_header(struct buf *b, char type, const char *name, const char *link, uint64_t size,
                              unsigned mode) {
        char h[TAR_BLOCK] = { 0 }, octal[32];
        unsigned sum = 0;

        snprintf(h, 100, "%s", name);
        snprintf(h + 100, 8, "%07o", mode);
        snprintf(h + 108, 8, "%07o", 0);
        snprintf(h + 116, 8, "%07o", 0);
        snprintf(octal, sizeof octal, "%011llo", (unsigned long long)size);
        memcpy(h + 124, octal, 11);
        snprintf(h + 136, 12, "%011o", 1000000000);
        h[156] = type;
        if (link)
                snprintf(h + 157, 100, "%s", link);
        memcpy(h + 257, "ustar\00000", 8);
        memset(h + 148, ' ', 8);
        for (size_t i = 0; i < sizeof h; i++)
                sum += (unsigned char)h[i];
        snprintf(h + 148, 8, "%06o", sum);
        assert_int_equal(buf_append(b, h, sizeof h), 0);
}

static inline void tar_data(struct buf *b, const void *data, size_t len) {
        assert_int_equal(buf_append(b, data, len), 0);
        tar_pad(b);
}

static inline void tar_file(struct buf *b, const char *name, const char *content) {
        tar_header(b, '0', name, NULL, strlen(content), 0644);
        tar_data(b, content, strlen(content));
}

/* "LENGTH KEY=VALUE", where the length counts itself. */
static inline void tar_pax_record(struct buf *b, const char *key, const char *value) {
        char *record = NULL;
        int n = 0, len = (int)(strlen(key) + strlen(value) + 3);

        for (int digits = 1; digits < 6; digits++) {
                free(record);
                n = asprintf(&record, "%d %s=%s\n", len + digits, key, value);
                if (n == len + digits)
                        break;
        }
        assert_int_equal(buf_append(b, record, (size_t)n), 0);
        free(record);
}

/* A PAX header for the next member: one record. */
static inline void tar_pax(struct buf *b, const char *key, const char *value) {
        struct buf record = BUF_INIT(1 << 20);

        tar_pax_record(&record, key, value);
        tar_header(b, 'x', "PaxHeaders/x", NULL, record.len, 0644);
        tar_data(b, record.data, record.len);
        buf_free(&record);
}

/* GNU's long name ('L') or long link ('K') for the next member. */
static inline void tar_gnu_long(struct buf *b, char type, const char *text) {
        tar_header(b, type, "././@LongLink", NULL, strlen(text) + 1, 0);
        tar_data(b, text, strlen(text) + 1);
}

static inline void tar_end(struct buf *b) {
        static const char zeros[2 * TAR_BLOCK];

        assert_int_equal(buf_append(b, zeros, sizeof zeros), 0);
}
