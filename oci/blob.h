/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob: how to ask for the bytes of one blob now. The engine does the asking: oci tells it the address and
 * the headers of a range request, and judges the answer.
 *
 *   oci_blob_new -> oci_blob_locate (blocks: token, redirect)
 *                -> oci_blob_prepare / oci_blob_judge per range -> oci_blob_free
 *
 * prepare and judge may run on one thread (the reactor) while locate runs on another; they do not block.
 */
#pragma once

#include "oci/client.h"

#include <curl/curl.h>

struct oci_blob;

/* Everything is copied or kept alive by reference count except @c. */
int oci_blob_new(struct oci_blob **ret, struct oci_client *c, const struct oci_reference *source,
                 const struct oci_keyring *keyring, const struct digest *digest, uint64_t size,
                 struct error *e);
void oci_blob_free(struct oci_blob *b);
DEFINE_CLEANUP(struct oci_blob *, oci_blob_free);

/*
 * Finds where the blob's bytes are to be had now: authenticates, follows the registry's redirect once and
 * remembers the target, learns whether ranges are honoured. Reads the first bytes on the way: up to @cap of
 * them land in @data and *ret_len says how many (for a blob of at most @cap bytes usually all of them, in one
 * request). @data may be NULL with cap 0. Blocks, retries. For an OCI layout on disk opens the file.
 */
int oci_blob_locate(struct oci_blob *b, void *data, size_t cap, size_t *ret_len, struct error *e);

/* From any thread: why a locate that runs takes so long; false (and "") if there is no reason. */
bool oci_blob_trouble(const struct oci_blob *b, char *ret, size_t size);

/* From any thread: a locate that runs ends soon with ERROR_CANCELLED, and so does every later one. */
void oci_blob_cancel(struct oci_blob *b);

bool oci_blob_is_layout(const struct oci_blob *b); /* known before it is located */
int oci_blob_file(const struct oci_blob *b); /* a layout's file, or -1: then it is HTTP. Not to be closed. */
bool oci_blob_has_ranges(const struct oci_blob *b); /* false: one plain GET of the whole blob */
void oci_blob_forgo_ranges(struct oci_blob *b);     /* false from now on: the host is known for that */
const char *oci_blob_host(
    const struct oci_blob *b); /* where the bytes come from now; valid until the next locate */
const char *oci_blob_registry(const struct oci_blob *b); /* host of the reference, for metrics */

/*
 * Sets address, headers, TLS, timeouts and the range [from, to) on @easy, which the engine made and reuses.
 * Write function, private pointer and multi handle are the engine's. The whole blob with ranges not honoured:
 * no Range header.
 */
int oci_blob_prepare(struct oci_blob *b, CURL *easy, uint64_t from, uint64_t to, struct error *e);

enum oci_verdict {
        OCI_VERDICT_OK,     /* these are the bytes that were asked for */
        OCI_VERDICT_RETRY,  /* ask again, not before *ret_wait_ms (0: as the asker likes) */
        OCI_VERDICT_LOCATE, /* token or signed address has expired, or a redirect: oci_blob_locate() first */
        OCI_VERDICT_NO_RANGES, /* the server sends the whole blob: has_ranges is false from now on */
        OCI_VERDICT_FATAL,     /* @e says why */
};

/* Once the headers of an answer are here, before its first byte is stored: is this the range that was asked
 * for? */
enum oci_verdict oci_blob_judge_headers(struct oci_blob *b, CURL *easy, uint64_t from, uint64_t to,
                                        struct error *e);
/* After the transfer ended with @code. @e names host, status and what to do, also for RETRY (for when it was
 * the last try). Counts modelstage_registry_requests_total. */
enum oci_verdict oci_blob_judge(struct oci_blob *b, CURL *easy, CURLcode code, uint64_t from, uint64_t to,
                                int64_t *ret_wait_ms, struct error *e);

/* The bytes that came from where they come from now do not match their digest: the next locate asks
 * elsewhere. False: there is nobody else to ask. */
bool oci_blob_distrust(struct oci_blob *b);
