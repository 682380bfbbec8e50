/*
 * A byte-level tokenizer small enough to read the ids off a text: id of a byte = the byte, two
 * merges, BOS and EOS. Words are split as GPT-2 does, so letters merge only with letters.
 */
#ifndef TEST_TINY_TOKENIZER_H
#define TEST_TINY_TOKENIZER_H

#include "test.h"

#include "text/tokenizer.h"

enum { TINY_AB = 256, TINY_CD = 257, TINY_BOS = 258, TINY_EOS = 259, TINY_VOCAB = 260 };

/* bos and eos: TINY_BOS and TINY_EOS, or -1 for a tokenizer without; both may be the same id. */
static di_tokenizer *tiny_tokenizer(const di_alloc *al, int32_t bos, int32_t eos, int add_bos)
{
    static char letter[256][3];
    di_str token[TINY_VOCAB];
    int32_t type[TINY_VOCAB];
    const di_str merges[] = {{"a b", 3}, {"c d", 3}};
    unsigned next = 0x100;
    di_tokenizer *t = NULL;
    dial_error err = {0};

    for (unsigned b = 0; b < 256; b++) {
        int itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        unsigned c = itself ? b : next++;

        if (c < 0x80)
            snprintf(letter[b], 3, "%c", (char)c);
        else
            snprintf(letter[b], 3, "%c%c", (char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)));
        token[b] = (di_str){letter[b], strlen(letter[b])};
        type[b] = DI_TOKEN_NORMAL;
    }
    token[TINY_AB] = (di_str){"ab", 2};
    token[TINY_CD] = (di_str){"cd", 2};
    token[TINY_BOS] = (di_str){"<s>", 3};
    token[TINY_EOS] = (di_str){"</s>", 4};
    type[TINY_AB] = type[TINY_CD] = DI_TOKEN_NORMAL;
    type[TINY_BOS] = type[TINY_EOS] = DI_TOKEN_CONTROL;
    assert_ok(di_tokenizer_from_vocab(al,
                                      &(di_vocab){.where = "tiny",
                                                  .model = "gpt2",
                                                  .pre = "gpt-2",
                                                  .tokens = token,
                                                  .types = type,
                                                  .n = TINY_VOCAB,
                                                  .merges = merges,
                                                  .n_merges = 2,
                                                  .bos = bos,
                                                  .eos = eos,
                                                  .unk = -1,
                                                  .pad = -1,
                                                  .add_bos = add_bos,
                                                  .add_eos = 0,
                                                  .add_space_prefix = -1},
                                      &t, &err),
              err);
    return t;
}

#endif
