/*
 * The option tables: one row is a flag of the command line, a key of a config file, a member of
 * an options struct, its default and its help. Nothing else in dial knows a default.
 */
#include "dial/dial.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"

/* clang-format off */
#define COMMON(S, max_length_initial)                                                                                                   \
    {"device",        DIAL_OPT_TEXT, offsetof(S, common.device),        "auto", "auto|cpu|ref",   "where to compute (ref: plain C, slow)"}, \
    {"dtype",         DIAL_OPT_TEXT, offsetof(S, common.dtype),         "auto", "auto|f32|bf16",  "weights and activations; auto = bf16 where the machine has bf16 products"}, \
    {"weights",       DIAL_OPT_TEXT, offsetof(S, common.weights),       "auto", "auto|int8",      "frozen weights in --dtype, or (not to train) their products in 8 bits"}, \
    {"threads",       DIAL_OPT_INT,  offsetof(S, common.threads),       "0",    NULL, "threads; 0 = physical cores"},                     \
    {"seed",          DIAL_OPT_INT,  offsetof(S, common.seed),          "0",    NULL, "everything random derives from it"},               \
    {"batch-tokens",  DIAL_OPT_INT,  offsetof(S, common.batch_tokens),  "8192", NULL, "token budget of a forward pass; changes no score"},\
    {"max-length",    DIAL_OPT_INT,  offsetof(S, common.max_length),    max_length_initial, NULL, "tokens of one text, BOS and EOS included"}, \
    {"template",      DIAL_OPT_TEXT, offsetof(S, common.template_name), "auto", NULL, "auto, raw (prompt and response joined), model, chatml, llama3, ... or a JSON file"}, \
    {"chat-template", DIAL_OPT_TEXT, offsetof(S, common.template_name), "auto", NULL, NULL},                                              \
    {"bos",           DIAL_OPT_TEXT, offsetof(S, common.bos),           "auto", "auto|always|never", "first token of a text"},            \
    {"eos",           DIAL_OPT_TEXT, offsetof(S, common.eos),           "auto", "auto|always|never", "last token of a text"},             \
    {"overlong",      DIAL_OPT_TEXT, offsetof(S, common.overlong),      "truncate-prompt", "truncate-prompt|drop|error", "what to do with a text over --max-length"}, \
    {"format",        DIAL_OPT_TEXT, offsetof(S, common.format),        "auto", "auto|jsonl|json|csv|tsv", "container of data files"},    \
    {"columns",       DIAL_OPT_TEXT, offsetof(S, common.columns),       NULL,   NULL, "names of columns: prompt=q,chosen=good,..."},      \
    {"limit",         DIAL_OPT_INT,  offsetof(S, common.limit),         "-1",   NULL, "first N rows of each data file; -1 = all"},        \
    {"skip-rows",     DIAL_OPT_INT,  offsetof(S, common.skip_rows),     "0",    NULL, "rows to leave out at the start of each data file"},\
    {"on-error",      DIAL_OPT_TEXT, offsetof(S, common.on_error),      "stop", "stop|skip", "what a bad row does"},                      \
    {"max-bad",       DIAL_OPT_TEXT, offsetof(S, common.max_bad),       "1%",   NULL, "with skip: more bad rows than this (share or number) is an error"}, \
    {"show-tokens",   DIAL_OPT_INT,  offsetof(S, common.show_tokens),   "0",    NULL, "print ids and strings of the first N texts"},      \
    {"override-text", DIAL_OPT_BOOL, offsetof(S, common.override_text), "no",   NULL, "let text flags differ from those of the run"},     \
    {"allow-hash-mismatch", DIAL_OPT_BOOL, offsetof(S, common.allow_hash_mismatch), "no", NULL, "load a run whose base files changed"}

