/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_bench: one blob through the engine alone, without jobs and cache, to see what the pipeline costs.
 *
 *   engine_bench HOST:PORT/REPOSITORY DIGEST SIZE DIR [raw|tar|gzip|zstd] [KEY=VALUE ...]
 *
 * The registry is asked by plain HTTP. KEY is a setting, or one of
 *
 *   bench.place=null     writes to the disk are left out: they succeed at once (the ring is wrapped for that)
 *   bench.seconds=N      cancelled then; bench.bytes=SIZE  when so much is verified
 *   bench.sample=N       a line each N seconds, bench.step=SIZE one each time that so much more is verified:
 *                        do rate and memory stay what they are?
 *
 * Prints JSON, one object a line; the last one is the whole. SIZE may have a unit ("1TiB").
 */
#include "base/ring.h"
#include "base/text.h"
#include "stager/engine.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

static struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool done;
        int result;
        struct transfer_result placed;
        struct error error;
} outcome = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void on_done(void *userdata, int result, const struct transfer_result *r, const struct error *e) {
        LOCK_SCOPE(&outcome.lock);

        (void)userdata;
        outcome.done = true;
        outcome.result = result;
        outcome.placed = *r;
        outcome.error = *e;
        pthread_cond_signal(&outcome.changed);
}

static struct {
        bool nowhere;       /* bench.place=null */
        int64_t end_ms;     /* bench.seconds; 0: when it is done */
        uint64_t end_bytes; /* bench.bytes; 0 likewise */
        int64_t sample_ms;  /* bench.sample; 0: none */
        uint64_t step;      /* bench.step, bytes; 0: none */
} options;

/* A write of no bytes takes the same way as any other, but the disk hears nothing of it. */
void __real_ring_write(struct ring *r, struct ring_op *op, int fd, const void *data, size_t len,
                       uint64_t offset);
void __wrap_ring_write(struct ring *r, struct ring_op *op, int fd, const void *data, size_t len,
                       uint64_t offset);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);

void __wrap_ring_write(struct ring *r, struct ring_op *op, int fd, const void *data, size_t len,
                       uint64_t offset) {
        __real_ring_write(r, op, fd, data, options.nowhere ? 0 : len, offset);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len) {
        if (!options.nowhere)
                return __real_fallocate(fd, mode, offset, len);
        errno = EOPNOTSUPP;
        return -1;
}

