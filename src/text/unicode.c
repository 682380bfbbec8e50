#include "text/unicode.h"

#include <string.h>
#include <utf8proc.h>

/*
 * What Oniguruma (Unicode 16, in tokenizers 0.23) knows beyond Unicode 14, which is the oldest
 * data in use here (PCRE2 10.42). utf8proc 2.8 has Unicode 15 and needs a part of it.
 */
/* clang-format off */
static const di_late_range late[] = {
    {0x0897, 0x0897, DI_CAT_MARK}, {0x0CF3, 0x0CF3, DI_CAT_MARK}, {0x0ECE, 0x0ECE, DI_CAT_MARK},
    {0x1B4E, 0x1B4F, DI_CAT_PUNCT}, {0x1B7F, 0x1B7F, DI_CAT_PUNCT}, {0x1C89, 0x1C89, DI_CAT_LU},
    {0x1C8A, 0x1C8A, DI_CAT_LL}, {0x2427, 0x2429, DI_CAT_SYMBOL}, {0x2FFC, 0x2FFF, DI_CAT_SYMBOL},
    {0x31E4, 0x31E5, DI_CAT_SYMBOL}, {0x31EF, 0x31EF, DI_CAT_SYMBOL}, {0xA7CB, 0xA7CC, DI_CAT_LU},
    {0xA7CD, 0xA7CD, DI_CAT_LL}, {0xA7DA, 0xA7DA, DI_CAT_LU}, {0xA7DB, 0xA7DB, DI_CAT_LL},
    {0xA7DC, 0xA7DC, DI_CAT_LU}, {0x105C0, 0x105F3, DI_CAT_LO}, {0x10D40, 0x10D49, DI_CAT_DIGIT},
    {0x10D4A, 0x10D4D, DI_CAT_LO}, {0x10D4E, 0x10D4E, DI_CAT_LM}, {0x10D4F, 0x10D4F, DI_CAT_LO},
    {0x10D50, 0x10D65, DI_CAT_LU}, {0x10D69, 0x10D6D, DI_CAT_MARK},
    {0x10D6E, 0x10D6E, DI_CAT_PUNCT}, {0x10D6F, 0x10D6F, DI_CAT_LM},
    {0x10D70, 0x10D85, DI_CAT_LL}, {0x10D8E, 0x10D8F, DI_CAT_SYMBOL},
    {0x10EC2, 0x10EC4, DI_CAT_LO}, {0x10EFC, 0x10EFF, DI_CAT_MARK}, {0x1123F, 0x11240, DI_CAT_LO},
    {0x11241, 0x11241, DI_CAT_MARK}, {0x11380, 0x11389, DI_CAT_LO}, {0x1138B, 0x1138B, DI_CAT_LO},
    {0x1138E, 0x1138E, DI_CAT_LO}, {0x11390, 0x113B5, DI_CAT_LO}, {0x113B7, 0x113B7, DI_CAT_LO},
    {0x113B8, 0x113C0, DI_CAT_MARK}, {0x113C2, 0x113C2, DI_CAT_MARK},
    {0x113C5, 0x113C5, DI_CAT_MARK}, {0x113C7, 0x113CA, DI_CAT_MARK},
    {0x113CC, 0x113D0, DI_CAT_MARK}, {0x113D1, 0x113D1, DI_CAT_LO},
    {0x113D2, 0x113D2, DI_CAT_MARK}, {0x113D3, 0x113D3, DI_CAT_LO},
    {0x113D4, 0x113D5, DI_CAT_PUNCT}, {0x113D7, 0x113D8, DI_CAT_PUNCT},
    {0x113E1, 0x113E2, DI_CAT_MARK}, {0x116D0, 0x116E3, DI_CAT_DIGIT},
    {0x11B00, 0x11B09, DI_CAT_PUNCT}, {0x11BC0, 0x11BE0, DI_CAT_LO},
    {0x11BE1, 0x11BE1, DI_CAT_PUNCT}, {0x11BF0, 0x11BF9, DI_CAT_DIGIT},
    {0x11F00, 0x11F01, DI_CAT_MARK}, {0x11F02, 0x11F02, DI_CAT_LO},
    {0x11F03, 0x11F03, DI_CAT_MARK}, {0x11F04, 0x11F10, DI_CAT_LO}, {0x11F12, 0x11F33, DI_CAT_LO},
    {0x11F34, 0x11F3A, DI_CAT_MARK}, {0x11F3E, 0x11F42, DI_CAT_MARK},
    {0x11F43, 0x11F4F, DI_CAT_PUNCT}, {0x11F50, 0x11F59, DI_CAT_DIGIT},
    {0x11F5A, 0x11F5A, DI_CAT_MARK}, {0x1342F, 0x1342F, DI_CAT_LO},
    {0x13440, 0x13440, DI_CAT_MARK}, {0x13441, 0x13446, DI_CAT_LO},
    {0x13447, 0x13455, DI_CAT_MARK}, {0x13460, 0x143FA, DI_CAT_LO}, {0x16100, 0x1611D, DI_CAT_LO},
    {0x1611E, 0x1612F, DI_CAT_MARK}, {0x16130, 0x16139, DI_CAT_DIGIT},
    {0x16D40, 0x16D42, DI_CAT_LM}, {0x16D43, 0x16D6A, DI_CAT_LO}, {0x16D6B, 0x16D6C, DI_CAT_LM},
    {0x16D6D, 0x16D6F, DI_CAT_PUNCT}, {0x16D70, 0x16D79, DI_CAT_DIGIT},
    {0x18CFF, 0x18CFF, DI_CAT_LO}, {0x1B132, 0x1B132, DI_CAT_LO}, {0x1B155, 0x1B155, DI_CAT_LO},
    {0x1CC00, 0x1CCEF, DI_CAT_SYMBOL}, {0x1CCF0, 0x1CCF9, DI_CAT_DIGIT},
    {0x1CD00, 0x1CEB3, DI_CAT_SYMBOL}, {0x1D2C0, 0x1D2D3, DI_CAT_NUMBER},
    {0x1DF25, 0x1DF2A, DI_CAT_LL}, {0x1E030, 0x1E06D, DI_CAT_LM}, {0x1E08F, 0x1E08F, DI_CAT_MARK},
    {0x1E4D0, 0x1E4EA, DI_CAT_LO}, {0x1E4EB, 0x1E4EB, DI_CAT_LM}, {0x1E4EC, 0x1E4EF, DI_CAT_MARK},
    {0x1E4F0, 0x1E4F9, DI_CAT_DIGIT}, {0x1E5D0, 0x1E5ED, DI_CAT_LO},
    {0x1E5EE, 0x1E5EF, DI_CAT_MARK}, {0x1E5F0, 0x1E5F0, DI_CAT_LO},
    {0x1E5F1, 0x1E5FA, DI_CAT_DIGIT}, {0x1E5FF, 0x1E5FF, DI_CAT_PUNCT},
    {0x1F6DC, 0x1F6DC, DI_CAT_SYMBOL}, {0x1F774, 0x1F776, DI_CAT_SYMBOL},
    {0x1F77B, 0x1F77F, DI_CAT_SYMBOL}, {0x1F7D9, 0x1F7D9, DI_CAT_SYMBOL},
    {0x1F8B2, 0x1F8BB, DI_CAT_SYMBOL}, {0x1F8C0, 0x1F8C1, DI_CAT_SYMBOL},
    {0x1FA75, 0x1FA77, DI_CAT_SYMBOL}, {0x1FA87, 0x1FA89, DI_CAT_SYMBOL},
    {0x1FA8F, 0x1FA8F, DI_CAT_SYMBOL}, {0x1FAAD, 0x1FAAF, DI_CAT_SYMBOL},
    {0x1FABB, 0x1FABF, DI_CAT_SYMBOL}, {0x1FAC6, 0x1FAC6, DI_CAT_SYMBOL},
    {0x1FACE, 0x1FACF, DI_CAT_SYMBOL}, {0x1FADA, 0x1FADC, DI_CAT_SYMBOL},
    {0x1FADF, 0x1FADF, DI_CAT_SYMBOL}, {0x1FAE8, 0x1FAE9, DI_CAT_SYMBOL},
    {0x1FAF7, 0x1FAF8, DI_CAT_SYMBOL}, {0x1FBCB, 0x1FBEF, DI_CAT_SYMBOL},
    {0x2B739, 0x2B739, DI_CAT_LO}, {0x2EBF0, 0x2EE5D, DI_CAT_LO}, {0x31350, 0x323AF, DI_CAT_LO},
};
/* clang-format on */