#define T dial_train_options
#define END {NULL, DIAL_OPT_TEXT, 0, NULL, NULL, NULL}
const dial_option dial_train_table[] = {
    {"base",            DIAL_OPT_TEXT, offsetof(T, base),            NULL,      NULL, "base model: Hugging Face folder, .gguf file or a run"},
    {"resume-from",     DIAL_OPT_TEXT, offsetof(T, resume_from),     NULL,      NULL, "RUN in the place of --base: start from it with its settings and source files"},
    {"preset",          DIAL_OPT_TEXT, offsetof(T, preset),          "default", "default|paper|code|native", "settings of dial, of the paper, of the released code; the one recipe for all settings"},
    {"method",          DIAL_OPT_TEXT, offsetof(T, method),          "dial",    "base|src-pref|dial|dann|cdan|mean|mmd|coral|cmd|swd|sinkhorn|deepjdot|contrastive|ssrm|iw|src-sft|tgt-ntp|oracle|oracle-target", "what is trained"},
    {"source",          DIAL_OPT_LIST, offsetof(T, source),          NULL,      NULL, "labelled rows"},
    {"target",          DIAL_OPT_LIST, offsetof(T, target),          NULL,      NULL, "rows of the other domain; labels in them are dropped (the oracles read them)"},
    {"target-labelled", DIAL_OPT_TEXT, offsetof(T, target_labelled), NULL,      NULL, "a few labelled target pairs that join every step"},
    {"target-labelled-weight", DIAL_OPT_REAL, offsetof(T, target_labelled_weight), "1", NULL, "weight of their loss"},
    {"out",             DIAL_OPT_TEXT, offsetof(T, out),             NULL,      NULL, "run folder to write"},
    {"eval",            DIAL_OPT_LIST, offsetof(T, eval),            NULL,      NULL, "NAME=FILE: labelled set to report on, never to choose on"},
    {"steps",           DIAL_OPT_INT,  offsetof(T, steps),           "0",       NULL, "optimizer steps; 0: by --epochs"},
    {"epochs",          DIAL_OPT_REAL, offsetof(T, epochs),          "3",       NULL, "passes over the side with more batches (--epoch-of)"},
    {"epoch-of",        DIAL_OPT_TEXT, offsetof(T, epoch_of),        "longer",  "longer|source|target", "the side whose pass is an epoch"},
    {"batch-source",    DIAL_OPT_INT,  offsetof(T, batch_source),    "4",       NULL, "source pairs of a step"},
    {"batch-target",    DIAL_OPT_INT,  offsetof(T, batch_target),    "4",       NULL, "target pairs of a step"},
    {"micro-batch",     DIAL_OPT_TEXT, offsetof(T, micro_batch),     "auto",    NULL, "texts of one forward pass; splits a step without changing it"},
    {"lambda",          DIAL_OPT_REAL, offsetof(T, lambda),          "0.01",    NULL, "weight of the alignment loss"},
    {"lambda-ramp",     DIAL_OPT_TEXT, offsetof(T, lambda_ramp),     "none",    NULL, "none, dann, linear:N (steps) or linear:P%"},
    {"align-start",     DIAL_OPT_TEXT, offsetof(T, align_start),     "0",       NULL, "steps with lambda 0 before the alignment, and its ramp, begin: N or X%"},
    {"critic",          DIAL_OPT_TEXT, offsetof(T, critic),          "gelu",    "gelu|relu|tanh|linear", "activation of the critic (linear: the released code)"},
    {"critic-widths",   DIAL_OPT_TEXT, offsetof(T, critic_widths),   "256,128", NULL, "hidden widths of the critic"},
    {"critic-iters",    DIAL_OPT_INT,  offsetof(T, critic_iters),    "3",       NULL, "critic updates of a step"},
    {"critic-iters-early", DIAL_OPT_TEXT, offsetof(T, critic_iters_early), "0:0", NULL, "K:N: K critic updates in each of the first N steps; 0:0: --critic-iters"},
    {"critic-lr",       DIAL_OPT_REAL, offsetof(T, critic_lr),       "1e-4",    NULL, "critic learning rate"},
    {"critic-wd",       DIAL_OPT_REAL, offsetof(T, critic_wd),       "1e-3",    NULL, "critic weight decay (coupled)"},
    {"critic-warmup",   DIAL_OPT_INT,  offsetof(T, critic_warmup),   "100",     NULL, "critic-only steps before step 1"},
    {"gp",              DIAL_OPT_REAL, offsetof(T, gp),              "1",       NULL, "weight of the gradient penalty"},
    {"gp-kind",         DIAL_OPT_TEXT, offsetof(T, gp_kind),         "two_sided", "two_sided|one_sided|zero_centred|spectral", "form of the gradient penalty; spectral: spectral norm in its place"},
    {"gp-points",       DIAL_OPT_TEXT, offsetof(T, gp_points),       "interp,source,target", NULL, "where the penalty is taken: between the domains, at source rows, at target rows"},
    {"gap-clamp",       DIAL_OPT_BOOL, offsetof(T, gap_clamp),       "no",      NULL, "the encoder minimises max(0, gap)"},
    {"align-on",        DIAL_OPT_TEXT, offsetof(T, align_on),        "embedding", "embedding|delta", "what is aligned: embeddings, or pair differences"},
    {"delta-kind",      DIAL_OPT_TEXT, offsetof(T, delta_kind),      "sym",     "sym|oriented|reward", "pair differences in both orders; turned by label and prediction; of the reward alone"},
    {"align-share",     DIAL_OPT_REAL, offsetof(T, align_share),     "0",       NULL, "beside pair differences: weight of single embeddings, as a share of lambda"},
    {"embed-norm",      DIAL_OPT_TEXT, offsetof(T, embed_norm),      "none",    "none|ema|coord|layernorm", "scale in which embeddings are aligned"},
    {"queue",           DIAL_OPT_INT,  offsetof(T, queue),           "0",       NULL, "past rows of each domain that mean, mmd, coral and cmd compare with; 0: none"},
    {"queue-age",       DIAL_OPT_INT,  offsetof(T, queue_age),       "64",      NULL, "steps after which the queue forgets a row"},
    {"mean-form",       DIAL_OPT_TEXT, offsetof(T, mean_form),       "square",  "square|root|critic", "mean: function of the distance (critic: what a linear critic at --gp ends at)"},
    {"mmd-kernel",      DIAL_OPT_TEXT, offsetof(T, mmd_kernel),      "rbf",     "rbf|linear", "mmd: kernel (rbf: several, of median bandwidth)"},
    {"mmd-estimator",   DIAL_OPT_TEXT, offsetof(T, mmd_estimator),   "unbiased", "unbiased|biased", "mmd: pairs of a row with itself left out, or counted"},
    {"mmd-scales",      DIAL_OPT_TEXT, offsetof(T, mmd_scales),      "0.25,0.5,1,2,4", NULL, "mmd: bandwidths, in medians"},
    {"coral-mean",      DIAL_OPT_REAL, offsetof(T, coral_mean),      "1",       NULL, "coral: weight of the distance of the means beside it"},
    {"cmd-moments",     DIAL_OPT_INT,  offsetof(T, cmd_moments),     "5",       NULL, "cmd: highest order of the moments"},
    {"projections",     DIAL_OPT_INT,  offsetof(T, projections),     "128",     NULL, "swd: directions drawn in each step"},
    {"sinkhorn-eps",    DIAL_OPT_REAL, offsetof(T, sinkhorn_eps),    "0.05",    NULL, "sinkhorn, deepjdot: entropy, as a share of the mean cost"},
    {"sinkhorn-iters",  DIAL_OPT_INT,  offsetof(T, sinkhorn_iters),  "100",     NULL, "sinkhorn, deepjdot: iterations at most"},
    {"sinkhorn-rho",    DIAL_OPT_TEXT, offsetof(T, sinkhorn_rho),    "inf",     NULL, "sinkhorn: hold on the marginals, as a share of the mean cost; inf: balanced"},
    {"jdot-weights",    DIAL_OPT_TEXT, offsetof(T, jdot_weights),    "1,1",     NULL, "deepjdot: weights of distance and of label"},
    {"jdot-plan",       DIAL_OPT_TEXT, offsetof(T, jdot_plan),       "entropic", "entropic|exact", "deepjdot: the transport plan"},
    {"contrast-temperature", DIAL_OPT_REAL, offsetof(T, contrast_temperature), "0.1", NULL, "contrastive: temperature"},
    {"domain-smoothing", DIAL_OPT_REAL, offsetof(T, domain_smoothing), "0",     NULL, "dann, cdan: smoothing of the domain labels"},
    {"pseudo-weight",   DIAL_OPT_REAL, offsetof(T, pseudo_weight),   "0",       NULL, "weight of pseudo-labels on target pairs; 0: none (ssrm: 0.3)"},
    {"pseudo-labels",   DIAL_OPT_TEXT, offsetof(T, pseudo_labels),   "soft",    "soft|hard", "probabilities, or the sign alone"},
    {"pseudo-rounds",   DIAL_OPT_INT,  offsetof(T, pseudo_rounds),   "3",       NULL, "times that labels are made; ssrm begins anew after each"},
    {"pseudo-teacher",  DIAL_OPT_TEXT, offsetof(T, pseudo_teacher),  "ema",     NULL, "who must agree: ema (running mean of the weights), another RUN, none"},
    {"pseudo-length-quota", DIAL_OPT_BOOL, offsetof(T, pseudo_length_quota), "yes", NULL, "labels in which the longer text wins are as frequent as in the source"},
    {"confidence",      DIAL_OPT_REAL, offsetof(T, confidence),      "0.8",     NULL, "least probability of a pseudo-label"},
    {"curriculum",      DIAL_OPT_TEXT, offsetof(T, curriculum),      "none",    NULL, "target rows from near the source to far: none, or gradual:K (K bins, opened one after the other; pseudo-labels in K rounds)"},
    {"curriculum-by",   DIAL_OPT_TEXT, offsetof(T, curriculum_by),   "probe",   "probe|length", "what is far: by a held-out domain probe on the model as it starts, or long"},
    {"iw-kappa",        DIAL_OPT_REAL, offsetof(T, iw_kappa),        "1",       NULL, "iw: power of the density ratio; halved where few rows carry all weight"},
    {"iw-clip",         DIAL_OPT_TEXT, offsetof(T, iw_clip),         "99%",     NULL, "iw: quantile at which weights are cut off"},
    {"cross-prompt",    DIAL_OPT_REAL, offsetof(T, cross_prompt),    "0",       NULL, "weight of target responses against responses to other prompts; 0: none"},
    {"cross-prompt-share", DIAL_OPT_TEXT, offsetof(T, cross_prompt_share), "25%", NULL, "such pairs in a step, as a share of --batch-target"},
    {"cross-prompt-length", DIAL_OPT_TEXT, offsetof(T, cross_prompt_length), "20%", NULL, "how far the lengths of the two may be apart"},
    {"cross-prompt-refusals", DIAL_OPT_BOOL, offsetof(T, cross_prompt_refusals), "no", NULL, "take refusals too, which fit any prompt"},
    {"lm-weight",       DIAL_OPT_REAL, offsetof(T, lm_weight),       "0",       NULL, "weight of a next-token loss through the frozen output head; 0: none (src-sft, tgt-ntp: 0.1)"},
    {"lm-on",           DIAL_OPT_TEXT, offsetof(T, lm_on),           "source",  "source|target", "its text: chosen responses of the source, or all of the target"},
    {"anchor",          DIAL_OPT_REAL, offsetof(T, anchor),          "0",       NULL, "weight of the distance to the frozen base's embeddings; 0: none"},
    {"anchor-kind",     DIAL_OPT_TEXT, offsetof(T, anchor_kind),     "cosine",  "cosine|relational", "each embedding by itself, or the angles between them"},
    {"length-guard",    DIAL_OPT_REAL, offsetof(T, length_guard),    "0",       NULL, "weight of the penalty on rewards that follow the length; 0: none"},
    {"length-guard-kind", DIAL_OPT_TEXT, offsetof(T, length_guard_kind), "corr", "corr|mmd", "correlation of target margins with length, or distance of the rewards of long and short source texts of one label"},
    {"length-guard-min", DIAL_OPT_REAL, offsetof(T, length_guard_min), "0.3",   NULL, "corr: correlation that the guard lets pass"},
    {"consistency",     DIAL_OPT_REAL, offsetof(T, consistency),     "0",       NULL, "weight of the distance of margins between source and target rows of equal id, which are parallel; 0: none"},
    {"update",          DIAL_OPT_TEXT, offsetof(T, update),          "joint",   "joint|alternate", "one step on the sum, or alignment and source loss in turn"},
    {"layer",           DIAL_OPT_TEXT, offsetof(T, layer),           "last",    NULL, "blocks that head and alignment read: last, N, P% or auto (by votes on the target)"},
    {"pooling",         DIAL_OPT_TEXT, offsetof(T, pooling),         "last",    "last|mean|auto", "embedding of a text: last token, mean over tokens, or auto"},
    {"lora-r",          DIAL_OPT_INT,  offsetof(T, lora_r),          "64",      NULL, "LoRA rank; 0: head only"},
    {"lora-alpha",      DIAL_OPT_REAL, offsetof(T, lora_alpha),      "64",      NULL, "LoRA scale is alpha / rank"},
    {"lora-targets",    DIAL_OPT_TEXT, offsetof(T, lora_targets),    "q_proj,v_proj", NULL, "linear layers with LoRA, or all"},
    {"lora-layers",     DIAL_OPT_TEXT, offsetof(T, lora_layers),     "all",     NULL, "all, or top:K"},
    {"adaptor",         DIAL_OPT_TEXT, offsetof(T, adaptor),         "0",       NULL, "with --lora-r 0: rank R of a map of the embeddings, R or R:tanh"},
    {"trunk-cache",     DIAL_OPT_TEXT, offsetof(T, trunk_cache),     "auto",    NULL, "folder for what the frozen part of the model makes of the texts; auto, off or DIR"},
    {"trunk-cache-max", DIAL_OPT_SIZE, offsetof(T, trunk_cache_max), "8G",      NULL, "what that folder may hold; the file unused for longest goes"},
    {"lr",              DIAL_OPT_REAL, offsetof(T, lr),              "5e-5",    NULL, "learning rate of LoRA"},
    {"head-lr",         DIAL_OPT_TEXT, offsetof(T, head_lr),         "lr",      NULL, "learning rate of the head: lr, a number, or auto (lr / norm of embeddings)"},
    {"head-init",       DIAL_OPT_TEXT, offsetof(T, head_init),       "normal",  "normal|probe", "head at start: random, or a logistic fit on frozen source differences"},
    {"head-norm-max",   DIAL_OPT_REAL, offsetof(T, head_norm_max),   "0",       NULL, "norm that the head is held to after each step; 0: no limit"},
    {"weight-decay",    DIAL_OPT_REAL, offsetof(T, weight_decay),    "0",       NULL, "decoupled weight decay"},
    {"sam",             DIAL_OPT_REAL, offsetof(T, sam),             "0",       NULL, "radius of sharpness-aware steps on the source loss; 0: none"},
    {"schedule",        DIAL_OPT_TEXT, offsetof(T, schedule),        "constant", "constant|linear|cosine", "learning rate along the run"},
    {"warmup",          DIAL_OPT_TEXT, offsetof(T, warmup),          "0",       NULL, "steps of linear warm-up: N or X%"},
    {"clip",            DIAL_OPT_REAL, offsetof(T, clip),            "1",       NULL, "global gradient norm; 0: off"},
    {"center",          DIAL_OPT_REAL, offsetof(T, center),          "0",       NULL, "weight of reward centring"},
    {"center-form",     DIAL_OPT_TEXT, offsetof(T, center_form),     "pair",    "pair|batch", "what is centred: sums of pairs, or the mean of all rewards"},
    {"center-rows",     DIAL_OPT_TEXT, offsetof(T, center_rows),     "source",  "source|both", "whose rewards are centred"},
    {"objective",       DIAL_OPT_TEXT, offsetof(T, objective),       "auto",    "auto|pair|bce|mse|ce|mcq", "what the labels of the source are; auto: by its rows (ce, scores that are classes 0, 1, ..., has to be asked for)"},
    {"label-smoothing", DIAL_OPT_REAL, offsetof(T, label_smoothing), "0",       NULL, "share of flipped labels assumed"},
    {"margin",          DIAL_OPT_TEXT, offsetof(T, margin),          "auto",    "auto|off", "use the margin column"},
    {"limit-source",    DIAL_OPT_INT,  offsetof(T, limit_source),    "0",       NULL, "draw of N source rows by the seed; 0: all"},
    {"limit-target",    DIAL_OPT_INT,  offsetof(T, limit_target),    "0",       NULL, "draw of N target rows by the seed; 0: all"},
    {"heldout-source",  DIAL_OPT_TEXT, offsetof(T, heldout_source),  "5%",      NULL, "share of source rows, or a file, to choose the checkpoint on"},
    {"select",          DIAL_OPT_TEXT, offsetof(T, select),          NULL,      NULL, "checkpoint that becomes the run's: combined, earliest, source, last, iwv, dev or the name of an --eval set; default: combined with --target, else source"},
    {"select-rows",     DIAL_OPT_INT,  offsetof(T, select_rows),     "256",     NULL, "rows of a domain looked at in a save"},
    {"save-every",      DIAL_OPT_TEXT, offsetof(T, save_every),      "auto",    NULL, "auto (tenths, and 8 in the first pass over the source) or N steps"},
    {"keep",            DIAL_OPT_INT,  offsetof(T, keep),            "3",       NULL, "checkpoints kept after selection; 0: all"},
    {"early-stop",      DIAL_OPT_INT,  offsetof(T, early_stop),      "0",       NULL, "end after N saves that do not change the choice; 0: off"},
    {"eval-every",      DIAL_OPT_INT,  offsetof(T, eval_every),      "0",       NULL, "report on --eval sets every N steps; 0: at the end; -1: at each checkpoint"},
    {"maps",            DIAL_OPT_INT,  offsetof(T, maps),            "250",     NULL, "rows of each set whose embeddings are kept for the report; 0: none"},
    {"snapshot-embeddings", DIAL_OPT_TEXT, offsetof(T, snapshot_embeddings), "0,1,2", NULL, "epochs after which these embeddings are kept, beside those of the chosen checkpoint"},
    {"grad-checkpoint", DIAL_OPT_TEXT, offsetof(T, grad_checkpoint), "auto",    "auto|on|off", "recompute layers in the backward pass instead of keeping them"},
    {"tensorboard",     DIAL_OPT_BOOL, offsetof(T, tensorboard),     "yes",     NULL, "do not write the scalars of metrics.jsonl for TensorBoard as well"},
    {"log-every",       DIAL_OPT_INT,  offsetof(T, log_every),       "10",      NULL, "steps between progress lines"},
    {"overfit",         DIAL_OPT_INT,  offsetof(T, overfit),         "0",       NULL, "sanity check: train on the first N rows; exit 4 unless all are learnt"},
    {"allow-mixed-templates", DIAL_OPT_BOOL, offsetof(T, allow_mixed_templates), "no", NULL, "source and target may be rendered by different templates"},
    {"match-scale",     DIAL_OPT_BOOL, offsetof(T, match_scale),     "no",      NULL, "with --resume-from: mean and scale of the reward on that run's reference texts stay as they were"},
    {"renew-view",      DIAL_OPT_BOOL, offsetof(T, renew_view),      "no",      NULL, "with --resume-from: --layer and --pooling say what is read; where that is not the run's, adaptor and head start anew"},
    {"resume",          DIAL_OPT_BOOL, offsetof(T, resume),          "no",      NULL, "continue the run in --out"},
    {"overwrite",       DIAL_OPT_BOOL, offsetof(T, overwrite),       "no",      NULL, "replace the run in --out"},
    {"dry-run",         DIAL_OPT_BOOL, offsetof(T, dry_run),         "no",      NULL, "print the plan, write nothing"},
    COMMON(T, "1024"),
    END
};
#undef T