/* Bytes of memory that are the process's now. */
static uint64_t resident_bytes(void) {
        unsigned long long pages = 0;
        FILE *f = fopen("/proc/self/statm", "r");

        if (f && fscanf(f, "%*u %llu", &pages) != 1)
                pages = 0;
        if (f)
                fclose(f);
        return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void print_sample(int64_t at_ms, int64_t since_ms, uint64_t done, uint64_t before) {
        printf("{\"at\":%.1f,\"done\":%" PRIu64 ",\"MiBs\":%.0f,\"rssMiB\":%.1f}\n", (double)at_ms / 1000,
               done, (double)(done - before) / (double)(at_ms - since_ms + 1) * 1000 / (1 << 20),
               (double)resident_bytes() / (1 << 20));
        fflush(stdout);
}

/* False: it is done. */
static bool wait_a_moment(void) {
        struct timespec until;
        LOCK_SCOPE(&outcome.lock);

        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 10 * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (!outcome.done)
                (void)pthread_cond_timedwait(&outcome.changed, &outcome.lock, &until);
        return !outcome.done;
}

/* Prints what has to be printed by now. */
static void sample(int64_t at_ms, uint64_t done) {
        static int64_t before_ms;
        static uint64_t before;
        bool is_time = options.sample_ms > 0 && at_ms >= before_ms + options.sample_ms;
        bool is_far = options.step > 0 && done >= before + options.step;

        if (!is_time && !is_far)
                return;
        print_sample(at_ms, before_ms, done, before);
        before_ms = at_ms;
        before = done;
}

static void wait_done(struct transfer *t) {
        int64_t start_ms = time_monotonic_ms();

        while (wait_a_moment()) {
                int64_t at_ms = time_monotonic_ms() - start_ms;
                struct transfer_progress p;

                transfer_progress(t, &p);
                sample(at_ms, p.done);
                if ((options.end_ms > 0 && at_ms >= options.end_ms) ||
                    (options.end_bytes > 0 && p.done >= options.end_bytes))
                        transfer_cancel(t);
        }
}

static uint64_t written_bytes(void) {
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        unsigned long long n = 0;
        FILE *f = fopen("/proc/self/io", "r");

        while (f && getline(&line, &size, f) > 0)
                if (sscanf(line, "write_bytes: %llu", &n) == 1)
                        break;
        if (f)
                fclose(f);
        return n;
}

/* The peak, of this program alone: ru_maxrss knows that of whoever has started it. */
static double peak_mib(void) {
        _cleanup_free_ char *line = NULL;
        unsigned long long kib = 0;
        size_t size = 0;
        FILE *f = fopen("/proc/self/status", "r");

        while (f && getline(&line, &size, f) > 0)
                if (sscanf(line, "VmHWM: %llu", &kib) == 1)
                        break;
        if (f)
                fclose(f);
        return (double)kib / 1024.0;
}

static void print(struct transfer *t, const char *io, double seconds, uint64_t written) {
        struct transfer_progress p;
        struct rusage u;

        transfer_progress(t, &p);
        getrusage(RUSAGE_SELF, &u);
        printf("{\"seconds\":%.3f,\"cpu\":%.3f,\"rssMiB\":%.1f,\"io\":\"%s\",\"placed\":%" PRIu64
               ",\"files\":%" PRIu64 ",\"done\":%" PRIu64 ",\"received\":%" PRIu64 ",\"retries\":%" PRIu64
               ",\"written\":%.3f}\n",
               seconds,
               (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                   (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6,
               peak_mib(), io, outcome.placed.bytes, outcome.placed.files, p.done, p.received, p.retries,
               outcome.placed.bytes ? (double)written / (double)outcome.placed.bytes : 0.0);
}

static int run(const struct settings *s, struct transfer_order *o, struct error *e) {
        _cleanup_(engine_freep) struct engine *g = NULL;
        struct transfer *t;
        int r = engine_new(&g, s, e);

        if (r < 0)
                return r;
        uint64_t before = written_bytes(), start = time_monotonic_ns();
        r = engine_start(&t, g, o, on_done, e);
        if (r < 0)
                return r;
        wait_done(t);
        print(t, engine_io(g), (double)(time_monotonic_ns() - start) / 1e9, written_bytes() - before);
        transfer_free(t);
        if (outcome.result < 0 && outcome.error.kind == ERROR_CANCELLED)
                return 0; /* we did it */
        return outcome.result < 0 ? error_copy(e, &outcome.error) : 0;
}

static bool set_option(const char *key, const char *value) {
        uint64_t n = 0;

        if (strcmp(key, "bench.place") == 0) {
                options.nowhere = strcmp(value, "null") == 0;
                return options.nowhere;
        }
        if (text_parse_size(&n, value) < 0 || n == 0)
                return false;
        if (strcmp(key, "bench.bytes") == 0)
                options.end_bytes = n;
        else if (strcmp(key, "bench.seconds") == 0)
                options.end_ms = (int64_t)n * 1000;
        else if (strcmp(key, "bench.sample") == 0)
                options.sample_ms = (int64_t)n * 1000;
        else if (strcmp(key, "bench.step") == 0)
                options.step = n;
        else
                return false;
        return true;
}

static int set(struct settings *s, const char *pair, struct error *e) {
        _cleanup_free_ char *key = strdup(pair);
        char *value = key ? strchr(key, '=') : NULL;

        if (!value)
                return error_set(e, ERROR_INVALID, "%s is not KEY=VALUE", pair);
        *value++ = '\0';
        if (text_starts_with(key, "bench."))
                return set_option(key, value) ? 0 : error_set(e, ERROR_INVALID, "%s is not understood", pair);
        return settings_set(s, key, value, e);
}

static int trust_plain_http(struct settings *s, const char *host) {
        s->registries = calloc(1, sizeof *s->registries);
        if (!s->registries || !(s->registries[0].host = strdup(host)))
                return -ENOMEM;
        s->registries[0].plain_http = true;
        s->n_registries = 1;
        return 0;
}

static int choose(struct transfer_order *o, const char *how, struct error *e) {
        o->packing = strcmp(how, "raw") == 0 ? PLAN_RAW : PLAN_TAR;
        if (strcmp(how, "gzip") == 0)
                o->codec = PLAN_CODEC_GZIP;
        else if (strcmp(how, "zstd") == 0)
                o->codec = PLAN_CODEC_ZSTD;
        else if (strcmp(how, "raw") != 0 && strcmp(how, "tar") != 0)
                return error_set(e, ERROR_INVALID, "%s is none of raw, tar, gzip, zstd", how);
        return 0;
}

static int bench(int argc, char *argv[], struct error *e) {
        _cleanup_(settings_freep) struct settings *s = NULL;
        _cleanup_(oci_reference_freep) struct oci_reference *reference = NULL;
        _cleanup_(oci_client_freep) struct oci_client *client = NULL;
        _cleanup_(oci_blob_freep) struct oci_blob *blob = NULL;
        struct transfer_order o = { 0 };
        int r = settings_new(&s, e);

        if (r == 0 && text_parse_size(&o.size, argv[3]) < 0)
                r = error_set(e, ERROR_INVALID, "%s is no size", argv[3]);

        for (int i = 6; r == 0 && i < argc; i++)
                r = set(s, argv[i], e);
        if (r == 0)
                r = oci_reference_parse(&reference, argv[1], e);
        if (r == 0 && digest_parse(&o.digest, argv[2], strlen(argv[2])) < 0)
                r = error_set(e, ERROR_INVALID, "%s is not a digest", argv[2]);
        if (r == 0)
                r = choose(&o, argc > 5 ? argv[5] : "raw", e);
        if (r == 0 && !reference->is_layout && trust_plain_http(s, reference->host) < 0)
                r = error_errno(e, ENOMEM, "engine_bench");
        if (r == 0)
                r = oci_client_new(&client, s, e);
        if (r == 0)
                r = oci_blob_new(&blob, client, reference, NULL, &o.digest, o.size, e);
        if (r < 0)
                return r;
        _cleanup_close_ int dir_fd = open(argv[4], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return error_errno(e, errno, "%s", argv[4]);
        o.dir_fd = dir_fd;
        o.source = blob;
        return run(s, &o, e);
}

int main(int argc, char *argv[]) {
        struct error e;

        if (argc < 5) {
                fprintf(stderr, "usage: %s REPOSITORY DIGEST SIZE DIR [raw|tar|gzip|zstd] [KEY=VALUE ...]\n",
                        argv[0]);
                return 2;
        }
        curl_global_init(CURL_GLOBAL_DEFAULT);
        if (bench(argc, argv, &e) < 0) {
                fprintf(stderr, "%s\n", e.text);
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
