/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/settings.h"
#include "base/text.h"

#include <sys/mman.h>

static char file_name[64]; /* of the latest load() */

/* Settings with @text as their file, read and checked. */
static int load_bytes(struct settings **ret, const char *text, size_t len, struct error *e) {
        _cleanup_(settings_freep) struct settings *s = NULL;
        int fd = memfd_create("settings", MFD_CLOEXEC), r;

        assert_int_equal(write(fd, text, len), len);
        snprintf(file_name, sizeof file_name, "/proc/self/fd/%d", fd);
        assert_int_equal(settings_new(&s, e), 0);
        r = settings_load_file(s, file_name, e);
        close(fd);
        if (r == 0)
                r = settings_check(s, e);
        if (r == 0)
                *ret = take_ptr(s);
        return r;
}

static int load(struct settings **ret, const char *text, struct error *e) {
        return load_bytes(ret, text, strlen(text), e);
}

static void test_the_defaults_are_those_of_the_manual_and_hold(void **state) {
        _cleanup_(settings_freep) struct settings *s = NULL;

        (void)state;
        assert_int_equal(setenv("NODE_NAME", "node-7", 1), 0);
        assert_int_equal(settings_new(&s, NULL), 0);
        assert_int_equal(settings_load_file(s, NULL, NULL), 0);
        assert_int_equal(settings_check(s, NULL), 0);
        assert_string_equal(s->node.name, "node-7");
        assert_string_equal(s->csi.endpoint, "unix:///csi/csi.sock");
        assert_string_equal(s->csi.kubelet_registration, "/registration");
        assert_string_equal(s->csi.kubelet_path, "");
        assert_string_equal(s->control.socket, "/run/modelstage/control.sock");
        assert_string_equal(s->cache.root, "/var/lib/modelstage");
        assert_int_equal(s->cache.max_bytes, 0);
        assert_true(s->cache.min_free.is_percent && s->cache.min_free.percent == 10);
        assert_int_equal(settings_amount_of(&s->cache.high_watermark, 1000), 900);
        assert_int_equal(settings_amount_of(&s->cache.low_watermark, 1000), 800);
        assert_int_equal(s->cache.ttl_ms, 0);
        assert_int_equal(s->engine.memory, 256 << 20);
        assert_int_equal(s->engine.connections, 32);
        assert_int_equal(s->engine.connections_per_host, 16);
        assert_int_equal(s->engine.range_size, 8 << 20);
        assert_int_equal(s->engine.bandwidth, 0);
        assert_int_equal(s->engine.warm_share.percent, 50);
        assert_string_equal(s->engine.io, "auto");
        assert_string_equal(s->http.address, ":9810");
        assert_string_equal(s->log.level, "info");
        assert_int_equal(s->n_registries + s->n_warm, 0);
        assert_null(s->policy.allow);
}

static void test_without_a_name_a_node_has_its_hosts(void **state) {
        _cleanup_(settings_freep) struct settings *s = NULL;
        char host[256] = "";

        (void)state;
        assert_int_equal(unsetenv("NODE_NAME"), 0);
        assert_int_equal(gethostname(host, sizeof host - 1), 0);
        assert_int_equal(load(&s, "node: {name: ''}", NULL), 0);
        assert_string_equal(s->node.name, host);
}

