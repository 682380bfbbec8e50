#include "api/evidence.h"

#include <math.h>
#include <string.h>

#include "api/views.h"
#include "base/error.h"
#include "base/rng.h"
#include "dist/dist.h"
#include "eval/stats.h"

static double log_words(const di_seq *a, const di_seq *b)
{
    return log(fmax(a->words, 1)) - log(fmax(b->words, 1));
}

/* Row i of the evidence from texts a and b of the dataset. */
static void add_pair(di_evidence *x, int64_t i, int32_t row, int32_t a, int32_t b)
{
    const di_dataset *d = x->d;
    const di_seq *s = &d->seq[a], *t = &d->seq[b];

    x->text[2 * i] = a;
    x->text[2 * i + 1] = b;
    x->row[i] = row;
    x->group[i] = s->prompt_hash;
    x->log_length[i] = log_words(s, t);
    x->matched[i] = (char)(s->words > 0 && t->words > 0 && fabs(x->log_length[i]) < 0.3);
    if (!x->single_texts && d->example[row].length_matched >= 0)
        x->matched[i] = (char)d->example[row].length_matched;
    x->n_matched += x->matched[i];
    x->picked = x->picked || d->example[row].picked;
}

/* Two texts of a row, or one. */
typedef struct unit {
    int64_t row;
    int32_t at; /* of the row's texts */
} unit;

/* Usable ones in `order`; returns how many. Pairs of equal texts say nothing; of a target's row
 * with several texts two and two make a pair. */
static int64_t usable(const di_dataset *d, int drop_labels, int single, unit *order)
{
    int64_t n = 0;

    for (int64_t i = 0; i < d->n; i++) {
        const di_example *x = &d->example[i];
        const int32_t *t = d->text_of + x->first;

        if (single && x->n_texts == 1) order[n++] = (unit){i, 0};
        if (single) continue;
        if (!drop_labels && x->kind != DI_ROW_PAIR) return -1 - i;
        if (x->kind == DI_ROW_PAIR && x->identical) continue;
        for (int32_t k = 0; k + 1 < x->n_texts; k += 2)
            if (x->kind == DI_ROW_PAIR || t[k] != t[k + 1]) order[n++] = (unit){i, k};
    }
    return n;
}

dial_status di_evidence_load(di_session *s, const dial_common_options *common, const char *path,
                             int drop_labels, int64_t max_rows, uint64_t seed, di_evidence *out,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    di_dataset_options o = {.drop_identical = 0};
    di_evidence x = {.al = s->al};
    di_rng r = di_rng_make(seed, DI_RNG_LIMIT, (uint32_t)drop_labels);
    unit *order = NULL;
    int64_t *turn = NULL, n, texts = 0;

    DI_TRY(di_rows_options_from(common, &o.rows, err));
    o.rows.drop_labels = drop_labels;
    DI_TRY(di_dataset_load(s->al, path, &o, &s->policy, s->tok, s->env, &x.d, err));
    for (int64_t i = 0; i < x.d->n; i++) texts += x.d->example[i].n_texts;
    order = di_new_array(s->al, (size_t)texts, sizeof *order);
    turn = di_new_array(s->al, (size_t)texts, sizeof *turn);
    if (order == NULL || turn == NULL)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the rows of '%s'", path);
    n = usable(x.d, drop_labels, 0, order);
    if (n < 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT,
                   DI_FMT("%s:%lld:1", path, (long long)x.d->example[-1 - n].line),
                   "give rows with chosen and rejected", "missing_key: expected a preference pair");
    if (n == 0 && drop_labels) {
        x.single_texts = 1;
        n = usable(x.d, 1, 1, order);
    }
    for (int64_t i = 0; i < n; i++) turn[i] = i;
    di_rng_shuffle(&r, turn, n);
    x.n = x.single_texts ? n / 2 : n;
    if (max_rows > 0 && x.n > max_rows) x.n = max_rows;
    if (x.n < 1)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, path, "give rows with two texts that differ",
                   "no row holds a pair of texts");
    x.text = di_new_array(s->al, 2 * (size_t)x.n, sizeof *x.text);
    x.row = di_new_array(s->al, (size_t)x.n, sizeof *x.row);
    x.group = di_new_array(s->al, (size_t)x.n, sizeof *x.group);
    x.log_length = di_new_array(s->al, (size_t)x.n, sizeof *x.log_length);
    x.matched = di_new_array(s->al, (size_t)x.n, 1);
    if (!x.text || !x.row || !x.group || !x.log_length || !x.matched)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the rows of '%s'", path);
    for (int64_t i = 0; i < x.n; i++) {
        const unit *u = &order[turn[x.single_texts ? 2 * i : i]];
        const int32_t *t = x.d->text_of + x.d->example[u->row].first + u->at;

        add_pair(&x, i, (int32_t)u->row, t[0],
                 x.single_texts ? x.d->text_of[x.d->example[order[turn[2 * i + 1]].row].first]
                                : t[1]);
        x.several |= x.d->example[u->row].n_texts > 2;
    }
    *out = x;
    x = (di_evidence){.al = s->al};
