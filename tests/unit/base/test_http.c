/* SPDX-License-Identifier: Apache-2.0 */
/* Requests as bytes on a socket: what a client library would never send is sent as well. */
#include "base/http.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct http_endpoint *endpoint;
static struct error err;
static int marker; /* the pages' userdata */

static unsigned page_hello(void *userdata, struct buf *body) {
        assert_ptr_equal(userdata, &marker);
        return buf_printf(body, "hello\n") < 0 ? 500 : 200;
}

static unsigned page_unready(void *userdata, struct buf *body) {
        (void)userdata;
        return buf_printf(body, "not ready\n") < 0 ? 500 : 503;
}

static unsigned page_empty(void *userdata, struct buf *body) {
        (void)userdata, (void)body;
        return 200;
}

static const struct http_route routes[] = {
        { "/hello", "text/plain; version=0.0.4", page_hello },
        { "/readyz", "text/plain", page_unready },
        { "/empty", "text/plain", page_empty },
        { 0 },
};

static int setup(void **state) {
        (void)state;
        return http_endpoint_new(&endpoint, "127.0.0.1:0", routes, &marker, &err);
}

static int teardown(void **state) {
        (void)state;
        http_endpoint_free(endpoint);
        endpoint = NULL;
        return 0;
}

static int dial(void) {
        const struct sockaddr_in sa = { .sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)http_endpoint_port(endpoint)),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof sa), 0);
        return fd;
}

/* The whole answer to @request, which asks the server to close. */
static const char *exchange(const char *request) {
        static char answer[64 * 1024];
        size_t len = 0;
        ssize_t n;
        int fd = dial();

        assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
        while ((n = read(fd, answer + len, sizeof answer - 1 - len)) > 0)
                len += (size_t)n;
        answer[len] = '\0';
        close(fd);
        return answer;
}

#define CLOSE " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void assert_status(const char *answer, int status) {
        int seen = 0;

        assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &seen), 1);
        assert_int_equal(seen, status);
}

static const char *body_of(const char *answer) {
        const char *end = strstr(answer, "\r\n\r\n");

        assert_non_null(end);
        return end + 4;
}

static void test_page_is_served_with_its_status_and_type(void **state) {
        (void)state;
        const char *answer = exchange("GET /hello" CLOSE);
        assert_status(answer, 200);
        assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4\r\n"));
        assert_string_equal(body_of(answer), "hello\n");

        answer = exchange("GET /readyz" CLOSE);
        assert_status(answer, 503);
        assert_string_equal(body_of(answer), "not ready\n");

        answer = exchange("GET /empty" CLOSE);
        assert_status(answer, 200);
        assert_string_equal(body_of(answer), "");
}

static void test_query_is_ignored(void **state) {
        (void)state;
        assert_status(exchange("GET /hello?x=1" CLOSE), 200);
}

static void test_head_has_no_body(void **state) {
        (void)state;
        const char *answer = exchange("HEAD /hello" CLOSE);
        assert_status(answer, 200);
        assert_non_null(strstr(answer, "Content-Length: 6\r\n"));
        assert_string_equal(body_of(answer), "");
}

static void test_unknown_path_is_404(void **state) {
        (void)state;
        assert_status(exchange("GET /" CLOSE), 404);
        assert_status(exchange("GET /hello/" CLOSE), 404);
        assert_status(exchange("GET /../hello" CLOSE), 404);
}

static void test_other_methods_are_405(void **state) {
        (void)state;
        const char *answer = exchange("POST /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                      "Content-Length: 4\r\n\r\nbody");
        assert_status(answer, 405);
        assert_non_null(strstr(answer, "Allow: GET, HEAD\r\n"));
        assert_status(exchange("DELETE /hello" CLOSE), 405);
}

static void test_endless_headers_are_refused(void **state) {
        char *request = malloc(64 * 1024);

        (void)state;
        snprintf(request, 64, "GET /hello HTTP/1.1\r\nHost: x\r\nX: ");
        size_t len = strlen(request);
        memset(request + len, 'x', 20 * 1024);
        request[len + 20 * 1024] = '\0';
        int seen = 0;
        assert_int_equal(sscanf(exchange(request), "HTTP/1.1 %d", &seen), 1);
        assert_true(seen >= 400 && seen < 500);
        free(request);
}

/* More connections than may be open: those beyond are closed, and when they go the page is there again. */
static void test_idle_connections_are_limited(void **state) {
        int fds[40], n_closed = 0;
        char byte;

        (void)state;
        for (int i = 0; i < 40; i++)
                fds[i] = dial();
        for (int i = 39; i >= 32; i--) {
                ssize_t n = read(fds[i], &byte, 1); /* ends: the server closed it */
                n_closed += n <= 0;
        }
        assert_int_equal(n_closed, 8);
        for (int i = 0; i < 40; i++)
                close(fds[i]);
}

static void test_address_is_checked(void **state) {
        static const char *const bad[] = { "",     "9810",   "localhost",   "127.0.0.1:", "127.0.0.1:x",
                                           ":-1",  ":65536", "[::1:9810",   "::1:9810",   "]:1",
                                           "[:80", ":0x50",  "host name:1", "300.1.1.1:1" };
        struct http_endpoint *h = NULL;

        (void)state;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                assert_true(http_endpoint_new(&h, bad[i], routes, NULL, &err) < 0);
                assert_int_equal(err.kind, ERROR_INVALID);
                assert_null(h);
        }
}

static void test_every_form_of_address_is_served(void **state) {
        static const char *const good[] = { ":0", "0.0.0.0:0", "localhost:0" };

        (void)state;
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
                if (http_endpoint_new(&endpoint, good[i], routes, &marker, &err) < 0)
                        fail_msg("%s", err.text);
                assert_true(http_endpoint_port(endpoint) > 0);
                if (strcmp(good[i], "localhost:0") != 0) /* which may be ::1 only */
                        assert_status(exchange("GET /hello" CLOSE), 200);
                teardown(NULL);
        }
}

static void test_port_in_use_is_an_error_that_says_so(void **state) {
        struct http_endpoint *second = NULL;
        char address[32], expected[96];

        (void)state;
        snprintf(address, sizeof address, "127.0.0.1:%u", http_endpoint_port(endpoint));
        snprintf(expected, sizeof expected, "cannot listen on http.address %s: Address already in use",
                 address);
        assert_int_equal(http_endpoint_new(&second, address, routes, NULL, &err), -EADDRINUSE);
        assert_string_equal(err.text, expected);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
                T(test_page_is_served_with_its_status_and_type),
                T(test_query_is_ignored),
                T(test_head_has_no_body),
                T(test_unknown_path_is_404),
                T(test_other_methods_are_405),
                T(test_endless_headers_are_refused),
                T(test_idle_connections_are_limited),
                T(test_port_in_use_is_an_error_that_says_so),
                cmocka_unit_test(test_address_is_checked),
                cmocka_unit_test(test_every_form_of_address_is_served),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