#define T dial_eval_options
const dial_option dial_eval_table[] = {
    {"model",        DIAL_OPT_TEXT, offsetof(T, model),        NULL,    NULL, "run folder; with --base-score logp or ab a base model too"},
    {"data",         DIAL_OPT_LIST, offsetof(T, data),         NULL,    NULL, "[NAME=]FILE: labelled rows"},
    {"compare",      DIAL_OPT_TEXT, offsetof(T, compare),      NULL,    NULL, "second run, compared row by row"},
    {"base-score",   DIAL_OPT_TEXT, offsetof(T, base_score),   "head",  "head|logp|ab", "what scores: the reward head, or the language model: mean log-probability of the response, or its answer to which of two is better"},
    {"group-by",     DIAL_OPT_TEXT, offsetof(T, group_by),     NULL,    NULL, "column of the rows, or KEY.KEY inside it, whose values get an accuracy each; default: topic, else subset"},
    {"length-unit",  DIAL_OPT_TEXT, offsetof(T, length_unit),  "chars", "chars|words|tokens", "what the longer-wins baseline counts"},
    {"bootstrap",    DIAL_OPT_INT,  offsetof(T, bootstrap),    "2000",  NULL, "draws of the bootstrap"},
    {"cluster",      DIAL_OPT_TEXT, offsetof(T, cluster),      "text",  "text|prompt|none", "what the interval resamples"},
    {"scores",       DIAL_OPT_TEXT, offsetof(T, scores),       NULL,    NULL, "file for one line of scores a row"},
    {"card",         DIAL_OPT_BOOL, offsetof(T, card),         "no",    NULL, "put the results into the run's README.md, in the place of earlier ones of these sets"},
    {"min-accuracy", DIAL_OPT_REAL, offsetof(T, min_accuracy), "-1",    NULL, "exit 4 below this accuracy"},
    COMMON(T, "0"),
    END
};
#undef T

