/*
 * From the scores of a SentencePiece model to ranked merges, so that one loop (bpe.h) encodes for
 * both kinds of vocabulary.
 */
#ifndef DI_TEXT_SPM_H
#define DI_TEXT_SPM_H

#include "text/bpe.h"

/*
 * Puts into b a merge for each way to cut a token into two others, ranked by score as
 * `generate_merges` of huggingface/transformers ranks them: higher score first, then the longer
 * left part, then the order of ids. b has its lexicon and no merges yet. types may be NULL.
 * ERR_INPUT (a score that is no number), ERR_NOMEM.
 */
dial_status di_spm_merges(di_bpe *b, const float *scores, const int32_t *types, const char *where,
                          dial_error *err);

#endif
