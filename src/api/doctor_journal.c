/*
 * What a run's own journal says of its training: the rows of method.md 7 about the critic and about
 * self-training, which no look at the finished model can give. Everything here was written down
 * while the run trained (docs/interfaces.md 1.5); a run of a version that did not write it leaves
 * the finding as it was.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/doctor_job.h"
#include "base/error.h"
#include "base/file.h"
#include "train/journal.h"

enum { LAST_STEPS = 100, DEAD_STEPS = 200, DRIFT_CHECKS = 3 };
static const double dead_ratio = 0.05; /* gap over spread under which a critic tells nothing */
static const double apart = 0.5;       /* A-distance of a probe that does tell the domains apart */

/* The last values of a key of the step lines. */
typedef struct ring {
    double x[LAST_STEPS];
    int64_t n; /* ever put */
} ring;

typedef struct course {
    double gp; /* weight of the penalty; NAN: one that neither asks for slope 1 nor allows it */
    int two_sided;
    ring w1, slope, gap; /* gap: of the last critic iteration, in the scale of its rows */
    int64_t step, bad;   /* the last step; steps with a number that was not finite */
    /* The critic on rows that are held out, at saves. */
    int judged;    /* saves that say so or say that it could not be: not an older version's */
    int64_t saves; /* that have numbers */
    double train, noise, held, ratio;   /* noise: 2 standard errors of train */
    int64_t source, target, dead_since; /* step of the first of the last saves in a row whose ratio
                                           is dead; -1: the last one's is not */
    /* Labellings with a second opinion. */
    int64_t checks, run, longest;
    double accepted, agreement;             /* of the last */
    double from[2], to[2];                  /* accepted share, agreement: ends of the longest run */
    double begin_accepted, begin_agreement; /* of the run that is open */
} course;

static void put(ring *r, double x)
{
    r->x[r->n++ % LAST_STEPS] = x;
}

static int64_t held_by(const ring *r)
{
    return r->n < LAST_STEPS ? r->n : LAST_STEPS;
}

static double mean_of(const ring *r)
{
    double sum = 0;

    for (int64_t i = 0; i < held_by(r); i++) sum += r->x[i];
    return sum / (double)held_by(r);
}

/* Standard error of the mean, steps taken as independent; infinite for less than two. */
static double error_of(const ring *r)
{
    double mean = mean_of(r), squares = 0, n = (double)held_by(r);

    for (int64_t i = 0; i < held_by(r); i++) squares += (r->x[i] - mean) * (r->x[i] - mean);
    return n > 1 ? sqrt(squares / (n - 1) / n) : INFINITY;
}

