/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/pacer.h"

#define MS UINT64_C(1000000)
#define PERIOD_NS (25 * MS)
#define PERIOD_MAX_NS (1000 * MS) /* a slow host is judged by fewer bytes */
#define PERIOD_BYTES (UINT64_C(2) << 20)
#define SETTLE_NS (4 * MS) /* after a step, or two times to the first byte */
#define REST_FIRST_NS (250 * MS)
#define REST_MAX_NS (30000 * MS)
#define GROWTH 1.10 /* less is none */
#define DOUBTS 4u   /* measurements that have to agree that a step does not pay */
#define LOSS 0.95   /* of goodput, that fewer connections may cost */
#define LATE 3.0    /* times the least, and LATE_NS more: the answers queue somewhere */
#define LATE_NS (30.0 * 1e6)
#define GOOD_FIRST 16u /* answers before one more is tried */
#define GOOD_MAX 1024u
#define STRIKES 3u
#define HOLD_MAX_MS (120 * 1000) /* no Retry-After makes us wait for longer */

void pacer_init(struct pacer *p, unsigned most, unsigned best, unsigned limit) {
        *p = (struct pacer){ .most = most > 0 ? most : 1,
                             .limit = limit,
                             .best = best < most ? best : most,
                             .climbed = best > 0,
                             .rest_ns = REST_FIRST_NS,
                             .good_needed = GOOD_FIRST };
        p->target = p->best > 0 ? p->best : 1;
}

static void restart(struct pacer *p, uint64_t now_ns) {
        uint64_t settle = (uint64_t)(2 * p->latency_ns);

        p->period_ns = now_ns + (settle > SETTLE_NS ? settle : SETTLE_NS);
        p->bytes = p->off_ns = 0;
        p->doubts = 0;
}

void pacer_join(struct pacer *p, unsigned blobs) {
        unsigned least = p->best > 0 ? blobs : PACER_START * blobs;

        if (least > p->most)
                least = p->most;
        if (p->target < least)
                p->target = least;
        p->period_ns = 0; /* what was measured before does not compare */
        if (p->step == PACER_UP || p->step == PACER_DOWN)
                p->step = PACER_MEASURE;
}

/* What the target may become. */
static unsigned ceiling(const struct pacer *p) {
        return p->limit > 0 && p->limit < p->most ? p->limit : p->most;
}

static unsigned wanted(const struct pacer *p) {
        return p->target < ceiling(p) ? p->target : ceiling(p);
}

unsigned pacer_connections(const struct pacer *p, uint64_t now_ns) {
        return now_ns < p->hold_ns ? 0 : wanted(p);
}

int pacer_wait_ms(const struct pacer *p, uint64_t now_ns) {
        return now_ns < p->hold_ns ? (int)((p->hold_ns - now_ns) / MS) + 1 : 0;
}

void pacer_received(struct pacer *p, uint64_t bytes) {
        p->bytes += bytes;
}

void pacer_first_byte(struct pacer *p, uint64_t ns) {
        double v = (double)ns;

        p->latency_ns = p->latency_ns > 0 ? p->latency_ns + (v - p->latency_ns) / 8 : v;
        p->latency_least_ns *= 1.002;
        if (p->latency_least_ns <= 0 || v < p->latency_least_ns)
                p->latency_least_ns = v;
}

/* ---- the limit ---- */

static void set_limit(struct pacer *p, unsigned limit, uint64_t now_ns) {
        p->limit = limit > 0 ? limit : 1;
        p->limit_ns = now_ns;
        p->good = p->strikes = 0;
        p->probing = false;
}

void pacer_answered(struct pacer *p, uint64_t now_ns) {
        if (p->limit == 0 || now_ns < p->no_more_ns || (p->probing && p->looked_used < p->limit))
                return;
        p->good++;
        if (p->good >= GOOD_FIRST)
                p->strikes = 0;
        if (p->probing && p->good > 2 * p->limit) {
                p->probing = false;
                p->good_needed = GOOD_FIRST;
        }
        if (p->good < p->good_needed || p->probing || p->limit >= p->most || p->target < p->limit)
                return;
        set_limit(p, p->limit + 1, now_ns);
        p->probing = true;
}

static void hold(uint64_t *until_ns, uint64_t now_ns, int64_t wait_ms) {
        if (wait_ms <= 0)
                return;
        uint64_t until = now_ns + (uint64_t)(wait_ms < HOLD_MAX_MS ? wait_ms : HOLD_MAX_MS) * MS;
        if (until > *until_ns)
                *until_ns = until;
}

