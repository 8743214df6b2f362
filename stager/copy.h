/* SPDX-License-Identifier: Apache-2.0 */
/* copy: of bytes that a disk or another core reads next, not this one. */
#pragma once

#include <stddef.h>

/*
 * As memcpy(). What is long is written past the caches where the CPU can do that: a plain copy reads each
 * line of the arena before it is overwritten, and takes the place of what is used again. Other threads see it
 * as any copy, once a lock says that it is there.
 */
void copy_streaming(void *to, const void *from, size_t len);