#define T dial_score_options
const dial_option dial_score_table[] = {
    {"model",     DIAL_OPT_TEXT, offsetof(T, model),     NULL, NULL, "run folder"},
    {"data",      DIAL_OPT_TEXT, offsetof(T, data),      NULL, NULL, "rows; - is stdin"},
    {"prompt",    DIAL_OPT_TEXT, offsetof(T, prompt),    NULL, NULL, "prompt of a single text"},
    {"response",  DIAL_OPT_TEXT, offsetof(T, response),  NULL, NULL, "response of a single text"},
    {"normalize", DIAL_OPT_BOOL, offsetof(T, normalize), "no", NULL, "apply the run's shift and scale"},
    {"out",       DIAL_OPT_TEXT, offsetof(T, out),       NULL, NULL, "file for the lines instead of stdout"},
    {"resume",    DIAL_OPT_BOOL, offsetof(T, resume),    "no", NULL, "write --out in place, line by line, and go on where it was cut"},
    {"summary",   DIAL_OPT_TEXT, offsetof(T, summary),   NULL, NULL, "file for the summary document"},
    COMMON(T, "0"),
    END
};
#undef T

#define T dial_rank_options
const dial_option dial_rank_table[] = {
    {"model",     DIAL_OPT_TEXT, offsetof(T, model),     NULL, NULL, "run folder"},
    {"data",      DIAL_OPT_TEXT, offsetof(T, data),      NULL, NULL, "rows with a prompt and a list of responses; - is stdin"},
    {"top",       DIAL_OPT_INT,  offsetof(T, top),       "0",  NULL, "places of the order to print; 0: all"},
    {"normalize", DIAL_OPT_BOOL, offsetof(T, normalize), "no", NULL, "apply the run's shift and scale"},
    {"out",       DIAL_OPT_TEXT, offsetof(T, out),       NULL, NULL, "file for the lines instead of stdout"},
    {"resume",    DIAL_OPT_BOOL, offsetof(T, resume),    "no", NULL, "write --out in place, line by line, and go on where it was cut"},
    {"summary",   DIAL_OPT_TEXT, offsetof(T, summary),   NULL, NULL, "file for the summary document"},
    COMMON(T, "0"),
    END
};
#undef T