done:
    di_free(s->al, order);
    di_free(s->al, turn);
    di_evidence_deinit(&x);
    return st;
}

void di_evidence_deinit(di_evidence *x)
{
    if (x->al == NULL) return;
    di_dataset_free(x->d);
    di_free(x->al, x->text);
    di_free(x->al, x->row);
    di_free(x->al, x->group);
    di_free(x->al, x->log_length);
    di_free(x->al, x->matched);
    *x = (di_evidence){0};
}

/* Does what the session computes of a text depend on nothing that it trains? */
static int is_frozen(const di_session *s)
{
    return !s->has_params || s->params.lora.r == 0;
}

/* The trunk of the session's own view holds the texts of x afterwards, where there is one. */
static dial_status look_up(di_session *s, const di_evidence *x, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *want = NULL;

    if (s->trunk_cache == NULL || di_dist_of(s->env)->size > 1) goto done;
    if (!is_frozen(s) && di_decoder_entry(s->decoder) == 0) goto done;
    if (s->evidence == NULL) {
        s->evidence = di_zalloc(s->al, sizeof *s->evidence);
        if (s->evidence == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for stored embeddings");
        DI_TRY(di_trunk_job_open(s->evidence, s, s->embedder, s->decoder, s->trunk_cache,
                                 s->trunk_max, err));
        DI_TRY(di_embedder_set_trunk(s->embedder, s->evidence->trunk, err));
    }
    want = di_new_array(s->al, (size_t)x->d->n_seq, 1);
    if (want == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for stored embeddings");
    for (int64_t i = 0; i < 2 * x->n; i++) want[x->text[i]] = 1;
    DI_TRY(di_trunk_job_fill_texts(s->evidence, x->d, want, err));
done:
    di_free(s->al, want);
    return st;
}

void di_evidence_close_store(di_session *s)
{
    if (s->evidence == NULL) return;
    if (s->embedder != NULL) di_embedder_set_trunk(s->embedder, NULL, NULL);
    di_trunk_job_close(s->evidence);
    di_free(s->al, s->evidence);
    s->evidence = NULL;
}

dial_status di_evidence_embed(di_session *s, const di_evidence *x, const di_view *view, int n_views,
                              const char *what, float *e, dial_error *err)
{
    dial_status st = DIAL_OK;
    di_views_job job = {.s = s,
                        .embedder = s->embedder,
                        .cache = s->trunk_cache != NULL && is_frozen(s) ? s->trunk_cache : "off",
                        .max = s->trunk_max,
                        .view = view,
                        .n_views = n_views,
                        .what = what};
    di_seq_view *text = NULL;
    uint64_t *prompt = NULL;

    if (view != NULL) {
        DI_TRY(di_views_embed(&job, x->d, x->text, NULL, 2 * x->n, 2 * x->n, e, err));
        goto done;
    }
    DI_TRY(look_up(s, x, err));
    text = di_new_array(s->al, 2 * (size_t)x->n, sizeof *text);
    prompt = di_new_array(s->al, 2 * (size_t)x->n, sizeof *prompt);
    if (text == NULL || prompt == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for %s", what);
    for (int64_t i = 0; i < 2 * x->n; i++) {
        const di_seq *q = &x->d->seq[x->text[i]];

        text[i] = (di_seq_view){q->id, q->n};
        prompt[i] = q->prompt_hash;
    }
    DI_TRY(di_embed_texts(s->embedder, text, prompt, 2 * x->n, what, e, err));
done:
    di_free(s->al, text);
    di_free(s->al, prompt);
    return st;
}

json_t *di_labelled_json(const double *margin, int64_t n, int64_t n_models, double min_accuracy,
                         int random_sample)
{
    double alpha = 0.05 / (double)n_models, floor = min_accuracy >= 0 ? min_accuracy : 0.5, lower,
           upper, half = 0;
    int64_t right = 0, wrong = 0;
    di_interval ci;
    json_t *certificate = json_null();

    for (int64_t i = 0; i < n; i++) {
        right += margin[i] > 0;
        wrong += margin[i] < 0;
        half += margin[i] > 0 ? 1 : margin[i] < 0 ? 0 : 0.5;
    }
    ci = di_wilson(half, (double)n, DI_Z95);
    lower = di_clopper_pearson(right, n, alpha);     /* a tie counts as wrong ... */
    upper = 1 - di_clopper_pearson(wrong, n, alpha); /* ... and here as right */
    if (random_sample)
        certificate = json_pack("{s:o, s:o, s:o, s:s}", "alpha", di_json_stat(alpha), "lower",
                                di_json_stat(lower), "upper", di_json_stat(upper), "result",
                                lower > floor ? "not_inverted"
                                : upper < 0.5 ? "inverted"
                                              : "undecided");
    return json_pack("{s:I, s:o, s:[o, o], s:o}", "n", (json_int_t)n, "accuracy",
                     di_json_stat(half / (double)n), "ci95", di_json_stat(ci.lo),
                     di_json_stat(ci.hi), "certificate", certificate);
}
