/*
 * Scores texts with a run: the shortest use of libdial.
 *
 *     cc score.c $(pkg-config --cflags --libs dial) -o score
 *     ./score runs/toy 'Is it good?' 'Yes, very.' 'No.'
 *
 * prints the reward of each response to the prompt, one a line.
 */
#include <dial/dial.h>
#include <stdio.h>
#include <stdlib.h>

static void print_error(const dial_error *err)
{
    fprintf(stderr, "error: %s (%s); try: %s\n", err->message, err->where, err->hint);
}

int main(int argc, char **argv)
{
    dial_model *model = NULL;
    dial_error err = {0};
    dial_text *texts;
    float *reward;
    int n = argc - 3;

    if (argc < 4) {
        fprintf(stderr, "usage: %s RUN PROMPT RESPONSE...\n", argv[0]);
        return 2;
    }
    texts = calloc((size_t)n, sizeof *texts);
    reward = calloc((size_t)n, sizeof *reward);
    if (texts == NULL || reward == NULL) return 1;
    for (int i = 0; i < n; i++) texts[i] = (dial_text){.prompt = argv[2], .response = argv[3 + i]};
    if (dial_model_open(argv[1], NULL, NULL, &model, &err) != DIAL_OK ||
        dial_model_score(model, texts, (size_t)n, reward, &err) != DIAL_OK) {
        print_error(&err);
        dial_model_close(model);
        return dial_status_exit_code(err.status);
    }
    for (int i = 0; i < n; i++) printf("%.9g\n", (double)reward[i]);
    dial_model_close(model);
    free(texts);
    free(reward);
    return 0;
}
