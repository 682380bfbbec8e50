#include "serve/routes.h"

#include <string.h>

#include "serve/dialects.h"
#include "serve/pages.h"

/* clang-format off */
static const di_route routes[] = {
    /* path                   POST                       GET               TEI open */
    {"/get_reward",           di_parse_get_reward,       NULL,              0, 0},
    {"/classify",             di_parse_classify,         NULL,              0, 0},
    {"/v1/classify",          di_parse_v1_classify,      NULL,              0, 0},
    {"/pooling",              di_parse_pooling,          NULL,              0, 0},
    {"/score",                di_parse_score,            NULL,              0, 0},
    {"/v1/score",             di_parse_score,            NULL,              0, 0},
    {"/rerank",               di_parse_rerank,           NULL,              0, 0},
    {"/v1/rerank",            di_parse_rerank,           NULL,              0, 0},
    {"/v2/rerank",            di_parse_rerank,           NULL,              0, 0},
    {"/reranking",            di_parse_rerank,           NULL,              0, 0},
    {"/v1/reranking",         di_parse_rerank,           NULL,              0, 0},
    {"/",                     di_parse_tei_root,         NULL,              1, 0},
    {"/predict",              di_parse_tei_predict,      NULL,              1, 0},
    {"/embed",                di_parse_tei_embed,        NULL,              1, 0},
    {"/v1/score/evaluation",  di_parse_score_evaluation, NULL,              0, 0},
    {"/v1/embeddings",        di_parse_embeddings,       NULL,              0, 0},
    {"/v1/reward",            di_parse_reward,           NULL,              0, 0},
    {"/tokenize",             di_parse_tokenize,         NULL,              0, 0},
    {"/v1/models",            NULL,                      di_page_models,    0, 0},
    {"/health",               NULL,                      di_page_health,    0, 1},
    {"/ready",                NULL,                      di_page_ready,     0, 1},
    {"/info",                 NULL,                      di_page_info,      0, 0},
    {"/metrics",              NULL,                      di_page_metrics,   0, 0},
};
/* clang-format on */
enum { N_ROUTES = sizeof routes / sizeof *routes };

const di_route *di_route_find(const char *path)
{
    for (int i = 0; i < N_ROUTES; i++)
        if (strcmp(routes[i].path, path) == 0) return &routes[i];
    return NULL;
}

int di_route_index(const di_route *r)
{
    return r != NULL ? (int)(r - routes) : N_ROUTES;
}

const char *const *di_route_names(int *n)
{
    static const char *names[N_ROUTES + 1];

    for (int i = 0; i < N_ROUTES; i++) names[i] = routes[i].path;
    names[N_ROUTES] = "other";
    *n = N_ROUTES + 1;
    return names;
}

di_answer di_route_parse(const di_route *r, di_call *c, const char *body, size_t n)
{
    dial_error err;
    dial_status st;

    c->tei = r->tei;
    st = di_json_parse(body, n, "body", 1, &c->body, &err);

    if (st == DIAL_ERR_NOMEM)
        return di_refuse(&c->fault, DI_ANSWER_INTERNAL, NULL, "no memory for the request");
    if (st != DIAL_OK)
        return di_refuse(&c->fault, DI_ANSWER_INVALID, NULL, "%s (%s)", err.message, err.where);
    if (!json_is_object(c->body))
        return di_refuse(&c->fault, DI_ANSWER_INVALID, NULL, "the body must be a JSON object");
    return r->parse(c);
}
