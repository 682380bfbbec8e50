/*
 * The dialects: request parsers of the APIs that dial speaks. A parser reads c->body, an object,
 * adds the inputs and sets c->write, the writer of its answer. Shapes: docs/interfaces.md 5.
 */
#ifndef DI_SERVE_DIALECTS_H
#define DI_SERVE_DIALECTS_H

#include "serve/call.h"

/* dialect_trainers.c: OpenRLHF, LLaMA-Factory */
di_answer di_parse_get_reward(di_call *c);
di_answer di_parse_score_evaluation(di_call *c);

/* dialect_vllm.c; the bodies of /classify and the rerank paths tell vLLM from SGLang and TEI */
di_answer di_parse_classify(di_call *c);
di_answer di_parse_v1_classify(di_call *c);
di_answer di_parse_pooling(di_call *c);
di_answer di_parse_score(di_call *c);
di_answer di_parse_rerank(di_call *c);

/* dialect_sglang.c */
di_answer di_parse_sglang_classify(di_call *c);

/* dialect_tei.c */
di_answer di_parse_tei_rerank(di_call *c);
di_answer di_parse_tei_predict(di_call *c);
di_answer di_parse_tei_embed(di_call *c);
di_answer di_parse_tei_root(di_call *c);

/* dialect_openai.c */
di_answer di_parse_embeddings(di_call *c);

/* dialect_dial.c */
di_answer di_parse_reward(di_call *c);
di_answer di_parse_tokenize(di_call *c);

#endif
