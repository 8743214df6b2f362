/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main listener      /v2/…          the registry
 *                    /_…            knobs, counters and file lists for the test; no fault applies, nothing is
 * counted storage listener   /storage/D?…   blobs by signed address token listener     /token?scope=  Bearer
 * tokens
 *
 * A struct exchange is one request on its way: the handlers fill in what became of it, and the caller counts
 * that.
 */
#include "routes.h"

#include "auth.h"
#include "body.h"
#include "stats.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct exchange {
        const struct routes *routes;
        struct http_connection *c;
        const struct http_request *req;
        struct knobs knobs;
        struct stats_entry stats;
        int status;    /* that went out; 0: none */
        uint64_t sent; /* bytes of the body */
};

static atomic_uint_fast64_t blobs_now;   /* answers with a blob that are under way */
static atomic_uint_fast64_t connections; /* that were used for more than knobs and counters */

static bool is_head(const struct http_request *r) {
        return strcmp(r->method, "HEAD") == 0;
}

static bool answer_error(struct exchange *x, struct http_answer *a, const char *code) {
        char text[256];

        a->type = "application/json";
        x->status = a->status;
        snprintf(text, sizeof text, "{\"errors\":[{\"code\":\"%s\",\"message\":\"said by fault-registry\"}]}",
                 code);
        return http_answer_text(x->c, x->req, a, text);
}

static bool answer_status(struct exchange *x, int status, const char *code) {
        struct http_answer a = { .status = status };

        if (status == 429 || status == 503)
                if (knob_number(&x->knobs, retry_after) > 0)
                        http_answer_header(&a, "Retry-After: %llu\r\n",
                                           (unsigned long long)knob_number(&x->knobs, retry_after));
        return answer_error(x, &a, code);
}

static bool answer_json(struct exchange *x, int status, json_t *take) {
        struct http_answer a = { .status = status, .type = "application/json" };
        _cleanup_(json_decrefp) json_t *json = take;
        _cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

        x->status = status;
        return text ? http_answer_text(x->c, x->req, &a, text) : answer_status(x, 404, "NOT_FOUND");
}

/* "bytes=a-b", "bytes=a-", "bytes=-n": 206, 416, or 200 for what is none (several ranges too). */
static int parse_range(const char *text, uint64_t size, uint64_t *ret_start, uint64_t *ret_end) {
        char *end;

        *ret_start = 0;
        *ret_end = size;
        if (strncmp(text, "bytes=", 6) != 0 || strchr(text, ','))
                return 200;
        const char *p = text + 6;
        bool suffix = *p == '-';
        uint64_t a = strtoull(suffix ? p + 1 : p, &end, 10);

        if (suffix) {
                *ret_start = a < size ? size - a : 0;
                return a > 0 ? 206 : 416;
        }
        if (*end != '-' || end == p)
                return 200;
        uint64_t b = end[1] ? strtoull(end + 1, NULL, 10) : UINT64_MAX;

        if (a >= size || b < a)
                return 416;
        *ret_start = a;
        *ret_end = b < size ? b + 1 : size;
        return 206;
}

static bool send_blob(struct exchange *x, const struct content *content) {
        struct http_answer a = { .status = 200, .type = "application/octet-stream" };
        struct body_plan plan;
        uint64_t start = 0, end = content->size;
        bool ranges = !knob_number(&x->knobs, ignore_range);

        if (ranges)
                a.status = parse_range(x->req->range, content->size, &start, &end);
        if (a.status == 416) {
                http_answer_header(&a, "Content-Range: bytes */%llu\r\n", (unsigned long long)content->size);
                return answer_error(x, &a, "RANGE_INVALID");
        }
        if (ranges)
                http_answer_header(&a, "Accept-Ranges: bytes\r\n");
        if (a.status == 206) {
                unsigned off = knob_number(&x->knobs, wrong_range) ? 1 : 0;

                http_answer_header(&a, "Content-Range: bytes %llu-%llu/%llu\r\n",
                                   (unsigned long long)start + off, (unsigned long long)end - 1 + off,
                                   (unsigned long long)content->size);
        }
        http_answer_header(&a, "Docker-Content-Digest: %s\r\n", content->digest);
        a.length = end - start;
        x->status = a.status;
        if (is_head(x->req) || end == start)
                return http_write_head(x->c, &a, false);
        body_plan(&plan, &x->knobs, content->digest, start, end);
        return http_write_head(x->c, &a, true) &&
               body_send(x->c, content, start, end, &x->knobs, &plan, &x->stats, &x->sent);
}

