/* SPDX-License-Identifier: Apache-2.0 */
/* auth: who may pull: Basic, Bearer with our own token endpoint, and signed addresses for the storage
 * listener. Any thread. */
#pragma once

#include "http.h"
#include "knobs.h"

#define AUTH_SIGNED_MAX 256

/* May @r read @repository (NULL: only the API's version check)? True, or @a is the answer (401 or 403)
 * without its body. */
bool auth_allows(const struct http_request *r, const struct knobs *k, const char *repository,
                 struct http_answer *a);
void auth_set_token_port(unsigned port); /* for the challenge; once, before the first request */

/* GET /token. */
bool auth_answer_token(struct http_connection *c, const struct http_request *r, const struct knobs *k,
                       int *ret_status);

/* "?expires=…&signature=…" for @digest. */
void auth_sign(const char *digest, uint64_t seconds, char ret[static AUTH_SIGNED_MAX]);
/* The status that the storage listener answers with: 200 goes on, 400 for a request with credentials, 403. */
int auth_check_signed(const struct http_request *r, const char *digest);
