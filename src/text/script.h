/* Writing systems by ranges of code points: enough to see that two files differ in theirs. */
#ifndef DI_TEXT_SCRIPT_H
#define DI_TEXT_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

typedef enum di_script {
    DI_SCRIPT_LATIN,
    DI_SCRIPT_GREEK,
    DI_SCRIPT_CYRILLIC,
    DI_SCRIPT_HEBREW,
    DI_SCRIPT_ARABIC,
    DI_SCRIPT_DEVANAGARI,
    DI_SCRIPT_THAI,
    DI_SCRIPT_KANA,
    DI_SCRIPT_HANGUL,
    DI_SCRIPT_HAN,
    DI_SCRIPT_OTHER, /* letters of any other script, symbols beyond U+0250 */
    DI_N_SCRIPTS
} di_script;

const char *di_script_name(di_script s); /* "Latin" */

/* count (DI_N_SCRIPTS) += letters of each script in valid UTF-8; ASCII and Latin-1 digits, spaces
 * and signs, and marks that go with any script (U+0300..U+036F, U+2000..U+2BFF), count nowhere. */
void di_script_count(const char *text, size_t n, int64_t *count);

#endif
