#include "model/gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct name_row {
    const char *gguf, *hf; /* below "blk.N." and "model.layers.N." */
    int post_norms;        /* 1: only models with post norms, 0: only the others, -1: all */
} name_row;

static const name_row layer_names[] = {
    {"attn_norm", "input_layernorm", -1},
    {"attn_q", "self_attn.q_proj", -1},
    {"attn_k", "self_attn.k_proj", -1},
    {"attn_v", "self_attn.v_proj", -1},
    {"attn_output", "self_attn.o_proj", -1},
    {"attn_q_norm", "self_attn.q_norm", -1},
    {"attn_k_norm", "self_attn.k_norm", -1},
    {"post_attention_norm", "post_attention_layernorm", 1},
    {"ffn_norm", "pre_feedforward_layernorm", 1},
    {"ffn_norm", "post_attention_layernorm", 0},
    {"post_ffw_norm", "post_feedforward_layernorm", 1},
    {"ffn_gate", "mlp.gate_proj", -1},
    {"ffn_up", "mlp.up_proj", -1},
    {"ffn_down", "mlp.down_proj", -1},
};

static const name_row top_names[] = {
    {"token_embd", "model.embed_tokens", -1},
    {"output_norm", "model.norm", -1},
    {"output", "lm_head", -1},
    {"cls.output", "score", -1},
};

enum {
    N_LAYER_NAMES = sizeof layer_names / sizeof *layer_names,
    N_TOP_NAMES = sizeof top_names / sizeof *top_names
};

const char *di_gguf_stem_in_hf(const char *stem, size_t n, int in_layer, int post_norms)
{
    const name_row *row = in_layer ? layer_names : top_names;
    const size_t rows = in_layer ? N_LAYER_NAMES : N_TOP_NAMES;

    for (size_t i = 0; i < rows; i++)
        if (strlen(row[i].gguf) == n && memcmp(row[i].gguf, stem, n) == 0 &&
            (row[i].post_norms < 0 || row[i].post_norms == post_norms))
            return row[i].hf;
    return NULL;
}

int di_gguf_name_of(const char *hf, int post_norms, char *buf, size_t n)
{
    static const char layers[] = "model.layers.";
    const int in_layer = strncmp(hf, layers, sizeof layers - 1) == 0;
    const name_row *row = in_layer ? layer_names : top_names;
    const size_t rows = in_layer ? N_LAYER_NAMES : N_TOP_NAMES;
    const char *ending = strrchr(hf, '.'), *stem = hf;
    char *end;
    long layer = 0;

    if (in_layer) {
        layer = strtol(hf + sizeof layers - 1, &end, 10);
        stem = end + 1;
    }
    for (size_t i = 0; ending != NULL && i < rows; i++) {
        if (strlen(row[i].hf) != (size_t)(ending - stem) ||
            strncmp(row[i].hf, stem, (size_t)(ending - stem)) != 0 ||
            (row[i].post_norms >= 0 && row[i].post_norms != post_norms))
            continue;
        if (in_layer)
            snprintf(buf, n, "blk.%ld.%s%s", layer, row[i].gguf, ending);
        else
            snprintf(buf, n, "%s%s", row[i].gguf, ending);
        return 1;
    }
    return 0;
}