/* The bytes of a blob, on whichever listener; the faults of blobs apply here. */
static bool serve_blob(struct exchange *x, const struct content *content) {
        uint64_t max = knob_number(&x->knobs, max_blobs);
        bool good;

        if (!is_head(x->req) && body_fails(&x->knobs))
                return answer_status(x, (int)knob_number(&x->knobs, fail_status), "UNAVAILABLE");
        if (++blobs_now > max && max > 0 && !is_head(x->req))
                good = answer_status(x, 429, "TOOMANYREQUESTS");
        else
                good = send_blob(x, content);
        blobs_now--;
        return good;
}

static bool redirect_blob(struct exchange *x, const char *digest) {
        struct http_answer a = { .status = 307 };
        char query[AUTH_SIGNED_MAX];

        auth_sign(digest, knob_number(&x->knobs, redirect_seconds), query);
        http_answer_header(&a, "Location: http://%s:%u/storage/%s%s\r\n", knob_text(&x->knobs, redirect_host),
                           x->routes->storage_port, digest, query);
        x->status = 307;
        return http_answer_text(x->c, x->req, &a, "");
}

static bool answer_blob(struct exchange *x, const char *repository, const char *digest) {
        _cleanup_(content_close) struct content content = CONTENT_INIT;
        const char *missing = knob_text(&x->knobs, missing_blob);

        if ((missing[0] && strncmp(digest, missing, strlen(missing)) == 0) ||
            !store_open_blob(x->routes->store, repository, digest, &content))
                return answer_status(x, 404, "BLOB_UNKNOWN");
        if (knob_number(&x->knobs, redirect))
                return redirect_blob(x, digest);
        return serve_blob(x, &content);
}

static bool answer_manifest(struct exchange *x, const char *repository, const char *reference) {
        _cleanup_(content_close) struct content content = CONTENT_INIT;
        struct body_plan plan;

        if (knob_number(&x->knobs, fail_manifests) > 0)
                return answer_status(x, (int)knob_number(&x->knobs, fail_manifests), "UNAVAILABLE");
        if (strcmp(reference, knob_text(&x->knobs, hide_tag)) == 0 ||
            !store_open_manifest(x->routes->store, repository, reference, &content))
                return answer_status(x, 404, "MANIFEST_UNKNOWN");
        struct http_answer a = { .status = 200, .type = content.media_type, .length = content.size };

        http_answer_header(&a, "Docker-Content-Digest: %s\r\n", content.digest);
        x->status = 200;
        if (is_head(x->req))
                return http_write_head(x->c, &a, false);
        body_plan_flip(&plan, &x->knobs, content.digest, 0, content.size);
        return http_write_head(x->c, &a, true) &&
               body_send(x->c, &content, 0, content.size, &x->knobs, &plan, &x->stats, &x->sent);
}

static bool answer_tags(struct exchange *x, const char *repository) {
        json_t *tags = store_tags(x->routes->store, repository);

        if (!tags)
                return answer_status(x, 404, "NAME_UNKNOWN");
        return answer_json(x, 200, json_pack("{s:s, s:o}", "name", repository, "tags", tags));
}

