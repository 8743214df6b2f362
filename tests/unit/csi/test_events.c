/* SPDX-License-Identifier: Apache-2.0 */
/* Events as they arrive at the API server, and what becomes of those that do not. */
#include "tests/unit/csi/kube_world.h"

#include "base/metrics.h"
#include "base/text.h"
#include "csi/events.h"

#define PATIENCE_MS 60000
#define PATH "/api/v1/namespaces/team-a/events"
#define UID "8b1d9a5e-0c3f-4f9a-9a55-0123456789ab"

struct scene {
        struct kube_world w; /* first: the server's userdata is this */
        struct csi_events *events;
        double before[3]; /* counters that outlive a test */
};

static const struct csi_pod pod = { .name = "llama-0", .namespace = "team-a", .uid = UID };
static const char *const results[] = { "sent", "failed", "dropped" };

static double total(size_t result) {
        return metric_value(METRIC_POD_EVENTS, (const char *[]){ results[result], NULL });
}

static unsigned count(const struct scene *s, const char *result) {
        for (size_t i = 0; i < 3; i++)
                if (strcmp(results[i], result) == 0)
                        return (unsigned)(total(i) - s->before[i]);
        fail();
        return 0;
}

static void wait_for_count(const struct scene *s, const char *result, unsigned n) {
        int64_t until = time_monotonic_ms() + PATIENCE_MS;

        while (count(s, result) < n) {
                assert_true(time_monotonic_ms() < until);
                (void)poll(NULL, 0, 2);
        }
}

static void begin(struct scene *s,
                  void (*script)(struct server *s, const struct server_request *q, struct server_answer *a)) {
        memset(s, 0, sizeof *s);
        for (size_t i = 0; i < 3; i++)
                s->before[i] = total(i);
        kube_world_begin(&s->w, script);
        assert_int_equal(settings_set(s->w.settings, "node.name", "node-1", NULL), 0);
        assert_int_equal(csi_events_start(&s->events, s->w.settings, s->w.kube, &s->w.e), 0);
        assert_non_null(s->events);
}

static void end(struct scene *s) {
        csi_events_stop(s->events);
        kube_world_end(&s->w);
}

static void script_created(struct server *s, const struct server_request *q, struct server_answer *a) {
        (void)s;
        (void)q;
        server_answer_text(a, 201, "{\"kind\":\"Event\"}");
}

/* What the test has put into the world's `answer`: the message of a 403. */
static void script_forbidden(struct server *s, const struct server_request *q, struct server_answer *a) {
        struct kube_world *w = s->userdata;

        (void)q;
        server_answer_text(a, 403, w->answer);
}

static void script_silent(struct server *s, const struct server_request *q, struct server_answer *a) {
        (void)s;
        (void)q;
        a->silent = true;
}

/* The first one has come before, and its answer was lost. */
static void script_exists(struct server *s, const struct server_request *q, struct server_answer *a) {
        (void)s;
        (void)q;
        server_answer_text(a, 409, "{\"kind\":\"Status\",\"message\":\"events \\\"x\\\" already exists\"}");
}

static const char *text_at(const json_t *object, const char *key, const char *inner) {
        const json_t *value = json_object_get(object, key);

        return json_string_value(inner ? json_object_get(value, inner) : value);
}

static void test_an_event_has_all_that_kubernetes_wants(void **state) {
        _cleanup_json_ json_t *event = NULL;
        struct scene s;

        (void)state;
        begin(&s, script_created);
        csi_events_send(s.events, &pod, "r/m:1 is mounted");
        wait_for_count(&s, "sent", 1);
        assert_int_equal(s.w.server.n_log, 1);
        assert_string_equal(s.w.server.log[0].method, "POST");
        assert_string_equal(s.w.server.log[0].target, PATH);
        event = json_loads(s.w.server.log[0].body, 0, NULL);
        assert_string_equal(text_at(event, "apiVersion", NULL), "v1");
        assert_string_equal(text_at(event, "kind", NULL), "Event");
        assert_string_equal(text_at(event, "metadata", "namespace"), "team-a");
        assert_memory_equal(text_at(event, "metadata", "name"), "llama-0.", 8);
        assert_int_equal(strlen(text_at(event, "metadata", "name")), 8 + 16);
        assert_string_equal(text_at(event, "involvedObject", "kind"), "Pod");
        assert_string_equal(text_at(event, "involvedObject", "apiVersion"), "v1");
        assert_string_equal(text_at(event, "involvedObject", "namespace"), "team-a");
        assert_string_equal(text_at(event, "involvedObject", "name"), "llama-0");
        assert_string_equal(text_at(event, "involvedObject", "uid"), UID);
        assert_string_equal(text_at(event, "type", NULL), "Normal");
        assert_string_equal(text_at(event, "reason", NULL), "ModelStaged");
        assert_string_equal(text_at(event, "message", NULL), "r/m:1 is mounted");
        assert_string_equal(text_at(event, "source", "component"), "csi.modelstage.io");
        assert_string_equal(text_at(event, "source", "host"), "node-1");
        assert_string_equal(text_at(event, "reportingComponent", NULL), "csi.modelstage.io");
        assert_string_equal(text_at(event, "reportingInstance", NULL), "node-1");
        assert_int_equal(json_integer_value(json_object_get(event, "count")), 1);
        assert_int_equal(strlen(text_at(event, "firstTimestamp", NULL)), strlen("2026-01-01T00:00:00Z"));
        assert_string_equal(text_at(event, "firstTimestamp", NULL), text_at(event, "lastTimestamp", NULL));
        end(&s);
}

