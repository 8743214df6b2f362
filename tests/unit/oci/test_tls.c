/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS is verified: a certificate that nobody trusts ends the conversation, and caFile makes it trusted. The
 * server is openssl's; it answers every GET with a page about the connection, so "data loss" means: TLS was
 * fine, and the page is no manifest.
 */
#include "tests/unit/oci/world.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/path.h"

extern char **environ;

struct tls {
        char dir[64], key[96], certificate[96], host[64];
        pid_t server;
        int out;
};

static pid_t run(const char *const *argv, int *ret_out) {
        posix_spawn_file_actions_t actions;
        int out[2];
        pid_t pid = -1;

        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
        if (posix_spawnp(&pid, argv[0], &actions, NULL, (char **)argv, environ) != 0)
                pid = -1;
        posix_spawn_file_actions_destroy(&actions);
        close(out[1]);
        *ret_out = out[0];
        return pid;
}

static void make_certificate(struct tls *t) {
        const char *const argv[] = { "openssl",
                                     "req",
                                     "-x509",
                                     "-newkey",
                                     "ec",
                                     "-pkeyopt",
                                     "ec_paramgen_curve:prime256v1",
                                     "-nodes",
                                     "-keyout",
                                     t->key,
                                     "-out",
                                     t->certificate,
                                     "-days",
                                     "2",
                                     "-subj",
                                     "/CN=127.0.0.1",
                                     "-addext",
                                     "subjectAltName=IP:127.0.0.1",
                                     NULL };
        int out, status = -1;
        pid_t pid = run(argv, &out);

        if (pid < 0) /* no openssl on this machine */
                exit(77);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        close(out);
}

static void start_server(struct tls *t) {
        const char *const argv[] = { "openssl",      "s_server", "-accept", "127.0.0.1:0", "-cert",
                                     t->certificate, "-key",     t->key,    "-www",        NULL };
        char said[4096];
        size_t n = 0;
        char *accept = NULL;

        t->server = run(argv, &t->out);
        assert_true(t->server > 0);
        while (!accept || !strchr(accept, '\n')) { /* it says where it listens */
                ssize_t k = read(t->out, said + n, sizeof said - 1 - n);

                assert_true(k > 0);
                n += (size_t)k;
                said[n] = '\0';
                accept = strstr(said, "ACCEPT 127.");
        }
        assert_int_equal(sscanf(accept, "ACCEPT %63s", t->host), 1);
}

static int set_up(void **state) {
        struct tls *t = calloc(1, sizeof *t);

        snprintf(t->dir, sizeof t->dir, "/tmp/modelstage-test-XXXXXX");
        assert_non_null(mkdtemp(t->dir));
        snprintf(t->key, sizeof t->key, "%s/key.pem", t->dir);
        snprintf(t->certificate, sizeof t->certificate, "%s/certificate.pem", t->dir);
        make_certificate(t);
        start_server(t);
        *state = t;
        return 0;
}

static int tear_down(void **state) {
        struct tls *t = *state;
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        kill(t->server, SIGKILL);
        waitpid(t->server, NULL, 0);
        close(t->out);
        assert_int_equal(path_remove_tree(tmp, path_base(t->dir), NULL), 0);
        close(tmp);
        free(t);
        return 0;
}

/* What comes of asking @t for a manifest, with @ca_file. */
static struct error ask(const struct tls *t, const char *ca_file) {
        struct oci_reference *ref = world_reference(t->host, "m:v1");
        struct model_plan *plan = NULL;
        struct digest digest = { 0 };
        struct world w = { 0 };

        world_add(&w, t->host, false)->ca_file = (char *)ca_file;
        world_begin(&w);
        assert_true(oci_plan(&plan, w.client, &(struct oci_request){ .reference = ref }, &digest, &w.e) < 0);
        world_end(&w);
        oci_reference_free(ref);
        return w.e;
}

static void test_a_certificate_that_nobody_trusts_is_refused_with_advice(void **state) {
        struct error e = ask(*state, NULL);

        assert_int_equal(e.kind, ERROR_UNAVAILABLE);
        assert_non_null(strstr(e.text, "caFile"));
}

static void test_a_ca_file_makes_it_trusted(void **state) {
        const struct tls *t = *state;
        struct error e = ask(t, t->certificate);

        assert_int_equal(e.kind, ERROR_DATA_LOSS);
}

static void test_a_ca_file_that_has_no_certificate_does_not_switch_verification_off(void **state) {
        const struct tls *t = *state;
        struct error e = ask(t, t->key);

        assert_int_equal(e.kind, ERROR_UNAVAILABLE);
}

static void test_a_ca_file_that_is_not_there_is_named(void **state) {
        struct error e = ask(*state, "/nowhere/ca.pem");

        assert_true(e.kind != ERROR_NONE);
        assert_non_null(strstr(e.text, "/nowhere/ca.pem"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_certificate_that_nobody_trusts_is_refused_with_advice),
                cmocka_unit_test(test_a_ca_file_makes_it_trusted),
                cmocka_unit_test(test_a_ca_file_that_has_no_certificate_does_not_switch_verification_off),
                cmocka_unit_test(test_a_ca_file_that_is_not_there_is_named),
        };

        return cmocka_run_group_tests_name("tls", tests, set_up, tear_down);
}
