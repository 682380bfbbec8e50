#include "api/train_job.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "eval/classes.h"

void di_job_warn(di_train_job *job, const char *code, const char *fmt, ...)
{
    char message[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    di_log(job->env, DIAL_LOG_WARN, "%s: %s", code, message);
    if (json_array_size(job->warnings) < DI_MAX_WARNINGS)
        di_json_add(job->warnings, json_pack("{s:s, s:s}", "code", code, "message", message),
                    &job->warnings_failed);
}

static dial_status load_files(di_train_job *job, const dial_list *files, int drop_labels,
                              int drop_identical, di_file_set *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_dataset_options o = {.drop_identical = drop_identical};

    DI_TRY(di_rows_options_from(&job->opt->common, &o.rows, err));
    o.rows.drop_labels = drop_labels;
    if (files->n > DI_MAX_FILES)
        DI_FAIL(err, DIAL_ERR_USAGE, "expected at most %d files for a flag, found %lld",
                DI_MAX_FILES, (long long)files->n);
    for (int64_t i = 0; i < files->n; i++) {
        di_dataset *d = NULL;

        DI_TRY(di_dataset_load(job->al, files->item[i], &o, &job->base.policy, job->base.tok,
                               job->env, &d, err));
        out->set[out->n++] = d;
        if (drop_labels) DI_TRY(di_dataset_group_singles(d, job->set.seed, err));
        if (d->counts.identical + d->counts.identical_after_truncation > 0)
            di_job_warn(job, "identical_pairs", "%s: %lld pairs of equal texts %s", d->path,
                        (long long)(d->counts.identical + d->counts.identical_after_truncation),
                        drop_identical ? "left out" : "count as ties");
        if (d->counts.used > 0 &&
            d->counts.prompt_truncated + d->counts.response_truncated > d->counts.used / 10)
            di_job_warn(job, "truncation_rate",
                        "%s: over a tenth of the rows were cut to %lld "
                        "tokens; raise --max-length",
                        d->path, (long long)job->base.policy.max_length);
    }
done:
    return st;
}

/* list += more, whose memory it takes over; both are over job->all. */
static dial_status append(const di_alloc *al, di_examples *list, di_examples *more, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_example_ref *ref = di_new_array(al, (size_t)(list->n + more->n), sizeof *ref);

    if (ref == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for held-out rows");
    if (list->n > 0) memcpy(ref, list->ref, (size_t)list->n * sizeof *ref);
    memcpy(ref + list->n, more->ref, (size_t)more->n * sizeof *ref);
    di_free(al, list->ref);
    list->ref = ref;
    list->n += more->n;
done:
    di_examples_free(al, more);
    return st;
}

/* The oracle selects on the labelled rows that it trains on: on those of the target too. */
static dial_status hold_out_target(di_train_job *job, double share, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_examples held;
    int by_row;

    if (job->mode != DI_MODE_ORACLE || job->target.n < DI_FEW_SOURCE_ROWS) return DIAL_OK;
    DI_TRY(di_examples_hold_out(job->al, &job->target, share, job->set.seed, &held, &by_row, err));
    DI_TRY(append(job->al, &job->held, &held, err));
done:
    return st;
}

/* Few rows of labels that no head can be refitted on: the last checkpoint is as good as any. */
static void give_up_choice(di_train_job *job)
{
    if (job->set.loss.objective == DI_OBJECTIVE_PAIR || job->rule >= DI_SELECT_LAST) return;
    di_job_warn(job, "source_weak",
                "under %d source rows none are held out, so the last checkpoint is taken",
                DI_FEW_SOURCE_ROWS);
    job->rule = DI_SELECT_LAST;
}

static int is_share(const char *text)
{
    return *text != '\0' && strspn(text, "0123456789.") == strlen(text) - 1 &&
           text[strlen(text) - 1] == '%';
}

static dial_status hold_out(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text = job->opt->heldout_source;
    double share;
    int64_t count;
    int by_row = 0;

    /* oracle-target never sees the source, so a file of its rows would choose the worst checkpoint
     */
    if (job->mode == DI_MODE_ORACLE_TARGET && !is_share(text)) text = "5%";
    if (is_share(text)) {
        DI_TRY(di_parse_share("heldout-source", text, &share, &count, err));
        if (job->source.n < DI_FEW_SOURCE_ROWS) { /* leave-one-out takes their place */
            give_up_choice(job);
            goto done;
        }
        if (share == 0) {
            if (job->rule != DI_SELECT_LAST && job->rule != DI_SELECT_NAMED)
                di_job_warn(job, "source_weak",
                            "no source rows are held out, so the last checkpoint is taken");
            if (job->rule != DI_SELECT_NAMED) job->rule = DI_SELECT_LAST;
            goto done;
        }
        DI_TRY(di_examples_hold_out(job->al, &job->source, share, job->set.seed, &job->held,
                                    &by_row, err));
        job->held_rows = job->held.n;
        DI_TRY(hold_out_target(job, share, err));
        if (by_row)
            di_job_warn(job, "split_by_row",
                        "the source is one connected group of texts: held "
                        "out by row, so held-out rows share texts with training rows");
    } else {
        dial_list one = {(const char **)(uintptr_t)&text, 1};

        DI_TRY(load_files(job, &one, 0, 1, &job->heldout_files, err));
        DI_TRY(di_examples_all(job->al, job->heldout_files.set, 1, &job->held, err));
        DI_TRY(di_job_check_labels(job, &job->held, "held-out source", err));
    }
    DI_TRY(di_examples_draw(job->al, &job->held, job->opt->select_rows, job->set.seed, err));
done:
    return st;
}

static dial_status load_evals(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_dataset_options o = {.drop_identical = 0};
    const dial_list *list = &job->opt->eval;
    di_file_set *f = &job->eval_files;

    DI_TRY(di_rows_options_from(&job->opt->common, &o.rows, err));
    for (int64_t i = 0; i < list->n && i < DI_MAX_FILES; i++) {
        const char *file;
        char *name = NULL;

        DI_TRY(di_parse_named_file(job->al, list->item[i], &name, &file, err));
        f->name[f->n] = name;
        st = di_dataset_load(job->al, file, &o, &job->base.policy, job->base.tok, job->env,
                             &f->set[f->n], err);
        f->n++;
        if (st != DIAL_OK) goto done;
        if (job->set.loss.classes > 0)
            DI_TRY(di_class_check(f->set[f->n - 1], job->set.loss.classes, err));
        if (job->opt->maps > 0 && (is(name, "source") || is(name, "target")))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--eval %s", list->item[i]),
                       "give the set another name, or --maps 0",
                       "the maps of a run name its training rows '%s'", name);
    }
done:
    return st;
}

/*
 * What --template auto came to, which the run keeps: message lists are rendered by the model's
 * template, strings are not. Both in one training would let the critic tell the domains apart by
 * their markup.
 */
static dial_status settle_template(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_file_set *sets[] = {&job->source_files, &job->heldout_files, &job->target_files};
    di_text_policy *p = &job->base.policy;
    int64_t dialogues = 0, plain = 0;

    if (strcmp(p->template_name, "auto") != 0) goto done;
    for (size_t k = 0; k < sizeof sets / sizeof *sets; k++)
        for (int i = 0; i < sets[k]->n; i++) {
            dialogues += sets[k]->set[i]->dialogues;
            plain += sets[k]->set[i]->plain;
        }
    if (dialogues > 0 && plain > 0) {
        if (!job->opt->allow_mixed_templates)
            DI_FAIL_AT(err, DIAL_ERR_USAGE, "--template",
                       "pass --template model or raw for all rows, or insist with "
                       "--allow-mixed-templates",
                       "%lld rows are message lists, rendered by the model's template, and %lld "
                       "are strings, which are not",
                       (long long)dialogues, (long long)plain);
        goto done; /* the run goes on to choose by row */
    }
    snprintf(p->template_name, sizeof p->template_name, dialogues > 0 ? "model" : "raw");
    if (dialogues == 0) p->chat = NULL;
    DI_TRY(di_text_policy_resolve(p, job->base.tok, err));
done:
    return st;
}

/* Every row of a side, as examples over job->all; at: its first file there. */
static dial_status gather(di_train_job *job, const di_file_set *f, int at, di_examples *out,
                          dial_error *err)
{
    dial_status st = DIAL_OK;

    memcpy(job->all + at, f->set, (size_t)f->n * sizeof(f->set[0]));
    DI_TRY(di_examples_all(job->al, f->set, f->n, out, err));
    for (int64_t i = 0; i < out->n; i++) out->ref[i].set += at;
    out->set = job->all;
done:
    return st;
}

/* --target-labelled: up to --batch-target of its rows join every step. */
static dial_status load_labelled(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *file = job->opt->target_labelled;
    dial_list one = {(const char **)(uintptr_t)&file, 1};
    di_examples *x = &job->labelled;

    if (file == NULL) return DIAL_OK;
    DI_TRY(load_files(job, &one, 0, 1, &job->labelled_files, err));
    DI_TRY(di_examples_all(job->al, job->labelled_files.set, 1, x, err));
    for (int64_t i = 0; i < x->n; i++)
        if (di_example_at(x, i)->kind != DI_ROW_PAIR && di_example_at(x, i)->kind != DI_ROW_MCQ)
            DI_FAIL_AT(err, DIAL_ERR_INPUT,
                       DI_FMT("%s:%lld:1", file, (long long)di_example_at(x, i)->line),
                       "give rows with chosen and rejected, or candidates with a label",
                       "missing_key: expected a preference in --target-labelled");
    job->set.batch[DI_LABELLED] = job->opt->batch_target / job->set.parts;
    if (job->set.batch[DI_LABELLED] > x->n) job->set.batch[DI_LABELLED] = x->n;
    job->side[DI_LABELLED] = x;
    di_log(job->env, DIAL_LOG_INFO, "%lld labelled target rows are trained on", (long long)x->n);
done:
    return st;
}

/* An --eval set that --select names has right and wrong rows. */
static dial_status check_named(const di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_dataset *d = job->named >= 0 ? job->eval_files.set[job->named] : NULL;

    if (d != NULL && d->example[0].kind != DI_ROW_PAIR && d->example[0].kind != DI_ROW_MCQ)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--select", "name a set of pairs or of multiple choice",
                   "'%s' has no accuracy to choose by", job->eval_files.name[job->named]);
done:
    return st;
}

