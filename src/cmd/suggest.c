/* The nearest known name to a mistyped one. */
#include "cmd.h"

#include <string.h>

enum { MAX_NAME = 40 };

static int same(char a, char b)
{
    return (a == '_' ? '-' : a) == (b == '_' ? '-' : b);
}

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;

    return m < c ? m : c;
}

/* Optimal string alignment: Levenshtein's table, and one step for two swapped neighbours. */
int cmd_distance(const char *a, const char *b)
{
    int d[MAX_NAME + 1][MAX_NAME + 1];
    int n = (int)strnlen(a, MAX_NAME), m = (int)strnlen(b, MAX_NAME);

    for (int i = 0; i <= n; i++) d[i][0] = i;
    for (int j = 0; j <= m; j++) d[0][j] = j;
    for (int i = 1; i <= n; i++)
        for (int j = 1; j <= m; j++) {
            d[i][j] =
                min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + !same(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]) &&
                d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[n][m];
}

void cmd_nearest_offer(cmd_nearest *best, const char *name)
{
    int distance = cmd_distance(best->word, name);

    if (best->name == NULL || distance < best->distance) {
        best->name = name;
        best->distance = distance;
    }
}

/* Half of the letters wrong is no slip of the finger: then a wrong hint is worse than none. */
const char *cmd_nearest_name(const cmd_nearest *best)
{
    int longest, n, m;

    if (best->name == NULL) return NULL;
    n = (int)strnlen(best->word, MAX_NAME);
    m = (int)strnlen(best->name, MAX_NAME);
    longest = n > m ? n : m;
    return best->distance * 2 <= longest ? best->name : NULL;
}