const di_late_range *di_late_ranges(size_t *n)
{
    *n = sizeof late / sizeof *late;
    return late;
}

typedef struct range {
    uint32_t first, last;
} range;

/* Sorted, disjoint rows. */
static int in_ranges(const range *r, size_t n, uint32_t c)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;

        if (c > r[mid].last)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && c >= r[lo].first;
}

static di_category late_category(uint32_t c)
{
    for (size_t i = 0; i < sizeof late / sizeof *late; i++)
        if (c >= late[i].first && c <= late[i].last) return late[i].category;
    return DI_CAT_OTHER;
}

di_category di_category_of(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU: return DI_CAT_LU;
    case UTF8PROC_CATEGORY_LL: return DI_CAT_LL;
    case UTF8PROC_CATEGORY_LT: return DI_CAT_LT;
    case UTF8PROC_CATEGORY_LM: return DI_CAT_LM;
    case UTF8PROC_CATEGORY_LO: return DI_CAT_LO;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return DI_CAT_MARK;
    case UTF8PROC_CATEGORY_ND: return DI_CAT_DIGIT;
    case UTF8PROC_CATEGORY_NL: return DI_CAT_LETTERNUM;
    case UTF8PROC_CATEGORY_NO: return DI_CAT_NUMBER;
    case UTF8PROC_CATEGORY_PC: return DI_CAT_CONNECTOR;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return DI_CAT_PUNCT;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO: return DI_CAT_SYMBOL;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return DI_CAT_SEPARATOR;
    case UTF8PROC_CATEGORY_CN: return late_category(c);
    default: return DI_CAT_OTHER;
    }
}

