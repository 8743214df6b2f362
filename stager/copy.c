/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/copy.h"

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(SANITIZED) /* sanitizers do not see stores like these */

#include <emmintrin.h>

#define LINE ((size_t)64)
#define SHORT ((size_t)4096) /* stays in the cache: it costs less than to write lines in part */

static void copy_line(char *to, const char *from) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)from);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(from + 16));
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(from + 32));
        __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(from + 48));

        _mm_stream_si128((__m128i *)(void *)to, a);
        _mm_stream_si128((__m128i *)(void *)(to + 16), b);
        _mm_stream_si128((__m128i *)(void *)(to + 32), c);
        _mm_stream_si128((__m128i *)(void *)(to + 48), d);
}

void copy_streaming(void *to, const void *from, size_t len) {
        size_t head = -(uintptr_t)to % LINE, done = head;

        if (len < SHORT) {
                memcpy(to, from, len);
                return;
        }
        memcpy(to, from, head);
        for (; len - done >= LINE; done += LINE)
                copy_line((char *)to + done, (const char *)from + done);
        _mm_sfence(); /* these stores are not in order with the lock's */
        memcpy((char *)to + done, (const char *)from + done, len - done);
}

#else

void copy_streaming(void *to, const void *from, size_t len) {
        memcpy(to, from, len);
}

#endif