/* The example of the documentation, as it stands there. */
static const char documented[] =
    "node: {name: \"\"}                       # default: env NODE_NAME, else hostname\n"
    "csi: {endpoint: unix:///csi/csi.sock, kubeletRegistration: /registration, kubeletPath: \"\"}\n"
    "kubernetes:\n"
    "  serviceAccount: /var/run/secrets/kubernetes.io/serviceaccount\n"
    "  apiServer: \"\"\n"
    "  events: on\n"
    "  startupTaint: csi.modelstage.io/agent-not-ready\n"
    "  labels: none\n"
    "  nfdDir: /etc/kubernetes/node-feature-discovery/features.d\n"
    "control: {socket: /run/modelstage/control.sock}\n"
    "cache:\n"
    "  root: /var/lib/modelstage\n"
    "  maxBytes: 0\n"
    "  minFree: 10%\n"
    "  highWatermark: 90%\n"
    "  lowWatermark: 80%\n"
    "  ttl: 0\n"
    "engine:\n"
    "  memory: 256MiB\n"
    "  connections: 32\n"
    "  connectionsPerHost: 16\n"
    "  rangeSize: 8MiB\n"
    "  bandwidth: 0\n"
    "  warmShare: 50%\n"
    "  io: auto                             # auto | uring | posix\n"
    "  write: auto\n"
    "registries:\n"
    "  - host: registry.example.com\n"
    "    mirrors: [https://mirror.internal/v2]\n"
    "    caFile: /etc/modelstage/ca.pem\n"
    "    plainHttp: false\n"
    "    bandwidth: 0\n"
    "    headers: {}\n"
    "credentials:\n"
    "  dockerConfig: \"\"\n"
    "  providerConfig: \"\"\n"
    "  providerBinDir: \"\"\n"
    "policy:\n"
    "  allow: []\n"
    "  layouts: []\n"
    "warm: []\n"
    "http: {address: \":9810\"}\n"
    "log: {level: info, format: auto}\n";

static void test_the_documented_file_is_accepted(void **state) {
        _cleanup_(settings_freep) struct settings *s = NULL;
        struct error e = { 0 };

        (void)state;
        if (load(&s, documented, &e) < 0)
                fail_msg("%s", e.text);
        assert_int_equal(s->n_registries, 1);
        assert_string_equal(s->registries[0].host, "registry.example.com");
        assert_string_equal(s->registries[0].mirrors[0], "https://mirror.internal/v2");
        assert_null(s->registries[0].mirrors[1]);
        assert_string_equal(s->registries[0].ca_file, "/etc/modelstage/ca.pem");
        assert_int_equal(s->registries[0].n_headers, 0);
}

static void test_files_that_say_nothing_give_the_defaults(void **state) {
        static const char *const files[] = { "",
                                             "# a comment\n",
                                             "---\n",
                                             "{}",
                                             "cache:\n",
                                             "cache: ~",
                                             "cache: {root: null}",
                                             "cache:\n  root:\n",
                                             "warm:\nregistries:\n",
                                             "\xef\xbb\xbf# BOM\n",
                                             "policy: {allow: }" };

        (void)state;
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
                _cleanup_(settings_freep) struct settings *s = NULL;
                struct error e = { 0 };

                if (load(&s, files[i], &e) < 0)
                        fail_msg("\"%s\": %s", files[i], e.text);
                assert_string_equal(s->cache.root, "/var/lib/modelstage");
        }
}

static void test_an_empty_text_is_not_nothing(void **state) {
        _cleanup_(settings_freep) struct settings *s = NULL;

        (void)state;
        assert_int_equal(load(&s, "csi: {kubeletRegistration: \"\"}", NULL), 0);
        assert_string_equal(s->csi.kubelet_registration, "");
}