#define T dial_embed_options
const dial_option dial_embed_table[] = {
    {"model",      DIAL_OPT_TEXT, offsetof(T, model),      NULL,   NULL, "run folder or base model"},
    {"data",       DIAL_OPT_TEXT, offsetof(T, data),       NULL,   NULL, "rows"},
    {"out",        DIAL_OPT_TEXT, offsetof(T, out),        NULL,   NULL, ".npy, .safetensors or .jsonl"},
    {"layer",      DIAL_OPT_TEXT, offsetof(T, layer),      NULL,   NULL, "last, N or P% (a run fixes it)"},
    {"pooling",    DIAL_OPT_TEXT, offsetof(T, pooling),    NULL,   "last|mean", "last token or mean over tokens (a run fixes it)"},
    {"embed-norm", DIAL_OPT_TEXT, offsetof(T, embed_norm), "none", "none|l2", "l2: unit vectors"},
    COMMON(T, "0"),
    END
};
#undef T

#define T dial_export_options
const dial_option dial_export_table[] = {
    {"model",      DIAL_OPT_TEXT, offsetof(T, model),      NULL,    NULL, "run folder, adapter or model with a head"},
    {"to",         DIAL_OPT_TEXT, offsetof(T, to),         NULL,    "peft|hf|st|head|gguf", "format"},
    {"out",        DIAL_OPT_TEXT, offsetof(T, out),        NULL,    NULL, "folder to write; a file for head (.npy) and gguf"},
    {"dtype",      DIAL_OPT_TEXT, offsetof(T, weights),    "f32",   "f32|f16|bf16|q8_0", "type of the matrices; q8_0 for gguf alone"},
    {"base-name",  DIAL_OPT_TEXT, offsetof(T, base_name),  NULL,    NULL, "peft: what the adapter calls its base model"},
    {"shard-size", DIAL_OPT_SIZE, offsetof(T, shard_size), "4768M", NULL, "hf, st: largest weight file"},
    {"verify",     DIAL_OPT_BOOL, offsetof(T, verify),     "yes",   NULL, "do not compare scores of the result with the run's"},
    {"overwrite",  DIAL_OPT_BOOL, offsetof(T, overwrite),  "no",    NULL, "replace what is there"},
    {"device",       DIAL_OPT_TEXT, offsetof(T, common.device),       "auto", "auto|cpu|ref", "where to compute the scores (ref: plain C, slow)"},
    {"threads",      DIAL_OPT_INT,  offsetof(T, common.threads),      "0",    NULL, "threads; 0 = physical cores"},
    {"batch-tokens", DIAL_OPT_INT,  offsetof(T, common.batch_tokens), "8192", NULL, "token budget of a forward pass"},
    {"allow-hash-mismatch", DIAL_OPT_BOOL, offsetof(T, common.allow_hash_mismatch), "no", NULL, "export a run whose base files changed"},
    END
};
#undef T

#define T dial_info_options
const dial_option dial_info_table[] = {
    {"model",   DIAL_OPT_TEXT, offsetof(T, model),   NULL, NULL, "run folder, adapter, Hugging Face folder or .gguf file"},
    {"verify",  DIAL_OPT_BOOL, offsetof(T, verify),  "no", NULL, "recompute the run's self-test"},
    {"tensors", DIAL_OPT_BOOL, offsetof(T, tensors), "no", NULL, "list the tensors"},
    COMMON(T, "0"),
    END
};
#undef T

#define T dial_data_options
const dial_option dial_data_table[] = {
    {"model", DIAL_OPT_LIST, offsetof(T, model), NULL,           NULL, "pick: runs that may disagree; of one run, heads refitted on halves of its source"},
    {"n",     DIAL_OPT_INT,  offsetof(T, n),     "0",            NULL, "pick: rows wanted"},
    {"by",    DIAL_OPT_TEXT, offsetof(T, by),    "disagreement", "disagreement|random", "pick: what says most in training, or a sample for a certificate"},
    {"out",   DIAL_OPT_TEXT, offsetof(T, out),   NULL,           NULL, "pick: file for the rows, to be labelled; collect: the target file"},
    {"store", DIAL_OPT_TEXT, offsetof(T, store), NULL,           NULL, "collect: the store of a server with --monitor-texts"},
    {"run",   DIAL_OPT_TEXT, offsetof(T, run),   NULL,           NULL, "collect: only what this run scored; its name in the server"},
    COMMON(T, "1024"),
    END
};
#undef T

#define T dial_pull_options
const dial_option dial_pull_table[] = {
    {"out",     DIAL_OPT_TEXT, offsetof(T, out),     NULL,    NULL, "folder to put the files into"},
    {"kind",    DIAL_OPT_TEXT, offsetof(T, kind),    "model", "model|dataset", "what NAME is"},
    {"files",   DIAL_OPT_TEXT, offsetof(T, files),   NULL,    NULL, "pattern of the files to fetch, for example '*.parquet'"},
    {"offline", DIAL_OPT_BOOL, offsetof(T, offline), "no",    NULL, "ask nobody: check the hashes of what an earlier pull brought"},
    COMMON(T, "1024"),
    END
};
#undef T

#define T dial_bench_options
const dial_option dial_bench_table[] = {
    {"model",           DIAL_OPT_TEXT, offsetof(T, model),           NULL,      NULL, "base model, run or config.json alone (random weights)"},
    {"what",            DIAL_OPT_TEXT, offsetof(T, what),            "train",   "forward|train|prefix|tokenize|kernels", "what is measured"},
    {"length",          DIAL_OPT_LIST, offsetof(T, length),          NULL,      NULL, "tokens of a text; default 128,512 in `forward`, 85 in `train`"},
    {"repeat",          DIAL_OPT_INT,  offsetof(T, repeat),          "5",       NULL, "measured repetitions"},
    {"batch-source",    DIAL_OPT_INT,  offsetof(T, batch_source),    "4",       NULL, "source pairs of a step"},
    {"batch-target",    DIAL_OPT_INT,  offsetof(T, batch_target),    "4",       NULL, "target pairs of a step"},
    {"lora-r",          DIAL_OPT_INT,  offsetof(T, lora_r),          "64",      NULL, "LoRA rank"},
    {"lora-targets",    DIAL_OPT_TEXT, offsetof(T, lora_targets),    "q_proj,v_proj", NULL, "linear layers with LoRA, or all"},
    {"lora-layers",     DIAL_OPT_TEXT, offsetof(T, lora_layers),     "all",     NULL, "all, or top:K"},
    {"trunk",           DIAL_OPT_BOOL, offsetof(T, trunk),           "no",      NULL, "in `train`, with top:K: the blocks below are stored"},
    {"grad-checkpoint", DIAL_OPT_TEXT, offsetof(T, grad_checkpoint), "auto",    "auto|on|off", "recompute layers in the backward pass"},
    {"check",           DIAL_OPT_BOOL, offsetof(T, check),           "no",      NULL, "compare the result with the ref backend; exit 4 if it differs"},
    COMMON(T, "1024"),
    END
};
#undef T

