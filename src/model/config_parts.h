/* What both ways to a di_config share: RoPE frequencies and the last look at the numbers. */
#ifndef DI_MODEL_CONFIG_PARTS_H
#define DI_MODEL_CONFIG_PARTS_H

#include "model/config.h"

/*
 * freq [D/2]: base^(-2i/D), scaled. In f64 and rounded once.
 *   linear   f / factor
 *   llama3   wavelength 2 pi / f above original/low: f / factor; below original/high: f; between,
 *            (1-s) f/factor + s f with s = (original/wavelength - low) / (high - low)
 * divisor [D/2] f32, unaligned (rope_freqs of GGUF), divides the result; NULL: none.
 * Source: transformers modeling_rope_utils.py.
 */
void di_rope_fill(const di_rope *rope, int64_t head_dim, const void *divisor, float *freq);

/*
 * ERR_INPUT if a number is out of the range for which products of sizes are known to fit, or two
 * contradict each other. Fills nothing. where names the file.
 */
dial_status di_config_check(const di_config *c, const char *where, dial_error *err);

#endif