static void test_every_kind_of_value_is_read(void **state) {
        _cleanup_(settings_freep) struct settings *s = NULL;
        struct error e = { 0 };
        static const char text[] = "cache: {minFree: 20GiB, ttl: 36h, maxBytes: 1.5TiB}\n"
                                   "engine: {connections: 8, io: posix, bandwidth: 100MB, warmShare: 25%}\n"
                                   "registries:\n"
                                   "- host: '[::1]:5000'\n"
                                   "  plainHttp: true\n"
                                   "  bandwidth: 500MB\n"
                                   "  headers: {X-Team: ml, X.Dots: 'a: b', X-Empty: ''}\n"
                                   "- {host: Two.example.com}\n"
                                   "policy: {allow: ['a/**', b/c], layouts: [/srv/a, /]}\n"
                                   "warm: [{model: a/b:c, pin: true}, {model: d/e, required: true}]\n"
                                   "log: {debug: 'ring,fetch'}\n";

        (void)state;
        if (load(&s, text, &e) < 0)
                fail_msg("%s", e.text);
        assert_false(s->cache.min_free.is_percent);
        assert_int_equal(settings_amount_of(&s->cache.min_free, 1), 20ull << 30);
        assert_int_equal(s->cache.ttl_ms, 36 * 3600000);
        assert_int_equal(s->cache.max_bytes, 3ull << 39);
        assert_int_equal(s->engine.connections, 8);
        assert_int_equal(s->engine.bandwidth, 100000000);
        assert_string_equal(s->engine.io, "posix");
        assert_int_equal(s->n_registries, 2);
        assert_true(s->registries[0].plain_http);
        assert_int_equal(s->registries[0].bandwidth, 500000000);
        assert_int_equal(s->registries[1].bandwidth, 0);
        assert_int_equal(s->registries[0].n_headers, 3);
        assert_string_equal(s->registries[0].headers[0].name, "X-Team");
        assert_string_equal(s->registries[0].headers[0].value, "ml");
        assert_string_equal(s->registries[0].headers[1].name, "X.Dots");
        assert_string_equal(s->registries[0].headers[1].value, "a: b");
        assert_string_equal(s->registries[0].headers[2].value, "");
        assert_ptr_equal(settings_find_registry(s, "two.EXAMPLE.com"), &s->registries[1]);
        assert_null(settings_find_registry(s, "example.com"));
        assert_false(s->registries[1].plain_http);
        assert_null(s->registries[1].mirrors);
        assert_string_equal(s->policy.allow[0], "a/**");
        assert_string_equal(s->policy.allow[1], "b/c");
        assert_null(s->policy.allow[2]);
        assert_string_equal(s->policy.layouts[0], "/srv/a");
        assert_string_equal(s->policy.layouts[1], "/");
        assert_null(s->policy.layouts[2]);
        assert_int_equal(s->n_warm, 2);
        assert_true(s->warm[0].pin && !s->warm[1].pin);
        assert_true(!s->warm[0].required && s->warm[1].required);
        assert_string_equal(s->warm[1].model, "d/e");
}

static void test_json_is_yaml(void **state) {
        _cleanup_(settings_freep) struct settings *s = NULL;

        (void)state;
        assert_int_equal(load(&s, "{\"cache\": {\"root\": \"/x\"}, \"warm\": [{\"model\": \"m\"}]}", NULL),
                         0);
        assert_string_equal(s->cache.root, "/x");
        assert_string_equal(s->warm[0].model, "m");
}