static void test_names_of_events_are_valid_and_differ(void **state) {
        _cleanup_json_ json_t *first = NULL;
        _cleanup_json_ json_t *second = NULL;
        struct csi_pod other = pod;
        struct scene s;

        (void)state;
        memset(other.name, 'a', sizeof other.name - 1);
        other.name[235] = '.'; /* where it is cut */
        begin(&s, script_created);
        csi_events_send(s.events, &other, "one");
        csi_events_send(s.events, &other, "two");
        wait_for_count(&s, "sent", 2);
        first = json_loads(s.w.server.log[0].body, 0, NULL);
        second = json_loads(s.w.server.log[1].body, 0, NULL);
        assert_true(csi_kube_name_is_valid(text_at(first, "metadata", "name")));
        assert_true(csi_kube_name_is_valid(text_at(second, "metadata", "name")));
        assert_string_not_equal(text_at(first, "metadata", "name"), text_at(second, "metadata", "name"));
        end(&s);
}

static void test_an_event_that_had_arrived_is_sent(void **state) {
        struct scene s;

        (void)state;
        begin(&s, script_exists);
        csi_events_send(s.events, &pod, "m");
        wait_for_count(&s, "sent", 1);
        assert_int_equal(s.w.server.n_log, 1);
        end(&s);
}

static void test_who_may_not_send_events_stops_asking(void **state) {
        struct scene s;

        (void)state;
        begin(&s, script_forbidden);
        s.w.answer = "{\"kind\":\"Status\",\"message\":\"events is forbidden\"}";
        csi_events_send(s.events, &pod, "m");
        wait_for_count(&s, "failed", 1);
        for (unsigned dropped = 0; dropped < 1;) { /* it is off a moment after it has been counted */
                csi_events_send(s.events, &pod, "m");
                dropped = count(&s, "dropped");
        }
        for (unsigned i = 0; i < 200; i++)
                csi_events_send(s.events, &pod, "m");
        assert_true(count(&s, "dropped") >= 200);
        csi_events_stop(s.events);
        assert_in_range(s.w.server.n_log, 1, 2);
        assert_int_equal(count(&s, "failed"), s.w.server.n_log);
        kube_world_end(&s.w);
}

static void test_a_namespace_that_ends_does_not_end_events(void **state) {
        struct scene s;

        (void)state;
        begin(&s, script_forbidden);
        s.w.answer =
            "{\"kind\":\"Status\",\"message\":\"unable to create new content in namespace team-a because it "
            "is being terminated\"}";
        for (unsigned i = 1; i <= 3; i++) {
                csi_events_send(s.events, &pod, "m");
                wait_for_count(&s, "failed", i);
        }
        assert_int_equal(count(&s, "dropped"), 0);
        end(&s);
        assert_int_equal(s.w.server.n_log, 3);
}

/* Nobody is kept waiting by a server that does not answer, and nothing piles up. */
static void test_what_cannot_be_sent_is_dropped_and_nobody_waits(void **state) {
        struct scene s;

        (void)state;
        begin(&s, script_silent);
        for (unsigned i = 0; i < 1000; i++)
                csi_events_send(s.events, &pod, "m");
        assert_true(count(&s, "dropped") >= 1000 - 256 - 1);
        csi_events_stop(s.events); /* comes back */
        assert_int_equal(count(&s, "sent"), 0);
        assert_int_equal(count(&s, "dropped") + count(&s, "failed"), 1000);
        kube_world_end(&s.w);
}

static void test_what_is_queued_at_the_end_is_sent(void **state) {
        struct scene s;

        (void)state;
        begin(&s, script_created);
        for (unsigned i = 0; i < 20; i++)
                csi_events_send(s.events, &pod, "m");
        csi_events_stop(s.events);
        assert_int_equal(count(&s, "sent") + count(&s, "dropped") + count(&s, "failed"), 20);
        assert_true(count(&s, "sent") >= 1);
        kube_world_end(&s.w);
}

static void test_without_an_api_server_or_when_off_there_are_none(void **state) {
        struct csi_events *events = (struct csi_events *)1;
        struct kube_world w;

        (void)state;
        kube_world_begin(&w, script_created);
        assert_int_equal(csi_events_start(&events, w.settings, NULL, &w.e), 0);
        assert_null(events);
        assert_int_equal(settings_set(w.settings, "kubernetes.events", "off", NULL), 0);
        events = (struct csi_events *)1;
        assert_int_equal(csi_events_start(&events, w.settings, w.kube, &w.e), 0);
        assert_null(events);
        csi_events_send(NULL, &pod, "m");
        csi_events_stop(NULL);
        kube_world_end(&w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_an_event_has_all_that_kubernetes_wants),
                cmocka_unit_test(test_names_of_events_are_valid_and_differ),
                cmocka_unit_test(test_an_event_that_had_arrived_is_sent),
                cmocka_unit_test(test_who_may_not_send_events_stops_asking),
                cmocka_unit_test(test_a_namespace_that_ends_does_not_end_events),
                cmocka_unit_test(test_what_cannot_be_sent_is_dropped_and_nobody_waits),
                cmocka_unit_test(test_what_is_queued_at_the_end_is_sent),
                cmocka_unit_test(test_without_an_api_server_or_when_off_there_are_none),
        };

        return cmocka_run_group_tests_name("csi/events", tests, NULL, NULL);
}