dial_status di_job_load_data(di_train_job *job, dial_error *err)
{
    dial_status st = DIAL_OK;
    const dial_train_options *o = job->opt;
    int swapped = job->mode == DI_MODE_ORACLE_TARGET; /* the target's labels are the source's */
    int oracle = job->mode == DI_MODE_ORACLE;
    di_file_set *labelled = swapped ? &job->target_files : &job->source_files;

    DI_TRY(load_files(job, swapped ? &o->target : &o->source, 0, 1, labelled, err));
    DI_TRY(gather(job, labelled, 0, &job->source, err));
    DI_TRY(di_job_resolve_objective(job, err));
    DI_TRY(di_examples_draw(job->al, &job->source, swapped ? o->limit_target : o->limit_source,
                            job->set.seed, err));
    job->has_target = o->target.n > 0 && !swapped;
    if (job->has_target) {
        DI_TRY(load_files(job, &o->target, !oracle, 1, &job->target_files, err));
        DI_TRY(gather(job, &job->target_files, job->source_files.n, &job->target, err));
        if (oracle) DI_TRY(di_job_check_labels(job, &job->target, "target", err));
        DI_TRY(di_examples_draw(job->al, &job->target, o->limit_target, job->set.seed + 1, err));
        if (!oracle)
            di_log(job->env, DIAL_LOG_INFO,
                   "target labels, where the files have any, were dropped");
    }
    if (o->overfit > 0) { /* the first rows, all of them for training */
        if (job->source.n > o->overfit) job->source.n = o->overfit;
        job->rule = DI_SELECT_LAST;
    } else {
        DI_TRY(hold_out(job, err));
    }
    DI_TRY(settle_template(job, err));
    DI_TRY(di_job_standardise(job, err));
    DI_TRY(load_labelled(job, err));
    DI_TRY(di_job_cross_prompts(job, err));
    DI_TRY(di_job_find_parallel(job, err));
    DI_TRY(load_evals(job, err));
    DI_TRY(check_named(job, err));
    job->side[DI_SOURCE] = &job->source;
    job->side[DI_TARGET] = &job->target;
done:
    return st;
}