/* What is wrong, and what stands behind the name of the file. */
static const struct {
        const char *text, *error;
} bad[] = {
        { "cache:\n  rot: /x\n", ":2: cache.rot: there is no such key" },
        { "cahce: {}\n", ":1: cahce: there is no such key" },
        { "\n\ncache: [1]\n", ":3: cache: must have keys below it" },
        { "cache: 5\n", ":1: cache: must have keys below it" },
        { "cache:\n  root:\n    - a\n", ":2: cache.root: must be a single value" },
        { "cache:\n  minFree: lots\n",
          ":2: cache.minFree: \"lots\" is not a size such as 256MiB, nor a share such as 10%" },
        { "cache:\n  # comment\n\n  minFree: 101%\n", ":4: cache.minFree: 101% is more than 100%" },
        { "cache: {minFree: 100%}", ":1: cache.minFree: 100% leaves nothing to the cache" },
        { "cache: {minFree: 99999999999%}", ":1: cache.minFree: 99999999999% is more than 100%" },
        { "cache:\n  root: relative\n", ":2: cache.root: \"relative\" is not an absolute path" },
        { "cache:\n  root: ''\n", ":2: cache.root: \"\" is not an absolute path" },
        { "cache:\n  root: \"/a\\nb\"\n", ":2: cache.root: \"/a b\" has a control character" },
        { "cache: {ttl: 5}", ":1: cache.ttl: \"5\" is not a duration such as 24h or 1h30m" },
        { "cache: {ttl: 99999999999999999d}", ":1: cache.ttl: 99999999999999999d is too long" },
        { "cache: {maxBytes: 99999PiB}", ":1: cache.maxBytes: 99999PiB is too large" },
        { "cache: {maxBytes: -1}", ":1: cache.maxBytes: \"-1\" is not a size such as 256MiB" },
        { "cache:\n  lowWatermark: 95%\n",
          ":2: cache.lowWatermark: cache.lowWatermark must be below cache.highWatermark" },
        { "cache:\n  highWatermark: 80%\n",
          ":2: cache.highWatermark: cache.lowWatermark must be below cache.highWatermark" },
        { "engine:\n  memory: 1MiB\n", ":2: engine.memory: 1MiB is not between 16.0 MiB and 1.0 TiB" },
        { "engine:\n  memory: 16MiB\n", ":2: engine.memory: engine.rangeSize (8.0 MiB) is more than a "
                                        "quarter of engine.memory (16.0 MiB)" },
        { "engine:\n  rangeSize: 3000000\n", ":2: engine.rangeSize: 3000000 is not a multiple of 1 MiB" },
        { "engine:\n  rangeSize: 512KiB\n",
          ":2: engine.rangeSize: 512KiB is not between 1.0 MiB and 64.0 MiB" },
        { "engine: {connections: 0}", ":1: engine.connections: 0 is not between 1 and 512" },
        { "engine: {connections: 513}", ":1: engine.connections: 513 is not between 1 and 512" },
        { "engine: {connections: 1.5}", ":1: engine.connections: \"1.5\" is not a whole number" },
        { "engine: {connections: 99999999999999999999999}",
          ":1: engine.connections: 99999999999999999999999 is not between 1 and 512" },
        { "engine: {warmShare: 0%}", ":1: engine.warmShare: is a share, from 1% to 100%" },
        { "engine: {warmShare: 10MiB}", ":1: engine.warmShare: is a share, from 1% to 100%" },
        { "engine: {io: epoll}", ":1: engine.io: \"epoll\" is none of auto|uring|posix" },
        { "engine: {io: auto|uring}", ":1: engine.io: \"auto|uring\" is none of auto|uring|posix" },
        { "engine: {write: ''}", ":1: engine.write: \"\" is none of auto|direct|buffered" },
        { "csi: {endpoint: /csi.sock}", ":1: csi.endpoint: \"/csi.sock\" does not begin with unix:///" },
        { "csi: {endpoint: tcp://0.0.0.0:1}",
          ":1: csi.endpoint: \"tcp://0.0.0.0:1\" does not begin with unix:///" },
        { "csi: {endpoint: unix:///a}\ncontrol: {socket: /a}",
          ":2: control.socket: csi.endpoint and control.socket cannot be the same socket" },
        { "kubernetes: {apiServer: 10.0.0.1:443}",
          ":1: kubernetes.apiServer: \"10.0.0.1:443\" is not an https URL, nor an http one of this machine" },
        { "kubernetes: {apiServer: 'http://10.0.0.1'}", ":1: kubernetes.apiServer: \"http://10.0.0.1\" is "
                                                        "not an https URL, nor an http one of this machine" },
        { "kubernetes: {apiServer: 'http://localhost.example.com'}",
          ":1: kubernetes.apiServer: \"http://localhost.example.com\" is not an https URL, nor an http one "
          "of "
          "this machine" },
        { "kubernetes: {startupTaint: 'Example.com/not-ready'}",
          ":1: kubernetes.startupTaint: \"Example.com/not-ready\" is not the key of a taint, as in "
          "example.com/not-ready" },
        { "kubernetes: {startupTaint: 'example.com/'}",
          ":1: kubernetes.startupTaint: \"example.com/\" is not the key of a taint, as in "
          "example.com/not-ready" },
        { "kubernetes: {startupTaint: '/not-ready'}", ":1: kubernetes.startupTaint: \"/not-ready\" is not "
                                                      "the key of a taint, as in example.com/not-ready" },
        { "kubernetes: {startupTaint: not-ready-}", ":1: kubernetes.startupTaint: \"not-ready-\" is not the "
                                                    "key of a taint, as in example.com/not-ready" },
        { "policy:\n  allow: ['a/**', 'llama*']\n",
          ":2: policy.allow: \"llama*\" has no slash: a glob is over the whole reference, as in "
          "registry.example.com/models/**" },
        { "kubernetes: {events: true}", ":1: kubernetes.events: \"true\" is none of on|off" },
        { "kubernetes: {labels: all}", ":1: kubernetes.labels: \"all\" is none of none|node|nfd" },
        { "kubernetes: {nfdDir: ''}", ":1: kubernetes.nfdDir: \"\" is not an absolute path" },
        { "warm: [{model: a, required: 1}]", ":1: warm[0].required: \"1\" is neither true nor false" },
        { "http: {address: 9810}",
          ":1: http.address: \"9810\" is not an address such as :9810 or 127.0.0.1:9810" },
        { "http: {address: ':70000'}",
          ":1: http.address: \":70000\" is not an address such as :9810 or 127.0.0.1:9810" },
        { "credentials: {providerConfig: /x}",
          ":1: credentials.providerConfig: needs credentials.providerBinDir" },
        { "log: {level: loud}", ":1: log.level: \"loud\" is none of error|warning|info|debug" },
        { "log: {debug: 'ring, rong'}", ":1: log.debug: there is no topic \"rong\"" },
        { "registries:\n- mirrors: []\n", ":2: registries[0]: has no host" },
        { "registries:\n- host: a\n- host: b\n  hots: c\n", ":4: registries[1].hots: there is no such key" },
        { "registries:\n- host: 'https://a'\n",
          ":2: registries[0].host: \"https://a\" is not a host or host:port" },
        { "registries:\n- host: a:0\n", ":2: registries[0].host: \"a:0\" is not a host or host:port" },
        { "registries:\n- host: a\n- host: A\n", ":3: registries[1].host: \"A\" is there twice" },
        { "registries:\n- host: a\n  mirrors:\n  - https://b\n  - ftp://c\n",
          ":5: registries[0].mirrors[1]: \"ftp://c\" is not an http or https URL" },
        { "registries: [{host: a, mirrors: ['https://u:canary@b']}]",
          ":1: registries[0].mirrors[0]: credentials do not belong into a URL; use "
          "credentials.dockerConfig" },
        { "registries:\n- host: a\n  plainHttp: maybe\n",
          ":3: registries[0].plainHttp: \"maybe\" is neither true nor false" },
        { "registries:\n- host: a\n  bandwidth: lots\n",
          ":3: registries[0].bandwidth: \"lots\" is not a size such as 500MB" },
        { "registries:\n- host: a\n  bandwidth: 99999999999999999999999\n",
          ":3: registries[0].bandwidth: \"99999999999999999999999\" is not a size such as 500MB" },
        { "registries:\n- host: a\n  caFile: ca.pem\n",
          ":3: registries[0].caFile: \"ca.pem\" is not an absolute path" },
        { "registries:\n- host: a\n  headers:\n    X-A: b\n    'X A': b\n",
          ":5: registries[0].headers.X A: is not a header's name" },
        { "registries:\n- host: a\n  headers:\n    X-A: \"b\\r\\nX-B: c\"\n",
          ":4: registries[0].headers.X-A: its value has a control character" },
        { "registries:\n- host: a\n  headers: [b]\n", ":3: registries[0].headers[0]: headers have names" },
        { "registries:\n- host: a\n  headers: b\n", ":3: registries[0].headers: must have keys below it" },
        { "registries:\n- host: a\n  headers:\n    X-A: [b]\n",
          ":4: registries[0].headers.X-A: must be a single value" },
        { "registries: {host: a}\n", ":1: registries: must be a list" },
        { "registries: [a]\n", ":1: registries[0]: must have keys below it" },
        { "policy:\n  allow: a/**\n", ":2: policy.allow: must be a list" },
        { "policy:\n  layouts: [/a, srv]\n", ":2: policy.layouts[1]: \"srv\" is not an absolute path" },
        { "policy:\n  layouts: [/srv/../etc]\n",
          ":2: policy.layouts[0]: \"/srv/../etc\" has \".\", \"..\" or a slash too many" },
        { "policy:\n  layouts: [/srv/]\n",
          ":2: policy.layouts[0]: \"/srv/\" has \".\", \"..\" or a slash too many" },
        { "warm:\n- model: m\n- pin: true\n", ":3: warm[1]: has no model" },
        { "warm:\n- model: m\n  pin: 1\n", ":3: warm[0].pin: \"1\" is neither true nor false" },
        { "cache:\n  root: /a\n  root: /b\n", ":3: cache.root: is there twice" },
        { "cache: {}\nlog: {}\ncache: {}\n", ":3: cache: is there twice" },
        { "cache: {root: &a /x}\nlog: {level: *a}\n", ":2: aliases (*a) are not supported" },
        { "a: {}\n---\nb: {}\n", ":2: a second document begins; settings are one" },
        { "? [a]\n: b\n", ":1: a key must be a word" },
        { "- a\n", ":1: the file must have keys below it" },
        { "text\n", ":1: the file must have keys below it" },
        { "cache:\n\troot: /x\n", ":2: not valid YAML: found character that cannot start any token" },
        { "cache: {\n", ":2: not valid YAML: did not find expected node content" },
        { "log: {}\ncache: {root: \"\xff\"}\n", ":2: not valid YAML: invalid leading UTF-8 octet" },
        { "cache: {root: \"/a\\0b\"}", ":1: cache.root: has a NUL character" },
        { "a: [[[[[[[[[[1]]]]]]]]]]", ":1: a[0][0][0][0][0][0][0]: nothing here is this deep" },
};

