/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log: one line an event, to stderr: text on a terminal, JSON lines otherwise.
 *
 * Rooms below csi/ and tools/ return errors instead of logging them; what they do log is a decision that
 * nobody is told about otherwise (a fallback, a retry), and debug topics. One write(2) a line. Lines with
 * the same place in the source are limited to 20 in 10 seconds; what was dropped is counted. Debug lines are
 * chosen by topic and not limited.
 * Callable from every thread.
 */
#pragma once

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, _LOG_LEVEL_MAX };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Topics of log.debug; a topic costs one bit test while it is off. */
#define LOG_TOPICS(X) \
        X(HTTP, "http", "requests to registries and to the API server, without credentials") \
        X(RING, "ring", "disk and socket operations of the engine") \
        X(FETCH, "fetch", "ranges, retries, window") \
        X(STAGE, "stage", "jobs and their states") \
        X(CACHE, "cache", "index, leases, trees") \
        X(RPC, "rpc", "gRPC calls") \
        X(MOUNT, "mount", "mounts and unmounts")
enum log_topic {
#define X(id, name, help) LOG_TOPIC_##id,
        LOG_TOPICS(X)
#undef X
            _LOG_TOPIC_MAX,
};

struct log_site {                /* one a call site; rate limit state, guarded inside log.c */
        long window_s;           /* when the present interval began, monotonic seconds */
        unsigned count, dropped; /* written in this interval; not written since the last that was */
};

/* @topics: comma separated, "all" or NULL (none; at LOG_LEVEL_DEBUG all of them). Returns -EINVAL for a topic
 * that does not exist. */
int log_setup(enum log_level level, enum log_format format, const char *topics);
int log_level_parse(const char *text); /* enum log_level or -EINVAL */

/*
 * Turns @secret into "[redacted]" wherever it appears in a line from now on. Those of the latest 1024 calls
 * are remembered at least; what is shorter than 4 characters is not a secret. Allocates nothing.
 */
void log_redact(const char *secret);

extern unsigned log_enabled_topics; /* bit set; read by the macro below */

/* Use the macros. @site NULL: not limited. @topic NULL: none. */
void log_write(struct log_site *site, enum log_level level, const char *topic, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#define log_at(level, ...) \
        do { \
                static struct log_site site_; \
                log_write(&site_, level, NULL, __VA_ARGS__); \
        } while (0)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(id, ...) \
        do { \
                if (log_enabled_topics & (1u << LOG_TOPIC_##id)) \
                        log_write(NULL, LOG_LEVEL_DEBUG, #id, __VA_ARGS__); \
        } while (0)
