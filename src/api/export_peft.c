/* The adapter alone, for PEFT (interfaces.md 4.3). */
#include <string.h>

#include "api/export_job.h"
#include "base/error.h"
#include "base/file.h"
#include "model/adaptor.h"

/* PEFT has no rank 0: one pair whose product is zero stands in for the LoRA that is not there. */
static di_lora_options options_of(const di_params *p)
{
    di_lora_options o = p->lora;

    o.adaptor_r = o.adaptor_tanh = 0; /* it is in the head */
    if (o.r > 0) return o;
    return (di_lora_options){
        .r = 1, .alpha = 1, .targets = 1U << DI_Q_PROJ, .first_layer = 0, .end_layer = 1};
}

dial_status di_export_peft(di_export_job *job, dial_error *err)
{
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors"};
    dial_status st = DIAL_OK;
    const di_session *s = &job->run;
    const di_lora_options lora = options_of(&s->params);
    di_params p = {0};

    DI_TRY(di_params_init(&p, job->al, di_source_config(s->source), &lora, err));
    if (s->params.lora.r > 0) memcpy(p.theta, s->params.theta, (size_t)p.head_at * sizeof *p.theta);
    memcpy(di_head_at(&p, p.theta), job->head, (size_t)p.width * sizeof *p.theta);
    DI_TRY(di_adapter_save(&p, job->tmp,
                           job->opt->base_name != NULL ? job->opt->base_name : s->base_path, err));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        DI_TRY(di_export_list(job, files[i], err));
done:
    if (p.al != NULL) di_params_deinit(&p);
    return st;
}