#define T dial_doctor_options
const dial_option dial_doctor_table[] = {
    {"model",        DIAL_OPT_TEXT, offsetof(T, model),        NULL,   NULL, "run folder, or a base model before any training"},
    {"source",       DIAL_OPT_TEXT, offsetof(T, source),       NULL,   NULL, "labelled rows of the source, best held out"},
    {"target",       DIAL_OPT_TEXT, offsetof(T, target),       NULL,   NULL, "rows of the target; labels in them are dropped"},
    {"baseline",     DIAL_OPT_TEXT, offsetof(T, baseline),     NULL,   NULL, "src-pref run to compare with"},
    {"runs",         DIAL_OPT_LIST, offsetof(T, runs),         NULL,   NULL, "the same training with other seeds"},
    {"max-rows",     DIAL_OPT_INT,  offsetof(T, max_rows),     "2000", NULL, "rows of a domain, drawn by the seed (--layers: at most 400)"},
    {"folds",        DIAL_OPT_INT,  offsetof(T, folds),        "5",    NULL, "folds of the domain probe"},
    {"layers",       DIAL_OPT_BOOL, offsetof(T, layers),       "no",   NULL, "compare every layer and pooling, recommend one"},
    {"two-heads",    DIAL_OPT_BOOL, offsetof(T, two_heads),    "no",   NULL, "look for a shortcut: two heads of equal source fit that disagree on the target"},
    {"labelled",     DIAL_OPT_TEXT, offsetof(T, labelled),     NULL,   NULL, "labelled target pairs drawn at random: certificate"},
    {"min-accuracy", DIAL_OPT_REAL, offsetof(T, min_accuracy), "-1",   NULL, "what the certificate must show; -1: 0.5"},
    {"suggest",      DIAL_OPT_INT,  offsetof(T, suggest),      "0",    NULL, "write the K target pairs most worth labelling for training to --out"},
    {"out",          DIAL_OPT_TEXT, offsetof(T, out),          NULL,   NULL, "file of --suggest"},
    {"card",         DIAL_OPT_BOOL, offsetof(T, card),         "no",   NULL, "put the verdict into the run's README.md"},
    {"check",        DIAL_OPT_BOOL, offsetof(T, check),        "no",   NULL, "exit 4 unless the verdict is no_shift or safe"},
    {"trunk-cache",  DIAL_OPT_TEXT, offsetof(T, trunk_cache),  "auto", NULL, "folder of stored embeddings, as in train: auto, off or DIR"},
    {"trunk-cache-max", DIAL_OPT_SIZE, offsetof(T, trunk_cache_max), "8G", NULL, "what that folder may hold"},
    COMMON(T, "0"),
    END
};
#undef T

#define T dial_select_options
const dial_option dial_select_table[] = {
    {"runs",     DIAL_OPT_LIST, offsetof(T, runs),     NULL,       NULL, "run folders, or a folder of runs; each checkpoint is a candidate"},
    {"source",   DIAL_OPT_TEXT, offsetof(T, source),   NULL,       NULL, "labelled rows of the source that were not trained on"},
    {"target",   DIAL_OPT_TEXT, offsetof(T, target),   NULL,       NULL, "rows of the target; labels in them are dropped"},
    {"by",       DIAL_OPT_TEXT, offsetof(T, by),       "combined", "combined|earliest|source|iwv|dev|w1|rankme|snd|agreement", "what chooses"},
    {"labelled", DIAL_OPT_TEXT, offsetof(T, labelled), NULL,       NULL, "labelled target pairs: accuracy and certificate of each candidate"},
    {"oracle",   DIAL_OPT_TEXT, offsetof(T, oracle),   NULL,       NULL, "labelled rows that show the regret, after the choice"},
    {"apply",    DIAL_OPT_BOOL, offsetof(T, apply),    "no",       NULL, "the choice becomes what the folder of its run stands for, in one step"},
    {"max-rows", DIAL_OPT_INT,  offsetof(T, max_rows), "256",      NULL, "rows of a domain, drawn by the seed"},
    {"trunk-cache", DIAL_OPT_TEXT, offsetof(T, trunk_cache), "auto", NULL, "folder of stored embeddings, as in train: auto, off or DIR"},
    {"trunk-cache-max", DIAL_OPT_SIZE, offsetof(T, trunk_cache_max), "8G", NULL, "what that folder may hold"},
    COMMON(T, "0"),
    END
};
#undef T

#define T dial_sweep_options
const dial_option dial_sweep_table[] = {
    {"grid",      DIAL_OPT_TEXT, offsetof(T, grid),      NULL,   NULL, "experiment (docs/experiments.md), or {\"method\": [...], \"seed\": [...], FLAG: [...]}"},
    {"out",       DIAL_OPT_TEXT, offsetof(T, out),       NULL,   NULL, "folder for the runs and tables; runs that it holds are not trained again"},
    {"jobs",      DIAL_OPT_INT,  offsetof(T, jobs),      "1",    NULL, "runs at a time, each a process"},
    {"threads",   DIAL_OPT_INT,  offsetof(T, threads),   "0",    NULL, "threads of all runs together; 0 = physical cores"},
    {"random",    DIAL_OPT_INT,  offsetof(T, random),    "0",    NULL, "draws of axes that are distributions: {\"log\": [1e-4, 1]}, uniform, choice"},
    {"draw-seed", DIAL_OPT_INT,  offsetof(T, draw_seed), "0",    NULL, "seed of these draws"},
    {"bootstrap", DIAL_OPT_INT,  offsetof(T, bootstrap), "2000", NULL, "draws of the intervals"},
    {"store",     DIAL_OPT_TEXT, offsetof(T, store),     NULL,   NULL, "SQLite file with the results; default: dial.sqlite in --out"},
    {"flag",      DIAL_OPT_LIST, offsetof(T, flag),      NULL,   NULL, "NAME=VALUE: a flag of dial train for every run; --NAME VALUE says the same"},
    {"dry-run",   DIAL_OPT_BOOL, offsetof(T, dry_run),   "no",   NULL, "list the runs, write nothing"},
    END
};
#undef T

