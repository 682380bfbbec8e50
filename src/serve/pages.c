#include "serve/pages.h"

#include <stdio.h>
#include <unistd.h>

#include "serve/server.h"
#include "serve/write.h"

static int draining(const di_server *s)
{
    return atomic_load(&s->draining);
}

int di_page_models(di_server *s, di_buf *out)
{
    int shown = s->opt.settings.ensemble != DI_ENSEMBLE_NONE ? 1 : di_models_count(s->models);

    di_buf_printf(out, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < shown; i++) {
        di_served *m = di_models_get(s->models, i);

        di_buf_printf(out, "%s{\"id\":", i > 0 ? "," : "");
        di_write_text(out, m->name);
        di_buf_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"dial\"}",
                      (long long)m->created);
        di_models_put(s->models, m);
    }
    di_buf_printf(out, "]}");
    return 200;
}

int di_page_health(di_server *s, di_buf *out)
{
    if (atomic_load(&s->ready) && !draining(s)) {
        di_buf_printf(out, "{\"status\":\"ok\"}");
        return 200;
    }
    di_buf_printf(out, "{\"status\":\"%s\"}", draining(s) ? "draining" : "loading");
    return 503;
}

int di_page_ready(di_server *s, di_buf *out)
{
    int64_t queue = di_scheduler_waiting(s->scheduler);
    const char *status = draining(s)                                          ? "draining"
                         : !atomic_load(&s->ready)                            ? "loading"
                         : queue * 10 >= di_scheduler_limit(s->scheduler) * 9 ? "busy"
                                                                              : "ready";

    di_buf_printf(out, "{\"status\":\"%s\",\"queue\":%lld", status, (long long)queue);
    if (atomic_load(&s->ready) && s->monitor != NULL) {
        json_t *shift = di_monitor_details(s->monitor);

        di_buf_printf(out, ",\"shift\":");
        if (shift == NULL || di_json_write(shift, out, NULL) != DIAL_OK) out->failed = 1;
        json_decref(shift);
    }
    di_buf_append(out, "}", 1);
    return status[0] == 'r' ? 200 : 503;
}

int di_page_info(di_server *s, di_buf *out)
{
    const di_serve_settings *set = &s->opt.settings;
    di_served *m = di_models_get(s->models, 0);
    json_t *label =
        json_pack("{s:{s:s}, s:{s:i}}", "id2label", "0", "LABEL_0", "label2id", "LABEL_0", 0);
    json_t *v = json_pack(
        "{s:s, s:s, s:s, s:{s:o}, s:I, s:I, s:I, s:b, s:s, s:{s:O?, s:s, s:s, s:b}}", "model_id",
        m->name, "model_sha", m->sha256, "model_dtype", m->dtype, "model_type", "classifier", label,
        "max_input_length", (json_int_t)m->policy.max_length, "max_batch_tokens",
        (json_int_t)set->batch_tokens, "max_client_batch_size", (json_int_t)set->max_inputs,
        "auto_truncate", set->truncate, "version", DIAL_VERSION, "dial", "text", m->text,
        "activation", set->activation == DI_SIGMOID ? "sigmoid" : "none", "device", m->device,
        "selftest_ok", m->checked);

    di_models_put(s->models, m);
    if (v == NULL || di_json_write(v, out, NULL) != DIAL_OK) out->failed = 1;
    json_decref(v);
    return 200;
}

/* Pages of the process in memory; 0 where the system does not tell. */
static double resident_bytes(void)
{
    long long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f == NULL) return 0;
    if (fscanf(f, "%lld %lld", &size, &resident) != 2) resident = 0;
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

int di_page_metrics(di_server *s, di_buf *out)
{
    char labels[256];
    di_served *m = di_models_get(s->models, 0);

    snprintf(labels, sizeof labels, "{version=\"%s\",arch=\"%s\",dtype=\"%s\",device=\"%s\"}",
             DIAL_VERSION, m->arch, m->dtype, m->device);
    di_models_put(s->models, m);
    di_metrics_gauge(out, "dial_build_info", "the program and the first run", labels, 1);
    di_metrics_gauge(out, "dial_ready", "1: requests are answered", "", !draining(s));
    di_metrics_gauge(out, "dial_queue_texts", "texts that wait or are computed", "",
                     (double)di_scheduler_waiting(s->scheduler));
    di_metrics_write(s->metrics, out);
    di_monitor_write(s->monitor, out);
    di_metrics_gauge(out, "process_resident_memory_bytes", "resident memory", "", resident_bytes());
    di_metrics_gauge(out, "process_start_time_seconds", "start, seconds since 1970", "",
                     s->started);
    return 200;
}
