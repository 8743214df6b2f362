/* SPDX-License-Identifier: Apache-2.0 */
/* tls_server: openssl's server on a free port of loopback, with a fresh certificate that signs itself. A test
 * is skipped where there is no openssl. */
#pragma once

#include "tests/unit/test.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/path.h"

extern char **environ;

struct tls_server {
        char dir[64], key[96], certificate[96];
        char host[64]; /* "127.0.0.1:port" */
        pid_t pid;
        int out;
};

static inline pid_t tls_run(const char *const *argv, const char *dir, int *ret_out) {
        posix_spawn_file_actions_t actions;
        int out[2];
        pid_t pid = -1;

        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addchdir_np(&actions, dir);
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

static inline void tls_make_certificate(struct tls_server *t) {
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
                                     "subjectAltName=IP:127.0.0.1,IP:::1",
                                     NULL };
        int out, status = -1;
        pid_t pid = tls_run(argv, t->dir, &out);

        if (pid < 0) /* no openssl on this machine */
                exit(77);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        close(out);
}

/* @accept "127.0.0.1:0"; @mode of openssl s_server: "-www" answers with a page of its own, "-HTTP" with the files of
 * t->dir, headers and all. */
static inline void tls_server_start(struct tls_server *t, const char *accept, const char *mode) {
        const char *argv[] = { "openssl",      "s_server", "-accept", accept, "-cert",
                               t->certificate, "-key",     t->key,    mode,   NULL };
        char said[4096];
        size_t n = 0;
        char *at = NULL;

        snprintf(t->dir, sizeof t->dir, "/tmp/modelstage-test-XXXXXX");
        assert_non_null(mkdtemp(t->dir));
        snprintf(t->key, sizeof t->key, "%s/key.pem", t->dir);
        snprintf(t->certificate, sizeof t->certificate, "%s/certificate.pem", t->dir);
        tls_make_certificate(t);
        t->pid = tls_run(argv, t->dir, &t->out);
        assert_true(t->pid > 0);
        while (!at || !strchr(at, '\n')) { /* it says where it listens */
                ssize_t k = read(t->out, said + n, sizeof said - 1 - n);

                assert_true(k > 0);
                n += (size_t)k;
                said[n] = '\0';
                at = strstr(said, "ACCEPT ");
        }
        assert_int_equal(sscanf(at, "ACCEPT %63s", t->host), 1);
}

static inline void tls_server_stop(struct tls_server *t) {
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        kill(t->pid, SIGKILL);
        waitpid(t->pid, NULL, 0);
        close(t->out);
        assert_int_equal(path_remove_tree(tmp, path_base(t->dir), NULL), 0);
        close(tmp);
}