#define T dial_adapt_options
const dial_option dial_adapt_table[] = {
    {"run",         DIAL_OPT_TEXT, offsetof(T, run),         NULL,  NULL, "the run that is served: its folder, or the link that shows it"},
    {"store",       DIAL_OPT_TEXT, offsetof(T, store),       NULL,  NULL, "traffic of `dial serve --monitor N --monitor-texts`"},
    {"served",      DIAL_OPT_TEXT, offsetof(T, served),      NULL,  NULL, "name that RUN had in the server; default: those under which its checkpoint was served"},
    {"target",      DIAL_OPT_TEXT, offsetof(T, target),      NULL,  NULL, "target file in the place of --store"},
    {"out",         DIAL_OPT_TEXT, offsetof(T, out),         NULL,  NULL, "run folder to write; the same call goes on where one was stopped"},
    {"publish",     DIAL_OPT_TEXT, offsetof(T, publish),     NULL,  NULL, "symbolic link that a server serves: shows --out if it is accepted"},
    {"labelled",    DIAL_OPT_TEXT, offsetof(T, labelled),    NULL,  NULL, "few labelled target pairs, drawn at random: they settle an uncertain verdict"},
    {"match-scale", DIAL_OPT_BOOL, offsetof(T, match_scale), "yes", NULL, "mean and scale of the reward on RUN's reference texts change"},
    {"flag",        DIAL_OPT_LIST, offsetof(T, flag),        NULL,  NULL, "NAME=VALUE: a flag of dial train, stronger than RUN's; --NAME VALUE says the same"},
    END
};
#undef T

#define T dial_merge_options
const dial_option dial_merge_table[] = {
    {"out",    DIAL_OPT_TEXT, offsetof(T, out),    NULL,   NULL, "run folder to write"},
    {"shares", DIAL_OPT_LIST, offsetof(T, shares), NULL,   NULL, "weight of each run; default: equal"},
    {"head",   DIAL_OPT_TEXT, offsetof(T, head),   "mean", NULL, "mean, or the number of the run whose head is taken"},
    COMMON(T, "0"),
    END
};
#undef T

#define T dial_report_options
const dial_option dial_report_table[] = {
    {"runs",   DIAL_OPT_LIST, offsetof(T, runs),   NULL, NULL, "run folders, or folders of dial sweep"},
    {"out",    DIAL_OPT_TEXT, offsetof(T, out),    NULL, NULL, ".html, .md or .json"},
    {"title",  DIAL_OPT_TEXT, offsetof(T, title),  NULL, NULL, "title of the page"},
    {"claims", DIAL_OPT_TEXT, offsetof(T, claims), NULL, NULL, "of sweeps: file of what they are to show together (docs/experiments.md)"},
    COMMON(T, "0"),
    END
};
#undef T

#define T dial_serve_options
const dial_option dial_serve_table[] = {
    {"host",            DIAL_OPT_TEXT, offsetof(T, host),            "127.0.0.1", NULL, "address to listen on; any but a loopback address needs a token or --insecure"},
    {"port",            DIAL_OPT_INT,  offsetof(T, port),            "8011",  NULL, "port to listen on; 0: any that is free"},
    {"token-file",      DIAL_OPT_TEXT, offsetof(T, token_file),      NULL,    NULL, "file whose first line is the token that requests must bear (or DIAL_API_KEY)"},
    {"insecure",        DIAL_OPT_BOOL, offsetof(T, insecure),        "no",    NULL, "listen beyond this machine without a token"},
    {"cors-origin",     DIAL_OPT_TEXT, offsetof(T, cors_origin),     NULL,    NULL, "the one origin whose web pages may use the server"},
    {"name",            DIAL_OPT_TEXT, offsetof(T, name),            NULL,    NULL, "name of the first run in `model`; default: that of its folder"},
    {"strict-model",    DIAL_OPT_BOOL, offsetof(T, strict_model),    "no",    NULL, "an unknown `model` is an error instead of the first run"},
    {"ensemble",        DIAL_OPT_TEXT, offsetof(T, ensemble),        NULL,    "mean|min", "all runs score each text, at the first one's mean and spread"},
    {"activation",      DIAL_OPT_TEXT, offsetof(T, activation),      "none",  "none|sigmoid", "of rewards, where the request does not say"},
    {"embeddings",      DIAL_OPT_TEXT, offsetof(T, embeddings),      "hidden", "hidden|reward", "what /v1/embeddings and /embed give"},
    {"truncate",        DIAL_OPT_TEXT, offsetof(T, truncate),        "error", "error|prompt", "what a text over the run's length does, where the request does not say"},
    {"max-wait-ms",     DIAL_OPT_INT,  offsetof(T, max_wait_ms),     "2",     NULL, "longest time that a text waits for others to share its batch"},
    {"queue",           DIAL_OPT_INT,  offsetof(T, queue),           "16384", NULL, "texts that may wait; more are answered 429"},
    {"max-inputs",      DIAL_OPT_INT,  offsetof(T, max_inputs),      "1024",  NULL, "texts of one request"},
    {"max-body",        DIAL_OPT_SIZE, offsetof(T, max_body),        "8M",    NULL, "bytes of one request"},
    {"max-connections", DIAL_OPT_INT,  offsetof(T, max_connections), "16384", NULL, "open connections"},
    {"timeout",         DIAL_OPT_TEXT, offsetof(T, timeout),         "120s",  NULL, "time until a request is answered 503; 0: none"},
    {"grace",           DIAL_OPT_TEXT, offsetof(T, grace),           "30s",   NULL, "time to answer what waits after SIGTERM"},
    {"access-log",      DIAL_OPT_TEXT, offsetof(T, access_log),      NULL,    NULL, "file for one JSON line a request, without texts"},
    {"log-text",        DIAL_OPT_BOOL, offsetof(T, log_text),        "no",    NULL, "texts stand in the access log"},
    {"monitor",         DIAL_OPT_INT,  offsetof(T, monitor),         "0",     NULL, "keep the last N texts' embeddings in --store and compare traffic with the training domains; 0: do not"},
    {"monitor-texts",   DIAL_OPT_BOOL, offsetof(T, monitor_texts),   "no",    NULL, "keep the texts too, for `dial data collect` and `dial adapt`"},
    {"store",           DIAL_OPT_TEXT, offsetof(T, store),           NULL,    NULL, "SQLite file for them; default: dial.sqlite beside the first run"},
    COMMON(T, "0"),
    {"max-batch-tokens", DIAL_OPT_INT, offsetof(T, common.batch_tokens), "8192", NULL, NULL},
    END
};
#undef T
/* clang-format on */

void dial_options_default(const dial_option *table, void *options, size_t size)
{
    memset(options, 0, size);
    for (const dial_option *row = table; row->name != NULL; row++)
        if (row->initial != NULL) dial_option_set(row, options, row->initial, NULL);
}