static void free_files(const di_alloc *al, di_file_set *f)
{
    for (int i = 0; i < f->n; i++) {
        di_dataset_free(f->set[i]);
        di_free(al, f->name[i]);
    }
    f->n = 0;
}

void di_job_free_data(di_train_job *job)
{
    di_parallel_deinit(&job->parallel, job->al);
    di_examples_free(job->al, &job->source);
    di_examples_free(job->al, &job->target);
    di_examples_free(job->al, &job->held);
    di_examples_free(job->al, &job->labelled);
    di_examples_free(job->al, &job->crossed);
    free_files(job->al, &job->source_files);
    free_files(job->al, &job->target_files);
    free_files(job->al, &job->heldout_files);
    free_files(job->al, &job->eval_files);
    free_files(job->al, &job->labelled_files);
    free_files(job->al, &job->crossed_files);
}

dial_status di_job_rows_seen(di_train_job *job, const di_file_set *f, const di_examples *drawn,
                             int64_t limit, di_examples *out, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (limit <= 0) return di_examples_all(job->al, f->set, f->n, out, err);
    *out = (di_examples){.set = drawn->set, .n = drawn->n};
    out->ref = di_new_array(job->al, (size_t)drawn->n, sizeof *out->ref);
    if (out->ref == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %lld rows", (long long)drawn->n);
    memcpy(out->ref, drawn->ref, (size_t)drawn->n * sizeof *out->ref);
done:
    return st;
}

dial_status di_job_embed_pairs(di_train_job *job, const di_examples *x, int64_t n, const char *what,
                               float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_seq_view *text = di_new_array(job->al, 2 * (size_t)n, sizeof *text);
    uint64_t *prompt = di_new_array(job->al, 2 * (size_t)n, sizeof *prompt);
    int64_t k = 0;

    if (text == NULL || prompt == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %s", what);
    for (int64_t i = 0; i < n; i++)
        for (int t = 0; t < 2; t++) { /* a single text stands twice */
            const di_seq *s = di_example_seq(x, i, t < di_example_at(x, i)->n_texts ? t : 0);

            text[k] = (di_seq_view){s->id, s->n};
            prompt[k++] = s->prompt_hash;
        }
    DI_TRY(di_embed_texts(job->embedder, text, prompt, 2 * n, what, e, err));
done:
    di_free(job->al, text);
    di_free(job->al, prompt);
    return st;
}