static void test_what_is_wrong_is_named_with_file_line_and_key(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                _cleanup_(settings_freep) struct settings *s = NULL;
                struct error e = { 0 };
                int r = load(&s, bad[i].text, &e);

                if (r != -EINVAL || e.kind != ERROR_INVALID || !text_starts_with(e.text, file_name) ||
                    strcmp(e.text + strlen(file_name), bad[i].error) != 0)
                        fail_msg("%s: %d, %s", bad[i].text, r, e.text);
        }
}

static void test_a_file_is_bounded_in_size_values_and_time(void **state) {
        _cleanup_(settings_freep) struct settings *s = NULL;
        size_t size = (1 << 20) + 1;
        struct error e = { 0 };
        char *text = malloc(size);

        (void)state;
        memset(text, '#', size);
        assert_int_equal(load_bytes(&s, text, size, &e), -EINVAL);
        assert_true(text_ends_with(e.text, ":1: settings are not larger than 1048576 bytes"));
        assert_int_equal(load_bytes(&s, text, size - 1, &e), 0);
        settings_free(take_ptr(s));
        for (size_t i = 0; i < size; i += 2)
                memcpy(text + i, "[ ", i + 1 < size ? 2 : 1);
        assert_int_equal(load_bytes(&s, text, size - 1, &e), -EINVAL);
        strcpy(text, "warm: [");
        for (size_t i = 7; i + 2 < size; i += 2)
                memcpy(text + i, "a,", 2);
        assert_int_equal(load_bytes(&s, text, size - 2, &e), -EINVAL);
        assert_true(text_ends_with(e.text, ":1: the file has more than 10000 values"));
        free(text);
}