/* A preset is a list of flags; what it does not name keeps its default. */
typedef struct preset_row {
    const char *preset, *flag, *value;
} preset_row;

/* clang-format off */
static const preset_row preset_rows[] = {
    {"paper", "update",        "alternate"},
    {"paper", "eos",           "never"},
    {"paper", "critic-warmup", "0"},
    {"paper", "clip",          "0"},
    {"paper", "epochs",        "20"},
    {"code",  "critic",        "linear"},
    {"code",  "eos",           "never"},
    {"code",  "critic-warmup", "0"},
    {"code",  "clip",          "0"},
    {"code",  "epochs",        "20"},
    {"native", "method",        "mmd"},
    {"native", "layer",         "auto"},
    {"native", "pooling",       "auto"},
    {"native", "lora-r",        "0"},
    {"native", "adaptor",       "32"},
    {"native", "steps",         "300"},
    {"native", "epochs",        "0"},
    {"native", "batch-source",  "32"},
    {"native", "batch-target",  "32"},
    {"native", "lr",            "1e-3"},
    {"native", "head-lr",       "auto"},
    {"native", "align-on",      "delta"},
    {"native", "align-share",   "1"},
    {"native", "embed-norm",    "coord"},
    {"native", "gp",            "10"},
    {"native", "gp-kind",       "one_sided"},
    {"native", "critic-iters",  "5"},
    {"native", "critic-lr",     "1e-3"},
    {"native", "critic-warmup", "0"},
    {"native", "lambda",        "1"},
    {"native", "lambda-ramp",   "linear:33%"},
    {"native", "center",        "0.01"},
};
/* clang-format on */

dial_status dial_preset_apply(const char *preset, dial_train_options *options, dial_error *err)
{
    dial_status st = DIAL_OK;

    for (const dial_option *row = dial_train_table; row->name != NULL; row++) {
        if (strcmp(row->name, "preset") == 0) DI_TRY(dial_option_set(row, options, preset, err));
        for (size_t i = 0; i < sizeof preset_rows / sizeof *preset_rows; i++)
            if (strcmp(preset_rows[i].preset, preset) == 0 &&
                strcmp(preset_rows[i].flag, row->name) == 0)
                DI_TRY(dial_option_set(row, options, preset_rows[i].value, err));
    }
done:
    return st;
}

/* Is text one of "a|b|c"? */
static int is_choice(const char *choices, const char *text)
{
    size_t n = strlen(text);

    for (const char *c = choices; c != NULL; c = strchr(c, '|')) {
        c += *c == '|';
        if (strncmp(c, text, n) == 0 && (c[n] == '|' || c[n] == '\0') && n > 0) return 1;
    }
    return 0;
}

static dial_status parse_int(const dial_option *row, const char *text, int64_t *out,
                             dial_error *err)
{
    dial_status st = DIAL_OK;
    char *end;
    long long x;
    int shift = 0;

    errno = 0;
    x = strtoll(text, &end, 10);
    if (row->type == DIAL_OPT_SIZE && end != text) {
        shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
        end += shift != 0;
    }
    if (end == text || *end != '\0' || errno != 0 || (shift && llabs(x) > (1LL << (62 - shift))))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", row->name),
                   row->type == DIAL_OPT_SIZE ? "give a size such as 512M" : "give a number",
                   "expected a whole number, found '%s'", text);
    *out = (int64_t)x * (1LL << shift);
done:
    return st;
}

static dial_status parse_bool(const dial_option *row, const char *text, int *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    int yes = is_choice("yes|true|on|1", text);

    if (!yes && !is_choice("no|false|off|0", text))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", row->name),
                   DI_FMT("write --%s or --no-%s", row->name, row->name),
                   "expected true or false, found '%s'", text);
    *out = yes;
done:
    return st;
}

dial_status dial_option_set(const dial_option *row, void *options, const char *text,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    char *at = (char *)options + row->offset;
    char *end;
    double x;

    if (di_utf8_check(text, strlen(text)) < strlen(text)) /* it goes into dial.json */
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", row->name),
                   "write it in UTF-8; rename a file whose name is in another encoding",
                   "expected UTF-8, found the byte 0x%02x at byte %zu of '%s'",
                   (unsigned)(unsigned char)text[di_utf8_check(text, strlen(text))],
                   di_utf8_check(text, strlen(text)), text);
    if (row->choices != NULL && !is_choice(row->choices, text))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", row->name), "choose one of them",
                   "expected %s, found '%s'", row->choices, text);
    switch (row->type) {
    case DIAL_OPT_BOOL: DI_TRY(parse_bool(row, text, (int *)at, err)); break;
    case DIAL_OPT_INT:
    case DIAL_OPT_SIZE: DI_TRY(parse_int(row, text, (int64_t *)at, err)); break;
    case DIAL_OPT_REAL:
        x = strtod(text, &end);
        if (end == text || *end != '\0' || !isfinite(x))
            DI_FAIL_AT(err, DIAL_ERR_USAGE, DI_FMT("--%s", row->name), "give a number such as 5e-5",
                       "expected a number, found '%s'", text);
        *(double *)at = x;
        break;
    case DIAL_OPT_TEXT: *(const char **)at = text; break;
    case DIAL_OPT_LIST: ((dial_list *)at)->item[((dial_list *)at)->n++] = text; break;
    }
done:
    return st;
}

static json_t *value_of(const dial_option *row, const void *options)
{
    const char *at = (const char *)options + row->offset;
    const char *text;
    json_t *list;
    int failed = 0;

    switch (row->type) {
    case DIAL_OPT_BOOL: return json_boolean(*(const int *)at);
    case DIAL_OPT_INT:
    case DIAL_OPT_SIZE: return json_integer(*(const int64_t *)at);
    case DIAL_OPT_REAL: return json_real(*(const double *)at);
    case DIAL_OPT_TEXT:
        text = *(const char *const *)at;
        return text != NULL ? json_string(text) : json_null();
    case DIAL_OPT_LIST: break;
    }
    list = json_array();
    for (int64_t i = 0; i < ((const dial_list *)at)->n; i++)
        di_json_add(list, json_string(((const dial_list *)at)->item[i]), &failed);
    return di_json_whole(list, failed);
}

dial_status dial_options_to_json(const dial_env *env, const dial_option *table, const void *options,
                                 char **json, dial_error *err)
{
    dial_status st = DIAL_OK;
    json_t *all = json_object();
    di_buf b;

    di_buf_init(&b, di_env_alloc(env));
    for (const dial_option *row = table; row->name != NULL; row++)
        if (row->help != NULL && json_object_set_new(all, row->name, value_of(row, options)) != 0)
            DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for --%s as JSON", row->name);
    DI_TRY(di_json_write(all, &b, err));
    *json = di_buf_take(&b);
    if (*json == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the options as JSON");
done:
    json_decref(all);
    di_buf_deinit(&b);
    return st;
}
