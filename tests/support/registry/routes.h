/* SPDX-License-Identifier: Apache-2.0 */
/* routes: one request to one answer. */
#pragma once

#include "http.h"
#include "store.h"

struct routes {
        const struct store *store;
        unsigned storage_port; /* that blobs are redirected to */
};

/* False: close the connection. */
bool routes_answer(const struct routes *r, struct http_connection *c, const struct http_request *req);
