/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/copy.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define LINE ((size_t)64)

#if defined(__SSE2__) && !defined(SANITIZED) /* gcc's sanitizers do not see these stores */

#include <emmintrin.h>

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

/* Whatever publishes them may be a plain store, such as that of the ring's tail, and these are not in order
 * with it by themselves. */
static void fence(void) {
        _mm_sfence();
}

#else

static void copy_line(char *to, const char *from) {
        memcpy(to, from, LINE);
}

static void fence(void) {
}

#endif

void copy_streaming(void *to, const void *from, size_t len) {
        size_t head = -(uintptr_t)to % LINE, done = head;

        static_assert(COPY_SHORT >= LINE, "the head fits into what is copied");
        if (len < COPY_SHORT) {
                memcpy(to, from, len);
                return;
        }
        memcpy(to, from, head);
        for (; len - done >= LINE; done += LINE)
                copy_line((char *)to + done, (const char *)from + done);
        fence();
        memcpy((char *)to + done, (const char *)from + done, len - done);
}
