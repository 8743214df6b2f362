/* SPDX-License-Identifier: Apache-2.0 */
/* kube_world: a service account in a temporary directory, and a client of a scripted server that uses it. */
#pragma once

#include "tests/unit/test.h"

#include <fcntl.h>

#include "base/path.h"
#include "csi/kube.h"
#include "tests/unit/oci/scripted_server.h"

struct kube_world {
        char dir[64]; /* the service account's */
        struct server server;
        struct settings *settings;
        struct csi_kube *kube;
        struct error e;
        unsigned asked;     /* for the script; guarded by the server's lock */
        const char *answer; /* the same */
};

/* Writes the account's file @name as kubelet does: the old one or the new one, nothing between. */
static inline void kube_world_write(const struct kube_world *w, const char *name, const char *text) {
        int dir = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(dir >= 0);
        assert_int_equal(path_write_file(dir, name, text, strlen(text), 0600, NULL), 0);
        close(dir);
}

/* Another client, of @url ("": of the environment's), with what the account says now. */
static inline void kube_world_connect(struct kube_world *w, const char *url) {
        csi_kube_free(w->kube);
        w->kube = NULL;
        assert_int_equal(settings_set(w->settings, "kubernetes.serviceAccount", w->dir, NULL), 0);
        assert_int_equal(settings_set(w->settings, "kubernetes.apiServer", url, NULL), 0);
        assert_int_equal(csi_kube_new(&w->kube, w->settings, &w->e), 0);
}

static inline void kube_world_begin(struct kube_world *w,
                                    void (*script)(struct server *s, const struct server_request *q,
                                                   struct server_answer *a)) {
        char url[64];

        memset(w, 0, sizeof *w);
        snprintf(w->dir, sizeof w->dir, "/tmp/modelstage-test-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        kube_world_write(w, "token", "token-one\n");
        assert_int_equal(settings_new(&w->settings, NULL), 0);
        server_start(&w->server, script, w);
        snprintf(url, sizeof url, "http://%s", w->server.host);
        kube_world_connect(w, url);
}

static inline void kube_world_end(struct kube_world *w) {
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        csi_kube_free(w->kube);
        server_stop(&w->server);
        settings_free(w->settings);
        assert_int_equal(path_remove_tree(tmp, path_base(w->dir), NULL), 0);
        close(tmp);
}