void pacer_refused(struct pacer *p, unsigned used, uint64_t sent_ns, uint64_t now_ns, int64_t wait_ms) {
        unsigned others = used > 0 ? used - 1 : 0;

        hold(others > 0 ? &p->no_more_ns : &p->hold_ns, now_ns, wait_ms);
        p->good = 0;
        if (p->probing) {
                p->good_needed = p->good_needed * 2 < GOOD_MAX ? p->good_needed * 2 : GOOD_MAX;
                set_limit(p, p->limit - 1, now_ns);
        } else if (p->limit == 0 || used > p->limit || sent_ns <= p->limit_ns) { /* of one burst, too */
                if (p->limit == 0 || others < p->limit)
                        set_limit(p, others, now_ns);
        } else if (++p->strikes >= STRIKES) {
                set_limit(p, p->limit * 3 / 4, now_ns);
        }
}

/* ---- the target ---- */

static void begin(struct pacer *p, enum pacer_step step, unsigned target, uint64_t now_ns) {
        p->step = step;
        p->target = target;
        restart(p, now_ns);
}

/* Nothing better was found: @target it is, for now. */
static bool rest(struct pacer *p, unsigned target, double rate, uint64_t now_ns) {
        if (target > ceiling(p))
                target = ceiling(p);
        begin(p, PACER_REST, target, now_ns);
        p->rest_until_ns = now_ns + p->rest_ns;
        p->rest_ns = p->rest_ns * 2 < REST_MAX_NS ? p->rest_ns * 2 : REST_MAX_NS;
        p->climbed = true;
        p->best = target;
        p->rate = (uint64_t)rate;
        return true;
}

static bool step_up(struct pacer *p, double rate, uint64_t now_ns) {
        unsigned next = p->climbed ? p->target + (p->target + 1) / 2 : p->target * 2;

        p->from = p->target;
        p->from_rate = rate;
        if (p->target >= ceiling(p))
                return rest(p, p->target, rate, now_ns);
        begin(p, PACER_UP, next < ceiling(p) ? next : ceiling(p), now_ns);
        return false;
}

static bool is_late(const struct pacer *p) {
        return p->latency_ns > LATE * p->latency_least_ns + LATE_NS;
}

static bool measured(struct pacer *p, double rate, uint64_t now_ns) {
        if (p->target > 1 && is_late(p) && rate <= GROWTH * (double)p->rate) {
                p->from = p->target;
                p->from_rate = rate;
                begin(p, PACER_DOWN, p->target * 3 / 4, now_ns);
                return false;
        }
        return step_up(p, rate, now_ns);
}

/* A step does not seem to pay: is that certain? If not, another measurement begins. */
static bool is_sure(struct pacer *p, uint64_t now_ns) {
        if (++p->doubts >= DOUBTS)
                return true;
        p->period_ns = now_ns;
        p->bytes = p->off_ns = 0;
        return false;
}

static bool judge(struct pacer *p, double rate, uint64_t now_ns) {
        switch (p->step) {
        case PACER_MEASURE:
                return measured(p, rate, now_ns);
        case PACER_UP:
                if (rate > GROWTH * p->from_rate) {
                        p->rest_ns = REST_FIRST_NS;
                        return step_up(p, rate, now_ns);
                }
                return is_sure(p, now_ns) ? rest(p, p->from, p->from_rate, now_ns) : false;
        case PACER_DOWN:
                if (rate >= LOSS * p->from_rate)
                        return rest(p, p->target, rate, now_ns);
                return is_sure(p, now_ns) ? rest(p, p->from, p->from_rate, now_ns) : false;
        case PACER_REST:
                break;
        }
        return false;
}

/* For how long since the last look we were fewer, or more, than we want to be. */
static void note_time(struct pacer *p, unsigned used, uint64_t now_ns) {
        if (p->looked_used != wanted(p) && now_ns > p->period_ns)
                p->off_ns += now_ns - (p->looked_ns > p->period_ns ? p->looked_ns : p->period_ns);
        p->looked_used = used;
        p->looked_ns = now_ns;
}

bool pacer_look(struct pacer *p, unsigned used, uint64_t now_ns) {
        note_time(p, used, now_ns);
        if (used == 0) {
                p->period_ns = 0;
                return false;
        }
        if (p->step == PACER_REST && now_ns < p->rest_until_ns)
                return false;
        if (p->step == PACER_REST)
                begin(p, PACER_MEASURE, p->target, now_ns);
        else if (p->period_ns == 0)
                restart(p, now_ns);
        if (now_ns <= p->period_ns) { /* it settles */
                p->bytes = 0;
                return false;
        }
        uint64_t elapsed = now_ns - p->period_ns;
        if (elapsed < PERIOD_NS || (p->bytes < PERIOD_BYTES && elapsed < PERIOD_MAX_NS))
                return false;
        if (p->off_ns > elapsed / 4) {
                restart(p, now_ns);
                return false;
        }
        return judge(p, (double)p->bytes * 1e9 / (double)elapsed, now_ns);
}
