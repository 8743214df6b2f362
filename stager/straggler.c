/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/straggler.h"

#include <stdlib.h>

#define MS UINT64_C(1000000)
#define LAP_NS (300 * MS)
#define OBSERVE_NS (400 * MS)        /* before a request is called starved */
#define OBSERVE_WAITED_NS (100 * MS) /* when everything waits for it */
#define OBSERVE_LATENCIES \
        12.0                  /* and for so many times to the first byte: a new connection speeds up slowly */
#define COMPARE_NS (100 * MS) /* before its rate says something about others */
#define SILENT_NS (1000 * MS) /* to the first byte, besides what the host needs */
#define SILENT_LATENCIES 8.0
#define RECENT_NS (2000 * MS)
#define PEERS_LEAST 3u
#define FAR_BELOW 4.0 /* the median is so many times more */

void lap_begin(struct lap *l, uint64_t now_ns) {
        *l = (struct lap){ .sent_ns = now_ns, .rate = -1 };
}

void lap_first_byte(struct lap *l, uint64_t now_ns) {
        l->first_ns = l->mark_ns = l->older_ns = now_ns;
}

void lap_look(struct lap *l, uint64_t received, uint64_t now_ns) {
        if (l->first_ns == 0 || now_ns <= l->older_ns)
                return;
        if (now_ns - l->mark_ns >= LAP_NS) {
                l->older_ns = l->mark_ns;
                l->older_received = l->mark_received;
                l->mark_ns = now_ns;
                l->mark_received = received;
        }
        l->observed_ns = now_ns - l->first_ns;
        l->rate = (double)(received - l->older_received) * 1e9 / (double)(now_ns - l->older_ns);
}

void peers_add(struct peers *p, const struct lap *l, uint64_t received, uint64_t now_ns) {
        if (l->first_ns == 0 || now_ns <= l->sent_ns)
                return;
        p->ended[p->next % PEERS_MAX].ended_ns = now_ns;
        p->ended[p->next % PEERS_MAX].rate = (double)received * 1e9 / (double)(now_ns - l->sent_ns);
        p->next++;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

double peers_median(const struct peers *p, const struct lap *const *running, size_t n, uint64_t now_ns) {
        double rates[2 * PEERS_MAX];
        unsigned k = 0;

        for (size_t i = 0; i < n && k < PEERS_MAX; i++)
                if (running[i]->rate >= 0 && running[i]->observed_ns >= COMPARE_NS)
                        rates[k++] = running[i]->rate;
        for (unsigned i = 0; k < PEERS_LEAST + 1 && i < PEERS_MAX && i < p->next; i++) {
                unsigned at = (p->next - 1 - i) % PEERS_MAX;

                if (now_ns - p->ended[at].ended_ns > RECENT_NS)
                        break;
                rates[k++] = p->ended[at].rate;
        }
        if (k < PEERS_LEAST)
                return 0;
        qsort(rates, k, sizeof *rates, compare);
        return rates[k / 2];
}

bool lap_is_straggler(const struct lap *l, double median, double latency_ns, bool is_waited_for,
                      uint64_t now_ns) {
        if (median <= 0)
                return false;
        if (l->first_ns == 0)
                return (double)(now_ns - l->sent_ns) > (double)SILENT_NS + SILENT_LATENCIES * latency_ns;
        uint64_t least = is_waited_for ? OBSERVE_WAITED_NS : OBSERVE_NS;

        return l->observed_ns >= least && (double)l->observed_ns >= OBSERVE_LATENCIES * latency_ns &&
               l->rate * FAR_BELOW < median;
}
