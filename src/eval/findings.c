#include "eval/findings.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { BELOW, UP_TO, ABOVE };
static const double settled = 0.8; /* least agreement of two heads under which nothing is `safe` */

/* code; which side of the threshold speaks (UP_TO: and the threshold itself); threshold; may it
 * warn; what it needs; advice */
typedef struct row {
    const char *code;
    int side;
    double threshold;
    int warns;
    const char *needs, *advice;
} row;

/* clang-format off */
static const row table[DI_N_SIGNATURES] = {
    {"already_aligned",       BELOW, 0.20, 0, "10 pairs of each domain",
     "expect no gain from alignment; train src-pref; check that the two files differ"},
    {"critic_lagging",        ABOVE, 0.20, 1, "a run trained with a critic",
     "give the critic more iterations, a warm-up or 3 times its rate, or normalise its inputs"},
    {"critic_not_lipschitz",  ABOVE, 0.50, 1, "a run of --method dial, of 100 steps, with a two_sided or one_sided penalty",
     "raise --gp, or take --gp-kind one_sided; for a slope that is too small, more --critic-iters"},
    {"critic_overfits",       ABOVE, 0.50, 1, "a run of --method dial with a gap, whose saves read held-out source rows and the target",
     "larger target batches, critic weight decay, or a smaller critic"},
    {"source_degradation",    ABOVE, 1.00, 1, "--baseline RUN",
     "a third of --lambda, a ramp, or an earlier checkpoint"},
    {"seed_variance",         ABOVE, 0.20, 1, "--runs with other seeds of this training",
     "more seeds, average their adapters, or a closed-form alignment loss"},
    {"no_gain",               UP_TO, 0.00, 0, "--baseline, and --labelled pairs drawn at random",
     "with a small domain distance there is nothing to gain; else align pair differences"},
    {"source_weak",           BELOW, 0.00, 1, "source pairs of unequal length",
     "the data or the base model is the bottleneck, not the transfer"},
    {"feature_collapse",      BELOW, 0.50, 1, "--baseline RUN",
     "lower --lambda, or normalise the embeddings"},
    {"reward_scale_collapse", BELOW, 0.25, 1, "10 pairs of each domain",
     "alignment is too strong, or the target lies outside of what the base model knows"},
    {"reward_drift",          ABOVE, 1.00, 1, "10 pairs of each domain",
     "centre rewards (--center); harmless for ranking inside the target, harmful for thresholds"},
    {"length_shortcut",       ABOVE, 0.60, 1, "target pairs of unequal length",
     "judge it on length-matched pairs; balance the lengths of the source"},
    {"prompt_blind",          ABOVE, 0.90, 1, "a head with source accuracy above 1/2, and prompts that differ",
     "the head scores responses without reading the prompt: add pairs that exchange prompts"},
    {"inverted_head",         BELOW, 0.50, 1, "20 target pairs of unequal texts and 10 source pairs",
     "drop the suspect view and refit; label 20 to 50 random target pairs (doctor --labelled)"},
    {"shortcut_or_flip",      BELOW, 0.60, 1, "--two-heads, or --baseline RUN",
     "do not deploy: label 20 to 50 random target pairs (doctor --labelled)"},
    {"self_training_drift",   ABOVE, 2.00, 1, "a run that made pseudo-labels three times, with a second opinion",
     "stop, raise --confidence, restart from src-pref"},
    {"over_confident",        ABOVE, 0.10, 1, "10 source pairs and a run's own head",
     "label smoothing, or a temperature fitted on held-out source pairs"},
    {"precision",             ABOVE, 0.01, 1, "target pairs",
     "score in f32 (--dtype f32); look for non-finite values in metrics.jsonl"},
    {"length_shift",          ABOVE, 0.30, 0, "rows of both domains",
     "target texts are of another length: read the numbers on length-matched pairs"},
    {"script_shift",          ABOVE, 0.10, 0, "rows of both domains",
     "the domains use different scripts: expect a base model that knows one better"},
    {"leak",                  ABOVE, 0.00, 0, "rows of both domains",
     "texts stand in both files: distances are too small, and a target test file must not"},
};
/* clang-format on */

const char *di_signature_code(di_signature s)
{
    return table[s].code;
}

double di_signature_threshold(di_signature s)
{
    return table[s].threshold;
}

void di_findings_init(di_finding f[DI_N_SIGNATURES])
{
    for (int s = 0; s < DI_N_SIGNATURES; s++) {
        f[s] = (di_finding){DI_LEVEL_NOTE, NAN, ""};
        snprintf(f[s].detail, sizeof f[s].detail, "not measured: needs %s", table[s].needs);
    }
}

