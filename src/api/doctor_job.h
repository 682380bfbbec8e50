/*
 * The parts of `dial doctor`, in the order in which they run:
 *   doctor.c     flags, models, labelled pairs, verdict, document
 *   text         what the two files look like as text            (doctor_text.c)
 *   views        votes of heads at several depths                (doctor_views.c)
 *   domain       distances, features, rewards, Theorem 1         (doctor_domain.c)
 *   journal      what the run wrote down of its own training     (doctor_journal.c)
 */
#ifndef DI_API_DOCTOR_JOB_H
#define DI_API_DOCTOR_JOB_H

#include "api/evidence.h"
#include "eval/findings.h"
#include "eval/stats.h"

typedef struct di_doctor {
    const dial_doctor_options *opt;
    const di_alloc *al;
    di_session s;
    di_evidence source, target, labelled; /* labelled.n 0: none */
    int64_t c;
    uint64_t seed;
    float *e_s, *e_t; /* (2n, C) by the model's own view */
    float *head;      /* (C): a run's, or a probe on all source pairs */
    int own_head;
    double *m_s, *m_t; /* margins; m_s of a probe are cross-validated */
    double *m_l;       /* of the labelled pairs */
    double plain_rank; /* effective rank of the target before a run's adaptor */
    di_finding finding[DI_N_SIGNATURES];
    di_evidence_summary seen;
    json_t *doc; /* the document, filled as parts are done */
    int failed;  /* a member found no memory */
} di_doctor;

/* "text": lengths, scripts, overlaps; findings length_shift, script_shift, leak. */
dial_status di_doctor_text(di_doctor *r, dial_error *err);
/* Source pairs read under each other's prompts: finding prompt_blind. After di_doctor_views. */
dial_status di_doctor_prompts(di_doctor *r, dial_error *err);

/* Embeds both sides; fills e_s, e_t, head, m_s, m_t; "layers", "views", "recommended". */
dial_status di_doctor_views(di_doctor *r, dial_error *err);

/* "domain", "features", "reward", "source", "bound"; their findings. */
dial_status di_doctor_domain(di_doctor *r, dial_error *err);

/* What the run's journal says: findings critic_lagging, critic_not_lipschitz, critic_overfits,
 * self_training_drift, and precision where a number was not finite. After di_doctor_domain. */
dial_status di_doctor_journal(di_doctor *r, dial_error *err);

/* Margins of pairs under the run at `path`: of the rows that the doctor looks at. */
typedef struct di_other_model {
    double *m_s, *m_t, *m_l; /* m_l NULL: no labelled pairs */
    double effective_rank;   /* of its target embeddings */
    int same_view;           /* it reads the layer and pooling that the doctor's model reads */
    char method[32];
} di_other_model;
dial_status di_other_model_open(di_doctor *r, const char *path, di_other_model *out,
                                dial_error *err);
void di_other_model_close(di_doctor *r, di_other_model *m);

#endif