int di_class_of_wide(uint32_t c)
{
    switch (di_category_of(c)) {
    case DI_CAT_LU:
    case DI_CAT_LL:
    case DI_CAT_LT:
    case DI_CAT_LM:
    case DI_CAT_LO: return DI_CLASS_LETTER;
    case DI_CAT_DIGIT:
    case DI_CAT_LETTERNUM:
    case DI_CAT_NUMBER: return DI_CLASS_NUMBER;
    case DI_CAT_SEPARATOR: return DI_CLASS_SPACE; /* U+180E is Cf since Unicode 6.3 */
    default: return c == 0x85 ? DI_CLASS_SPACE : DI_CLASS_OTHER;
    }
}

int di_is_numeric(uint32_t c)
{
    static const range unicode_17[] = {{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}};

    return di_class_of(c) == DI_CLASS_NUMBER || in_ranges(unicode_17, 2, c);
}

/* Other_Alphabetic beyond marks: circled and squared letters; then the two joiners. */
int di_is_word(uint32_t c)
{
    static const range more[] = {{0x200C, 0x200D},
                                 {0x24B6, 0x24E9},
                                 {0x1F130, 0x1F149},
                                 {0x1F150, 0x1F169},
                                 {0x1F170, 0x1F189}};

    switch (di_category_of(c)) {
    case DI_CAT_LU:
    case DI_CAT_LL:
    case DI_CAT_LT:
    case DI_CAT_LM:
    case DI_CAT_LO:
    case DI_CAT_MARK:
    case DI_CAT_DIGIT:
    case DI_CAT_LETTERNUM:
    case DI_CAT_CONNECTOR: return 1;
    default: return in_ranges(more, sizeof more / sizeof *more, c);
    }
}

int di_lowercase(uint32_t c, uint32_t out[2])
{
    /* Unicode 16 and 17; the lower case is `to` for a single row, else the offset from it. */
    static const struct {
        uint32_t first, last, to;
    } young[] = {{0x1C89, 0x1C89, 0x1C8A},   {0xA7CB, 0xA7CB, 0x264},  {0xA7CC, 0xA7CC, 0xA7CD},
                 {0xA7CE, 0xA7CE, 0xA7CF},   {0xA7D2, 0xA7D2, 0xA7D3}, {0xA7D4, 0xA7D4, 0xA7D5},
                 {0xA7DA, 0xA7DA, 0xA7DB},   {0xA7DC, 0xA7DC, 0x19B},  {0x10D50, 0x10D65, 0x10D70},
                 {0x16EA0, 0x16EB8, 0x16EBB}};

    if (c == 0x130) { /* the one full mapping that utf8proc's simple mapping lacks */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    if (out[0] == c && c >= 0x1C89)
        for (size_t i = 0; i < sizeof young / sizeof *young; i++)
            if (c >= young[i].first && c <= young[i].last)
                out[0] = young[i].to + c - young[i].first;
    return 1;
}

int di_norm_unknown(uint32_t c)
{
    static const range young[] = {
        {0x07FD, 0x07FD},   {0x0897, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},
        {0x0C3C, 0x0C3C},   {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x1715, 0x1715},
        {0x1ABF, 0x1ADD},   {0x1AE0, 0x1AEB},   {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},
        {0xA7F1, 0xA7F4},   {0xA82C, 0xA82C},   {0xAB69, 0xAB69},   {0x105C9, 0x105C9},
        {0x105E4, 0x105E4}, {0x10781, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA},
        {0x10D24, 0x10D27}, {0x10D69, 0x10D6D}, {0x10EAB, 0x10EAC}, {0x10EFA, 0x10EFF},
        {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
        {0x11383, 0x11383}, {0x11385, 0x11385}, {0x1138E, 0x1138E}, {0x11391, 0x11391},
        {0x113C5, 0x113C5}, {0x113C7, 0x113C8}, {0x113CE, 0x113D0}, {0x113E1, 0x113E2},
        {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11938, 0x11938}, {0x1193D, 0x1193E},
        {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
        {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
        {0x11DD9, 0x11DD9}, {0x11F41, 0x11F42}, {0x16121, 0x16128}, {0x1612F, 0x1612F},
        {0x16D68, 0x16D6A}, {0x16FF0, 0x16FF1}, {0x1CCD6, 0x1CCF9}, {0x1E030, 0x1E06D},
        {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
        {0x1E4EC, 0x1E4EF}, {0x1E5EE, 0x1E5EF}, {0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6},
        {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9},
    };

    return c >= 0x07FD && in_ranges(young, sizeof young / sizeof *young, c);
}
