/*
 * Failure signatures (method.md 7): one table of code, threshold and advice, and the verdict that
 * follows from what was measured. Thresholds are the specification's first guesses; none was tuned
 * on test data.
 */
#ifndef DI_EVAL_FINDINGS_H
#define DI_EVAL_FINDINGS_H

#include "base/json.h"

/* The signatures in the order of method.md 7, then what stands beside them (interfaces.md 1.8). */
typedef enum di_signature {
    DI_ALREADY_ALIGNED,
    DI_CRITIC_LAGGING,
    DI_CRITIC_NOT_LIPSCHITZ,
    DI_CRITIC_OVERFITS,
    DI_SOURCE_DEGRADATION,
    DI_SEED_VARIANCE,
    DI_NO_GAIN,
    DI_SOURCE_WEAK,
    DI_FEATURE_COLLAPSE,
    DI_REWARD_SCALE_COLLAPSE,
    DI_REWARD_DRIFT,
    DI_LENGTH_SHORTCUT,
    DI_PROMPT_BLIND,
    DI_INVERTED_HEAD,
    DI_SHORTCUT_OR_FLIP,
    DI_SELF_TRAINING_DRIFT,
    DI_OVER_CONFIDENT,
    DI_PRECISION,
    DI_LENGTH_SHIFT,
    DI_SCRIPT_SHIFT,
    DI_LEAK,
    DI_N_SIGNATURES
} di_signature;

typedef enum di_level { DI_LEVEL_OK, DI_LEVEL_NOTE, DI_LEVEL_WARN } di_level;

typedef struct di_finding {
    di_level level;
    double value;     /* NAN: the input does not allow it */
    char detail[320]; /* what was seen, in words; may be empty */
} di_finding;

/* All of them unknown: level note, value NAN, the detail says what each needs. */
void di_findings_init(di_finding f[DI_N_SIGNATURES]);

/*
 * Records a value and decides its level: beyond the table's threshold is `warn` (`note` for those
 * that never warn: already_aligned, no_gain, and the three at the end), else `ok`. NAN is left
 * unknown. The detail is kept as given (printf form; may be "").
 */
void di_finding_set(di_finding f[DI_N_SIGNATURES], di_signature s, double value, const char *detail,
                    ...) DIAL_PRINTF(4, 5);

const char *di_signature_code(di_signature s);
double di_signature_threshold(di_signature s);

/* [{"code","level","value","threshold","message"}] in the order above; NULL: no memory. */
json_t *di_findings_to_json(const di_finding f[DI_N_SIGNATURES]);

/* ---- verdict ---- */

typedef enum di_certificate {
    DI_NO_CERTIFICATE,
    DI_NOT_INVERTED,
    DI_INVERTED,
    DI_UNDECIDED
} di_certificate;

typedef struct di_evidence_summary {
    di_certificate certificate;
    double a_distance_hi; /* upper end on e and on differences: the larger of the two; NAN */
    double mmd_p;         /* the smaller of the two; NAN: not measured */
    int suspect_is_model; /* inverted_head: the suspect view is the one that the model reads */
    int only_disagrees;   /* shortcut_or_flip rests on the agreement with the baseline alone */
    int views_agree;      /* on matched pairs the model's view agrees with every view that is
                             not suspect, above 1/2 by more than 1 SE; 0 also: unknown */
} di_evidence_summary;

/*
 * "no_shift", "safe", "uncertain" or "unsafe": the first row of the verdict table of method.md 7
 * that applies. reason (n bytes) receives a sentence.
 */
const char *di_verdict(const di_finding f[DI_N_SIGNATURES], const di_evidence_summary *e,
                       char *reason, size_t n);

#endif
