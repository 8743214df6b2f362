/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pacer: how many connections one host gets. No I/O and no clock of its own: it is told what happens, and
 * when.
 *
 *            goodput grew by a tenth: again twice as many (later: half as many again)
 *              +-----------+
 *              v           |
 *   MEASURE -> UP ---------+--- it did not: back to where it was ---> REST --(a while)--> MEASURE
 *      |                                                                ^
 *      +-----> DOWN (answers come late, and no more of them) -----------+
 *
 * It begins with START connections for each blob, or with what was best for this host before. A measurement
 * is some MiB and some tens of milliseconds with all of the connections at work; a time in which there was
 * not enough to do for them says nothing. What disturbs a measurement makes it lower, so a step pays if one
 * says so, and does not if several agree. The first climb takes three measurements; a rest ends with one,
 * twice as late each time that nothing was found.
 *
 * Besides that there is a limit, from what the host refuses (429, 503):
 *
 *   refused when we had become more     the limit is what is left of us
 *   refused within the limit, again     three quarters of it
 *   many good answers in a row          one more is tried; if that is refused, later the next time
 *
 * A host that refuses everything and names a time gets no request until then; one that refuses only the last
 * ones gets no more than the others until then.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PACER_START 4u /* connections for each blob, before anything is known */

enum pacer_step { PACER_MEASURE, PACER_UP, PACER_DOWN, PACER_REST };

struct pacer {
        unsigned most;   /* never more */
        unsigned target; /* by goodput */
        unsigned limit;  /* by refusals; 0: nothing is known against the host */
        unsigned best;   /* the target that measurements have confirmed; 0: none yet */
        uint64_t rate;   /* bytes a second with that */

        enum pacer_step step;    /* what is being found out */
        bool climbed;            /* the first climb is over */
        unsigned doubts;         /* measurements by which this step does not pay */
        unsigned from;           /* target before the step */
        double from_rate;        /* bytes a second with that */
        uint64_t rest_ns;        /* how long the next rest is */
        uint64_t rest_until_ns;  /* monotonic, as all that follow */
        uint64_t period_ns;      /* when the measurement begins; 0: there is none */
        uint64_t bytes, off_ns;  /* in it: received, and for how long we were not as many as we should be */
        uint64_t looked_ns;      /* the last look, */
        unsigned looked_used;    /* and what it saw */
        double latency_ns;       /* to the first byte, smoothed; 0: not known */
        double latency_least_ns; /* the least, forgotten slowly */

        uint64_t limit_ns;            /* when it was moved last */
        uint64_t hold_ns, no_more_ns; /* no request at all, no higher limit, before that */
        unsigned good, good_needed;   /* answers since the limit was moved; before one more is tried */
        unsigned strikes;             /* refusals within the limit */
        bool probing;                 /* the limit was raised by one, and nobody has refused yet */
};

/* @best, @limit: as they were before; 0: not known. */
void pacer_init(struct pacer *p, unsigned most, unsigned best, unsigned limit);
/* @blobs are fetched from the host from now on. */
void pacer_join(struct pacer *p, unsigned blobs);
unsigned pacer_connections(const struct pacer *p, uint64_t now_ns); /* at most, now */
int pacer_wait_ms(const struct pacer *p, uint64_t now_ns);          /* while there may be none; else 0 */

void pacer_received(struct pacer *p, uint64_t bytes);
void pacer_first_byte(struct pacer *p, uint64_t ns); /* so long after the request */
/* An answer is complete. */
void pacer_answered(struct pacer *p, uint64_t now_ns);
/* One of @used connections, whose request was sent at @sent_ns, was refused; the host asks for @wait_ms. */
void pacer_refused(struct pacer *p, unsigned used, uint64_t sent_ns, uint64_t now_ns, int64_t wait_ms);
/* From time to time, at least when @used has changed. True: there is news in best, rate or limit. */
bool pacer_look(struct pacer *p, unsigned used, uint64_t now_ns);
