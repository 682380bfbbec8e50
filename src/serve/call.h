/*
 * A request between two buffers. A parser (one a dialect) turns the JSON body into texts and
 * wishes, `prepare` turns texts into token ids for the run that was asked for, the scheduler fills
 * in rewards, and the dialect's writer makes the answer:
 *
 *     body --parse--> input[n], flags --prepare--> work --scheduler--> reward, e --write--> answer
 *
 * Nothing here knows HTTP, so all of it can be tested with strings. A call belongs to one thread
 * at a time; everything that it holds is freed with it.
 */
#ifndef DI_SERVE_CALL_H
#define DI_SERVE_CALL_H

#include "serve/answer.h"
#include "serve/scheduler.h"

typedef enum di_activation { DI_RAW, DI_SIGMOID } di_activation;
typedef enum di_ensemble { DI_ENSEMBLE_NONE, DI_ENSEMBLE_MEAN, DI_ENSEMBLE_MIN } di_ensemble;

/* What holds for all requests of a server. */
typedef struct di_serve_settings {
    di_activation activation; /* where a request does not say */
    di_ensemble ensemble;
    int embed_reward; /* /v1/embeddings and /embed give the reward as a 1-vector */
    int truncate;     /* cut long texts where a request does not say */
    int strict_model; /* an unknown `model` is an error */
    int monitor;      /* embeddings are kept until the answer is out: monitor.h */
    int64_t max_inputs, batch_tokens;
    const char *host; /* for /info and the log */
} di_serve_settings;

/* A text of a request, as the client gave it; strings are borrowed from the body or from `kept`. */
typedef struct di_input {
    const char *prompt, *response; /* prompt may be empty */
    size_t prompt_size, response_size;
    const json_t *ids; /* token ids in place of a text; NULL: none */
    int has_border;    /* prompt and response are told apart */
    int rendered;      /* the text as it is: no template */
    di_turn *turn;     /* [n_turns], owned: a dialogue, the last turn is the response; NULL: none */
    size_t n_turns;
    const char *key; /* where it stood: "documents" */
    int64_t at;      /* its index there; -1: the value itself */
} di_input;

/* The texts of the call for one run. */
typedef struct di_side {
    di_served *model;
    di_buf ids;        /* int32, all texts */
    size_t *offset;    /* [n] elements */
    di_seq_view *view; /* [n] */
    float *reward, *e; /* [n], [n, C] or NULL; e is the first side's alone */
} di_side;

typedef struct di_call di_call;
struct di_call {
    const di_alloc *al;
    const di_serve_settings *set;
    di_models *models;
    json_t *body, *kept;
    di_fault fault;
    int tei; /* errors in TEI's form: set by the route or by the body's form */

    /* the parser's: what is asked */
    di_input *input;
    int64_t n, cap;
    const char *model; /* as asked; NULL: not said */
    const char *echo;  /* what `model` of the answer says */
    int wants_embeddings;
    int no_scores; /* only the ids are wanted */
    di_activation activation;
    int normalize; /* of rewards: shift and scale; of embeddings: unit length */
    int truncate;
    int64_t max_length;    /* tokens kept under truncate; 0: the run's limit */
    int no_special_tokens; /* no BOS, no EOS of ours */
    int single;            /* one value was given, not a list of one */
    int base64;
    int with_texts; /* give the texts back */
    int64_t top;    /* best so many; 0: all */
    void (*write)(const di_call *c, di_buf *out);

    /* prepare's */
    di_side side[DI_MAX_SERVED];
    int n_sides;
    unsigned char *truncated; /* [n] */
    int64_t *boundary;        /* [n] first token of the response */
    int64_t tokens, n_truncated;
    di_job job;

    /* finish's */
    float *value; /* [n] rewards, mixed and normalised, before the activation */

    /* for answers with an id */
    char id[33];
    int64_t created;
    double seconds; /* from the request's headers to now */
};

void di_call_init(di_call *c, const di_alloc *al, const di_serve_settings *set, di_models *models);
void di_call_deinit(di_call *c);

/* ---- for parsers ---- */

/* Room for inputs; UNPROCESSABLE above max_inputs. key names them in messages. */
di_answer di_call_add_text(di_call *c, const char *key, int64_t at, const json_t *text);
di_answer di_call_add_pair(di_call *c, const char *key, int64_t at, const json_t *prompt,
                           const json_t *response);
/* The prompt is a beginning of the text, or is not taken into account. */
di_answer di_call_add_rendered(di_call *c, const char *key, int64_t at, const json_t *text,
                               const json_t *prompt);
di_answer di_call_add_ids(di_call *c, const char *key, int64_t at, const json_t *ids);
/* A dialogue; its last message is the response. */
di_answer di_call_add_messages(di_call *c, const char *key, int64_t at, const json_t *messages);

/* str | [str] | [int] | [[int]]: what `input` is in most APIs. Sets single. EMPTY: no text. */
di_answer di_call_add_inputs(di_call *c, const char *key, const json_t *v);

/* ---- for the server ---- */

/* Takes the runs asked for and fills job.work. After OK the job may be submitted. */
di_answer di_call_prepare(di_call *c);

/* After the job: rewards as they are given out, or why there are none. */
di_answer di_call_finish(di_call *c);

/* ---- for writers ---- */

/* Reward of input i, mixed and shifted as the runs have it, whatever the call wishes. */
double di_call_reward(const di_call *c, int64_t i);

/* Value of input i under the call's activation. */
float di_call_score(const di_call *c, int64_t i);

/* Embedding of input i [*n], at unit length where the call asks for it (into room [C]). */
const float *di_call_vector(const di_call *c, int64_t i, float *room, int64_t *n);

/* The inputs by score, best first, equal ones by index; cut to `top`. order [n]; the count. */
int64_t di_call_ranking(const di_call *c, int64_t *order);

/* `"usage":{...}` as OpenAI has it; more: further members, `,"a":0`. */
void di_call_write_usage(const di_call *c, const char *more, di_buf *out);

#endif