void di_finding_set(di_finding f[DI_N_SIGNATURES], di_signature s, double value, const char *detail,
                    ...)
{
    double edge = table[s].threshold;
    int beyond = table[s].side == ABOVE   ? value > edge
                 : table[s].side == BELOW ? value < edge
                                          : value <= edge;
    va_list ap;

    if (isnan(value)) return;
    f[s].value = value;
    f[s].level = !beyond ? DI_LEVEL_OK : table[s].warns ? DI_LEVEL_WARN : DI_LEVEL_NOTE;
    va_start(ap, detail);
    vsnprintf(f[s].detail, sizeof f[s].detail, detail, ap);
    va_end(ap);
}

json_t *di_findings_to_json(const di_finding f[DI_N_SIGNATURES])
{
    static const char *const levels[] = {"ok", "note", "warn"};
    json_t *list = json_array();
    char message[640];

    for (int s = 0; s < DI_N_SIGNATURES; s++) {
        int known = !isnan(f[s].value), advise = known && f[s].level != DI_LEVEL_OK;

        snprintf(message, sizeof message, "%s%s%s", f[s].detail,
                 advise && f[s].detail[0] != '\0' ? "; " : "", advise ? table[s].advice : "");
        if (json_array_append_new(
                list, json_pack("{s:s, s:s, s:o, s:o, s:s}", "code", table[s].code, "level",
                                levels[f[s].level], "value", di_json_stat(f[s].value), "threshold",
                                di_json_stat(table[s].threshold), "message", message)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* ---- verdict ---- */

static int warns(const di_finding *f, di_signature s)
{
    return f[s].level == DI_LEVEL_WARN;
}

/* Does s count against the model, once what the certificate lifts is lifted? */
static int stands(const di_finding *f, di_signature s, const di_evidence_summary *e)
{
    if (!warns(f, s)) return 0;
    if (s == DI_INVERTED_HEAD) return e->suspect_is_model && e->certificate != DI_NOT_INVERTED;
    if (s == DI_SHORTCUT_OR_FLIP) return e->certificate != DI_NOT_INVERTED;
    return 1;
}

static int first_warning(const di_finding *f, const di_evidence_summary *e)
{
    for (int s = 0; s < DI_N_SIGNATURES; s++)
        if (stands(f, (di_signature)s, e)) return s;
    return -1;
}

const char *di_verdict(const di_finding f[DI_N_SIGNATURES], const di_evidence_summary *e,
                       char *reason, size_t n)
{
    int first = first_warning(f, e);
    int flipped = stands(f, DI_SHORTCUT_OR_FLIP, e) && !e->only_disagrees;
    double heads = f[DI_SHORTCUT_OR_FLIP].value;

    if (e->certificate == DI_INVERTED) {
        snprintf(reason, n, "the labelled target pairs certify that the ranking is inverted");
        return "unsafe";
    }
    if (stands(f, DI_INVERTED_HEAD, e) || flipped || f[DI_PRECISION].value == INFINITY) {
        snprintf(reason, n, "%s: %s",
                 stands(f, DI_INVERTED_HEAD, e) ? table[DI_INVERTED_HEAD].code
                 : flipped                      ? table[DI_SHORTCUT_OR_FLIP].code
                                                : table[DI_PRECISION].code,
                 stands(f, DI_INVERTED_HEAD, e) ? f[DI_INVERTED_HEAD].detail
                 : flipped                      ? f[DI_SHORTCUT_OR_FLIP].detail
                                                : f[DI_PRECISION].detail);
        return "unsafe";
    }
    if (first >= 0) {
        snprintf(reason, n, "%s: %s", table[first].code, f[first].detail);
        return "uncertain";
    }
    if (heads < settled && !e->only_disagrees && e->certificate != DI_NOT_INVERTED) {
        snprintf(reason, n,
                 "two heads of equal source fit order %.2f of the target pairs alike: the source "
                 "does not settle the others; label 20 to 50 of them (doctor --labelled)",
                 heads);
        return "uncertain";
    }
    if (e->a_distance_hi < table[DI_ALREADY_ALIGNED].threshold && e->mmd_p > 0.05) {
        snprintf(
            reason, n,
            "a probe cannot tell the domains apart (A-distance at most %.2f) and the two-sample "
            "test does not see a difference (p = %.2f)",
            e->a_distance_hi, e->mmd_p);
        return "no_shift";
    }
    if (e->certificate == DI_NOT_INVERTED) {
        snprintf(reason, n, "the labelled target pairs certify that the ranking is not inverted");
        return "safe";
    }
    if (e->views_agree) {
        snprintf(
            reason, n,
            "the domains differ, nothing warns, and on length-matched target pairs the model's "
            "view agrees with every other");
        return "safe";
    }
    snprintf(reason, n,
             "the domains differ, and without labels nothing shows that the ranking carries over");
    return "uncertain";
}