static void test_a_file_that_is_not_there_is_not_found(void **state) {
        _cleanup_(settings_freep) struct settings *s = NULL;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(settings_new(&s, &e), 0);
        assert_int_equal(settings_load_file(s, "/proc/self/no-such-file", &e), -ENOENT);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
}

static void test_flags_win_over_the_file_and_are_named_in_errors(void **state) {
        _cleanup_(settings_freep) struct settings *s = NULL;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(load(&s, "cache: {root: /file}\npolicy: {allow: [x/**]}\n", &e), 0);
        assert_int_equal(settings_set(s, "cache.root", "/flag", &e), 0);
        assert_string_equal(s->cache.root, "/flag");
        assert_int_equal(settings_set(s, "policy.allow", " a/**, b/c ,", &e), 0);
        assert_string_equal(s->policy.allow[0], "a/**");
        assert_string_equal(s->policy.allow[1], "b/c");
        assert_null(s->policy.allow[2]);
        assert_int_equal(settings_set(s, "policy.layouts", "/a,/b", &e), 0);
        assert_string_equal(s->policy.layouts[1], "/b");
        assert_int_equal(settings_set(s, "cache.root", "flag", &e), -EINVAL);
        assert_string_equal(e.text, "--cache.root: \"flag\" is not an absolute path");
        assert_string_equal(s->cache.root, "/flag");
        assert_int_equal(settings_set(s, "cache.rot", "x", &e), -EINVAL);
        assert_string_equal(e.text, "--cache.rot: there is no such setting; see --help");
        assert_int_equal(settings_set(s, "warm", "x", &e), -EINVAL);
        assert_string_equal(e.text, "--warm: can only be set in the file");
        assert_int_equal(settings_set(s, "csi.endpoint", "x", &e), 0);
        assert_int_equal(settings_check(s, &e), -EINVAL);
        assert_string_equal(e.text, "--csi.endpoint: \"x\" does not begin with unix:///");
}