static double number(const json_t *line, const char *key)
{
    const json_t *v = json_object_get(line, key);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void read_start(course *c, const json_t *line)
{
    const json_t *flags = json_object_get(line, "flags");
    const char *kind = json_string_value(json_object_get(flags, "gp-kind"));

    c->two_sided = kind != NULL && strcmp(kind, "two_sided") == 0;
    if (c->two_sided || (kind != NULL && strcmp(kind, "one_sided") == 0))
        c->gp = number(flags, "gp");
}

static void read_step(course *c, const json_t *line)
{
    double w1 = number(line, "w1"), slope = number(line, "critic_grad_norm");
    double loss = number(line, "critic_loss"), gp = number(line, "gp");

    c->step = json_integer_value(json_object_get(line, "step"));
    if (!isnan(w1)) put(&c->w1, w1);
    if (isnan(slope) || isnan(loss) || isnan(gp) || isnan(c->gp)) return;
    put(&c->slope, slope);
    put(&c->gap, c->gp * gp - loss); /* critic_loss = -gap + lambda_gp GP */
}

static void read_save(course *c, const json_t *line)
{
    const json_t *v = json_object_get(json_object_get(line, "validators"), "critic");
    double gap = number(v, "gap"), sd = number(v, "sd");

    c->judged = c->judged || v != NULL;
    if (isnan(gap) || isnan(sd) || c->w1.n == 0) return;
    c->saves++;
    c->train = mean_of(&c->w1);
    c->noise = 2 * error_of(&c->w1);
    c->held = gap;
    c->ratio = sd > 0 ? gap / sd : 0;
    c->source = json_integer_value(json_object_get(v, "source"));
    c->target = json_integer_value(json_object_get(v, "target"));
    if (!(c->ratio < dead_ratio))
        c->dead_since = -1;
    else if (c->dead_since < 0)
        c->dead_since = json_integer_value(json_object_get(line, "step"));
}

static void read_labelling(course *c, const json_t *line)
{
    double agreement = number(line, "agreement"), rows = number(line, "rows");
    double accepted = number(line, "accepted") / rows;
    int drifts = c->checks > 0 && accepted > c->accepted && agreement < c->agreement;

    if (isnan(agreement) || !(rows > 0)) return;
    if (!drifts) {
        c->run = 1;
        c->begin_accepted = accepted;
        c->begin_agreement = agreement;
    } else if (++c->run > c->longest) {
        c->longest = c->run;
        memcpy(c->from, (double[]){c->begin_accepted, c->begin_agreement}, sizeof c->from);
        memcpy(c->to, (double[]){accepted, agreement}, sizeof c->to);
    }
    c->checks++;
    c->accepted = accepted;
    c->agreement = agreement;
}

static int read_line(void *ctx, const json_t *line)
{
    course *c = ctx;
    const char *event = json_string_value(json_object_get(line, "event"));
    const char *code = json_string_value(json_object_get(line, "code"));

    if (event == NULL) return 1;
    if (strcmp(event, "start") == 0) read_start(c, line);
    if (strcmp(event, "step") == 0) read_step(c, line);
    if (strcmp(event, "save") == 0) read_save(c, line);
    if (strcmp(event, "pseudo") == 0) read_labelling(c, line);
    c->bad += strcmp(event, "warn") == 0 && code != NULL && strcmp(code, "precision") == 0;
    return 1;
}

/*
 * A critic that is behind: its gap was below 0, or for DEAD_STEPS steps it has told nothing on rows
 * that are held out though a probe can. The share is 1 then: all of the last steps count.
 */
static void lagging(di_doctor *r, const course *c)
{
    double distance = r->finding[DI_ALREADY_ALIGNED].value, behind = 0;
    int64_t n = held_by(&c->w1);

    if (n == 0) return;
    for (int64_t i = 0; i < n; i++) behind += c->w1.x[i] < 0;
    if (c->saves > 0 && c->dead_since >= 0 && c->step - c->dead_since >= DEAD_STEPS &&
        distance > apart) {
        di_finding_set(r->finding, DI_CRITIC_LAGGING, 1,
                       "for the last %lld steps the gap on held-out rows was under %.2f of the "
                       "spread of the critic's values (%.3f at the end), while a fresh probe tells "
                       "the domains apart (A-distance %.2f)",
                       (long long)(c->step - c->dead_since), dead_ratio, c->ratio, distance);
        return;
    }
    di_finding_set(r->finding, DI_CRITIC_LAGGING, behind / (double)n,
                   "the gap was below 0 in %.2f of the last %lld steps", behind / (double)n,
                   (long long)n);
}

/*
 * How far the mean slope lies outside of [1, 1 + gap/(2 lambda_gp)], where an optimal critic's does
 * (method.md 2.10); the threshold is the tolerance on either side. A one-sided penalty forces no
 * slope where none is needed: there the lower end does not count. A shorter run says nothing: its
 * slope is still that of the critic's first weights.
 */
static void slope(di_doctor *r, const course *c)
{
    double tolerance = di_signature_threshold(DI_CRITIC_NOT_LIPSCHITZ), n, most, beyond;
    char expected[64];

    if (!c->judged || held_by(&c->slope) < LAST_STEPS || !(c->gp > 0)) return;
    n = mean_of(&c->slope);
    most = 1 + fmax(mean_of(&c->gap), 0) / (2 * c->gp);
    beyond = fmax(0, n - most);
    snprintf(expected, sizeof expected, "at most %.2f", most + tolerance);
    if (c->two_sided) {
        beyond = fmax(beyond, 1 - n);
        snprintf(expected, sizeof expected, "%.2f to %.2f", 1 - tolerance, most + tolerance);
    }
    di_finding_set(r->finding, DI_CRITIC_NOT_LIPSCHITZ, beyond,
                   "mean slope %.2f at the penalty's points of the last %d steps, expected %s", n,
                   LAST_STEPS, expected);
}

/* Only of a gap that stands out from the noise of its steps: of 0 no share means anything. */
static void overfits(di_doctor *r, const course *c)
{
    if (c->saves == 0 || !(c->train > 0 && c->train > c->noise)) return;
    di_finding_set(r->finding, DI_CRITIC_OVERFITS, (c->train - c->held) / c->train,
                   "at the last save the gap was %.3g on the rows of the steps before it, and %.3g "
                   "on %lld held-out source pairs and %lld target pairs",
                   c->train, c->held, (long long)c->source, (long long)c->target);
}

static void drift(di_doctor *r, const course *c)
{
    if (c->checks < DRIFT_CHECKS) return;
    if (c->longest < 2)
        di_finding_set(r->finding, DI_SELF_TRAINING_DRIFT, 0,
                       "of %lld labellings none accepted more than the one before it while the "
                       "model and its teacher agreed on fewer pairs",
                       (long long)c->checks);
    else
        di_finding_set(r->finding, DI_SELF_TRAINING_DRIFT, (double)c->longest,
                       "in %lld labellings in a row the accepted share rose (%.2f to %.2f) while "
                       "the model and its teacher agreed on fewer pairs (%.2f to %.2f)",
                       (long long)c->longest, c->from[0], c->to[0], c->from[1], c->to[1]);
}

dial_status di_doctor_journal(di_doctor *r, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *path = di_path_join(r->al, r->opt->model, "metrics.jsonl");
    course c = {.gp = NAN, .dead_since = -1};

    if (path == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (r->s.run == NULL || !di_exists(path)) goto done;
    DI_TRY(di_journal_read(r->al, path, read_line, &c, err));
    lagging(r, &c);
    slope(r, &c);
    overfits(r, &c);
    drift(r, &c);
    if (c.bad > 0)
        di_finding_set(r->finding, DI_PRECISION, INFINITY,
                       "%lld steps of the training met a number that was not finite",
                       (long long)c.bad);
done:
    di_free(r->al, path);
    return st;
}