/* "NAME/manifests/X", "NAME/blobs/X", "NAME/tags/list": NAME may have slashes, so look from the end. */
static bool answer_registry(struct exchange *x, const char *path) {
        static const char *const kinds[] = { "manifests", "blobs", "tags" };
        struct http_answer a = { .status = 401 };
        const char *last = strrchr(path, '/');
        char name[1024];

        for (unsigned i = 0; last && i < 3; i++) {
                size_t len = strlen(kinds[i]);

                if ((size_t)(last - path) < len + 2 || strncmp(last - len, kinds[i], len) != 0 ||
                    last[-1 - (int)len] != '/')
                        continue;
                snprintf(name, sizeof name, "%.*s", (int)((size_t)(last - path) - len - 1), path);
                if (!auth_allows(x->req, &x->knobs, name, &a))
                        return answer_error(x, &a, a.status == 403 ? "DENIED" : "UNAUTHORIZED");
                return i == 0   ? answer_manifest(x, name, last + 1)
                       : i == 1 ? answer_blob(x, name, last + 1)
                                : answer_tags(x, name);
        }
        if (*path)
                return answer_status(x, 404, "NOT_FOUND");
        return auth_allows(x->req, &x->knobs, NULL, &a) ? answer_json(x, 200, json_object())
                                                        : answer_error(x, &a, "UNAUTHORIZED");
}

static bool answer_storage(struct exchange *x, const char *digest) {
        _cleanup_(content_close) struct content content = CONTENT_INIT;
        int status = auth_check_signed(x->req, digest);

        if (status != 200)
                return answer_status(x, status, status == 400 ? "InvalidArgument" : "AccessDenied");
        if (!store_find_blob(x->routes->store, digest, &content))
                return answer_status(x, 404, "NoSuchKey");
        return serve_blob(x, &content);
}

static bool put_knobs(struct exchange *x) {
        _cleanup_free_ char *body = http_read_body(x->c, x->req);
        _cleanup_(json_decrefp) json_t *json = body ? json_loads(body, 0, NULL) : NULL;

        if (!json || !knobs_merge(json))
                return answer_status(x, 400, "KNOBS_INVALID");
        body_counters_reset();
        return answer_json(x, 200, knobs_json());
}

static bool answer_control(struct exchange *x) {
        const char *path = x->req->path, *method = x->req->method;
        char repository[512] = "";

        if (strcmp(path, "/_knobs") == 0)
                return strcmp(method, "PUT") == 0 ? put_knobs(x) : answer_json(x, 200, knobs_json());
        if (strcmp(path, "/_files") == 0 &&
            http_query_get(x->req->query, "repository", repository, sizeof repository))
                return answer_json(x, 200, store_files(x->routes->store, repository));
        if (strcmp(path, "/_stats") != 0)
                return answer_status(x, 404, "NOT_FOUND");
        if (strcmp(method, "DELETE") == 0)
                stats_reset();
        return answer_json(x, 200, stats_json(strcmp(x->req->query, "brief") != 0));
}

static bool dispatch(struct exchange *x) {
        const char *path = x->req->path;

        if (knob_number(&x->knobs, delay_ms) > 0 &&
            !body_wait(x->c, (int64_t)knob_number(&x->knobs, delay_ms) * 1000000))
                return false;
        if (knob_number(&x->knobs, silent))
                return body_wait(x->c, -1);
        if (is_head(x->req) ? knob_number(&x->knobs, no_head) : strcmp(x->req->method, "GET") != 0)
                return answer_status(x, 405, "UNSUPPORTED");
        if (x->c->listener == LISTENER_TOKEN && strcmp(path, "/token") == 0)
                return auth_answer_token(x->c, x->req, &x->knobs, &x->status);
        if (x->c->listener == LISTENER_STORAGE && strncmp(path, "/storage/", 9) == 0)
                return answer_storage(x, path + 9);
        if (x->c->listener == LISTENER_MAIN && strncmp(path, "/v2/", 4) == 0)
                return answer_registry(x, path + 4);
        return answer_status(x, 404, "NOT_FOUND");
}

bool routes_answer(const struct routes *r, struct http_connection *c, const struct http_request *req) {
        struct exchange x = { .routes = r, .c = c, .req = req };

        if (c->listener == LISTENER_MAIN && strncmp(req->path, "/_", 2) == 0)
                return answer_control(&x) && !req->close;
        if (c->number == 0)
                c->number = ++connections;
        knobs_copy(&x.knobs);
        c->close = knob_number(&x.knobs, close);
        body_pace(c, &x.knobs);
        stats_enter(&x.stats, req);
        bool good = dispatch(&x);

        stats_leave(&x.stats, req, x.status, x.sent);
        return good && !c->close && !req->close;
}