static void test_sockets_must_fit_their_address(void **state) {
        static const char *const keys[] = { "control.socket", "csi.endpoint" };

        (void)state;
        for (size_t i = 0; i < 2; i++) {
                _cleanup_(settings_freep) struct settings *s = NULL;
                const char *prefix = i == 0 ? "/" : "unix:///";
                char value[256];

                assert_int_equal(settings_new(&s, NULL), 0);
                snprintf(value, sizeof value, "%s%0106d", prefix, 0); /* 107 bytes and the NUL are sun_path */
                assert_int_equal(settings_set(s, keys[i], value, NULL), 0);
                assert_int_equal(settings_check(s, NULL), 0);
                snprintf(value, sizeof value, "%s%0107d", prefix, 0);
                assert_int_equal(settings_set(s, keys[i], value, NULL), 0);
                assert_int_equal(settings_check(s, NULL), -EINVAL);
        }
}

static void test_amounts_do_not_wrap(void **state) {
        const struct settings_amount all = { .percent = 100, .is_percent = true };
        const struct settings_amount some = { .percent = 33, .is_percent = true };

        (void)state;
        assert_true(settings_amount_of(&all, UINT64_MAX) == UINT64_MAX);
        assert_int_equal(settings_amount_of(&some, 100), 33);
        assert_int_equal(settings_amount_of(&some, 7), 2);
        assert_int_equal(settings_amount_of(&some, 0), 0);
}

static void test_help_and_manual_name_every_key_of_the_documented_file(void **state) {
        static const char *const keys[] = { "node.name",
                                            "csi.endpoint",
                                            "csi.kubeletRegistration",
                                            "cache.minFree",
                                            "engine.connectionsPerHost",
                                            "credentials.providerBinDir",
                                            "policy.allow",
                                            "policy.layouts",
                                            "http.address",
                                            "log.debug" };
        char *help = NULL, *manual = NULL;
        size_t len;
        FILE *f = open_memstream(&help, &len);

        (void)state;
        settings_print_help(f);
        fclose(f);
        f = open_memstream(&manual, &len);
        settings_print_manual(f);
        fclose(f);
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
                assert_non_null(strstr(help, keys[i]));
                assert_non_null(strstr(manual, keys[i]));
        }
        assert_non_null(strstr(help, "(default 256MiB)"));
        assert_true(text_starts_with(manual, ".SH SETTINGS\n"));
        assert_null(strstr(manual, " --"));
        free(help);
        free(manual);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_defaults_are_those_of_the_manual_and_hold),
                cmocka_unit_test(test_without_a_name_a_node_has_its_hosts),
                cmocka_unit_test(test_the_documented_file_is_accepted),
                cmocka_unit_test(test_files_that_say_nothing_give_the_defaults),
                cmocka_unit_test(test_an_empty_text_is_not_nothing),
                cmocka_unit_test(test_every_kind_of_value_is_read),
                cmocka_unit_test(test_json_is_yaml),
                cmocka_unit_test(test_what_is_wrong_is_named_with_file_line_and_key),
                cmocka_unit_test(test_a_file_is_bounded_in_size_values_and_time),
                cmocka_unit_test(test_a_file_that_is_not_there_is_not_found),
                cmocka_unit_test(test_flags_win_over_the_file_and_are_named_in_errors),
                cmocka_unit_test(test_sockets_must_fit_their_address),
                cmocka_unit_test(test_amounts_do_not_wrap),
                cmocka_unit_test(test_help_and_manual_name_every_key_of_the_documented_file),
        };
        return cmocka_run_group_tests_name("base/settings", tests, NULL, NULL);
}
