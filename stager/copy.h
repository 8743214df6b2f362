/* SPDX-License-Identifier: Apache-2.0 */
/* copy: into the arena, of bytes that a disk or another core reads next. */
#pragma once

#include <stddef.h>

#define COPY_SHORT ((size_t)4096) /* of less, the fence and the lines in part would cost more than is saved */

/*
 * As memcpy(). From COPY_SHORT on it goes past the caches where the CPU can do that: a plain copy reads each
 * line of the arena before it is overwritten, and takes the place of what is used again. On return the stores
 * are in order as memcpy's are: before a lock, a ring's tail or a system call that follows.
 */
void copy_streaming(void *to, const void *from, size_t len);
