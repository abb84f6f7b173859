/* SPDX-License-Identifier: Apache-2.0
 *
 * evt.num and the times of an event; evt.source, evt.hostname and what else exists for events of every source.
 */
#include "extract.h"

#include <time.h>

#define SECOND 1000000000ull

void fl_text_time(struct fl_text *text, uint64_t ns, unsigned parts)
{
    time_t seconds = (time_t)(ns / SECOND);
    struct tm tm;
    char s[64];
    if (!localtime_r(&seconds, &tm))
        return;
    fl_text_put(text, s, strftime(s, sizeof s, parts & FL_DATE ? "%Y-%m-%d %H:%M:%S" : "%H:%M:%S", &tm));
    if (parts & FL_NANOSECONDS) {
        fl_text_char(text, '.');
        fl_text_padded(text, ns % SECOND, 9);
    }
}

static bool local_time(const struct fl_view *view, unsigned parts, struct fl_value *out)
{
    struct fl_text text;
    fl_text_begin(&text, view);
    fl_text_time(&text, view->ev->ts, parts);
    return fl_text_end(&text, out);
}

EXTRACT(evt_num) { return fl_set_u64(out, view->ev->num); }
EXTRACT(evt_time) { return local_time(view, FL_NANOSECONDS, out); }
EXTRACT(evt_time_s) { return local_time(view, 0, out); }
EXTRACT(evt_datetime) { return local_time(view, FL_DATE | FL_NANOSECONDS, out); }
EXTRACT(evt_datetime_s) { return local_time(view, FL_DATE, out); }
EXTRACT(evt_outputtime) { return local_time(view, FL_NANOSECONDS, out); }

EXTRACT(evt_time_iso8601)
{
    time_t seconds = (time_t)(view->ev->ts / SECOND);
    struct tm tm;
    char s[64];
    if (!gmtime_r(&seconds, &tm))
        return false;
    struct fl_text text;
    fl_text_begin(&text, view);
    fl_text_put(&text, s, strftime(s, sizeof s, "%Y-%m-%dT%H:%M:%S.", &tm));
    fl_text_padded(&text, view->ev->ts % SECOND, 9);
    fl_text_lit(&text, "+0000");
    return fl_text_end(&text, out);
}

EXTRACT(evt_rawtime) { return fl_set_u64(out, view->ev->ts); }
EXTRACT(evt_rawtime_s) { return fl_set_u64(out, view->ev->ts / SECOND); }
EXTRACT(evt_rawtime_ns) { return fl_set_u64(out, view->ev->ts % SECOND); }

static uint64_t since_first(const struct fl_view *view) { return view->ev->ts - view->first_ts; }

EXTRACT(evt_reltime) { return fl_set_u64(out, since_first(view)); }
EXTRACT(evt_reltime_s) { return fl_set_u64(out, since_first(view) / SECOND); }
EXTRACT(evt_reltime_ns) { return fl_set_u64(out, since_first(view) % SECOND); }

static uint64_t since_previous(const struct fl_view *view) { return view->previous_ts ? view->ev->ts - view->previous_ts : 0; }

EXTRACT(evt_deltatime) { return fl_set_u64(out, since_previous(view)); }
EXTRACT(evt_deltatime_s) { return fl_set_u64(out, since_previous(view) / SECOND); }
EXTRACT(evt_deltatime_ns) { return fl_set_u64(out, since_previous(view) % SECOND); }

/* The distance to the time in the argument, in milliseconds rounded up: the filter holds where it is D at most. */
EXTRACT(evt_around)
{
    if (!arg->has_index || arg->index < 0)
        return false;
    uint64_t at = (uint64_t)arg->index, ts = view->ev->ts, distance = at > ts ? at - ts : ts - at;
    return fl_set_u64(out, distance / 1000000 + (distance % 1000000 != 0));
}

EXTRACT(evt_source) { return fl_set_lit(out, view->source ? view->source : "syscall"); }
EXTRACT(evt_hostname) { return fl_set_lit(out, view->hostname ? view->hostname : ""); }

static bool is_meta(const struct fl_view *view) { return fl_info(view)->category & EC_METAEVENT; }

EXTRACT(evt_is_async) { return fl_set_bool(out, is_meta(view)); }

EXTRACT(evt_asynctype)
{
    if (!is_meta(view))
        return false;
    if (view->ev->type == FL_EV_ASYNCEVENT_E)
        return fl_set_slice(out, fl_param_text(view->ev, FL_P(ASYNCEVENT_E, name)));
    return fl_set_lit(out, fl_info(view)->name);
}

/* Deprecated: system calls are one event, so there is no latency between two. */
EXTRACT(evt_latency) { return fl_set_u64(out, 0); }
EXTRACT(evt_latency_s) { return fl_set_u64(out, 0); }
EXTRACT(evt_latency_ns) { return fl_set_u64(out, 0); }
EXTRACT(evt_latency_quantized) { return fl_set_u64(out, 0); }
EXTRACT(evt_latency_human) { return fl_set_lit(out, "0ns"); }
EXTRACT(evt_wait_latency) { return fl_set_u64(out, 0); }

EXTRACT(util_cnt) { return fl_set_u64(out, view->ev->num); }
