/*
 * Each dialect, from the exact JSON that its client sends to the exact JSON that it reads
 * (docs/interfaces.md 5). Rewards are planted (fake.h): 1.5, -0.25, 1.5, 3.
 */
#include "test.h"

#include "fake.h"

static di_models *models;
static const di_serve_settings plain = {.max_inputs = 8, .batch_tokens = 64};

typedef struct exchange_case {
    const char *why, *path, *body;
    int status;
    const char *answer;
} exchange_case;

static void check(const di_serve_settings *set, const exchange_case *row)
{
    di_buf out;
    int status;

    di_buf_init(&out, di_alloc_default());
    fake_request(models, set, row->path, row->body, strlen(row->body), &out, &status);
    if (status != row->status || out.data == NULL || strcmp(out.data, row->answer) != 0)
        fail_msg("%s: %s %s\nexpected %d %s\n   found %d %s", row->why, row->path, row->body,
                 row->status, row->answer, status, out.data);
    di_buf_deinit(&out);
}

static void check_all(const di_serve_settings *set, const exchange_case *row, size_t n)
{
    for (size_t i = 0; i < n; i++) check(set, &row[i]);
}

#define CHECK(set, rows) check_all((set), (rows), sizeof(rows) / sizeof *(rows))
#define ID "0123456789abcdef0123456789abcdef"
#define VLLM(id)                                                                                   \
    "{\"id\":\"" id "-" ID "\",\"object\":\"list\",\"created\":1700000000,\"model\":\"one\","
#define USAGE(n) "\"usage\":{\"prompt_tokens\":" n ",\"total_tokens\":" n
#define USAGE_VLLM(n) USAGE(n) ",\"completion_tokens\":0,\"prompt_tokens_details\":null}}"

/* "a" and "b" are 3 tokens (BOS, the letter, EOS), "ab" is 3 or 4: see the toy's merges. */
static void openrlhf(void **state)
{
    static const exchange_case rows[] = {
        {"utils/agent.py sends one text", "/get_reward",
         "{\"query\":[\"a\"],\"prompts\":[\"a\"],\"labels\":[null]}", 200,
         "{\"rewards\":[1.5],\"scores\":[1.5],\"extra_logs\":{\"dummy_scores\":[1.5]}}"},
        {"order is kept", "/get_reward", "{\"query\":[\"a\",\"b\",\"c\"]}", 200,
         "{\"rewards\":[1.5,-0.25,1.5],\"scores\":[1.5,-0.25,1.5],\"extra_logs\":{\"dummy_scores\":"
         "[1.5,-0.25,1.5]}}"},
        {"an empty share is valid", "/get_reward", "{\"query\":[],\"prompts\":[],\"labels\":[]}",
         200, "{\"rewards\":[],\"scores\":[],\"extra_logs\":{\"dummy_scores\":[]}}"},
        {"a prompt that is no beginning is ignored", "/get_reward",
         "{\"query\":[\"a\"],\"prompts\":[\"zzz\"]}", 200,
         "{\"rewards\":[1.5],\"scores\":[1.5],\"extra_logs\":{\"dummy_scores\":[1.5]}}"},
        {"not a list", "/get_reward", "{\"query\":\"a\"}", 400,
         "{\"error\":{\"code\":400,\"type\":\"invalid_request_error\",\"message\":\"`query` must "
         "be a list of strings\",\"param\":\"query\"}}"},
        {"not a string", "/get_reward", "{\"query\":[\"a\",1]}", 400,
         "{\"error\":{\"code\":400,\"type\":\"invalid_request_error\",\"message\":\"query[1] must "
         "be a string\",\"param\":\"query[1]\"}}"},
    };
    (void)state;
    CHECK(&plain, rows);
}

static void vllm(void **state)
{
    static const exchange_case rows[] = {
        {"one text", "/classify", "{\"model\":\"one\",\"input\":\"a\"}", 200,
         VLLM("classify") "\"data\":[{\"index\":0,\"label\":\"LABEL_0\",\"probs\":[1.5],\"num_"
                          "classes\":1}]," USAGE_VLLM("3")},
        {"verl reads the last one's last", "/v1/classify",
         "{\"input\":[\"a\",\"b\"],\"use_activation\":false}", 200,
         VLLM("classify") "\"data\":[{\"index\":0,\"label\":\"LABEL_0\",\"probs\":[1.5],\"num_"
                          "classes\":1},{\"index\":1,\"label\":\"LABEL_0\",\"probs\":[-0.25],\"num_"
                          "classes\":1}]," USAGE_VLLM("6")},
        {"sigmoid(1.5)", "/classify", "{\"input\":\"a\",\"use_activation\":true}", 200,
         VLLM("classify") "\"data\":[{\"index\":0,\"label\":\"LABEL_0\",\"probs\":[0.817574501],"
                          "\"num_classes\":1}]," USAGE_VLLM("3")},
        {"older spelling", "/classify", "{\"input\":\"a\",\"activation\":true}", 200,
         VLLM("classify") "\"data\":[{\"index\":0,\"label\":\"LABEL_0\",\"probs\":[0.817574501],"
                          "\"num_classes\":1}]," USAGE_VLLM("3")},
        {"no BOS, no EOS", "/classify", "{\"input\":\"a\",\"add_special_tokens\":false}", 200,
         VLLM("classify") "\"data\":[{\"index\":0,\"label\":\"LABEL_0\",\"probs\":[1.5],\"num_"
                          "classes\":1}]," USAGE_VLLM("1")},
        {"token ids", "/pooling", "{\"input\":[5,6,7,8]}", 200,
         VLLM("pool") "\"data\":[{\"index\":0,\"object\":\"pooling\",\"data\":[1.5]}]," USAGE_VLLM(
             "4")},
        {"lists of ids; base64 of 1.5 and -0.25", "/pooling",
         "{\"input\":[[5],[6,7]],\"encoding_format\":\"base64\"}", 200,
         VLLM("pool") "\"data\":[{\"index\":0,\"object\":\"pooling\",\"data\":\"AADAPw==\"},{"
                      "\"index\":1,\"object\":\"pooling\",\"data\":\"AACAvg==\"}]," USAGE_VLLM(
                          "3")},
        {"a dialogue is one text", "/classify",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
         "\" b\"}]}",
         200,
         VLLM("classify") "\"data\":[{\"index\":0,\"label\":\"LABEL_0\",\"probs\":[1.5],\"num_"
                          "classes\":1}]," USAGE_VLLM("4")},
        {"1 : n", "/score", "{\"text_1\":\"a\",\"text_2\":[\" b\",\" c\"]}", 200,
         VLLM("score") "\"data\":[{\"index\":0,\"object\":\"score\",\"score\":1.5},{\"index\":1,"
                       "\"object\":\"score\",\"score\":-0.25}]," USAGE_VLLM("8")},
        {"n : n", "/v1/score", "{\"text_1\":[\"a\",\"b\"],\"text_2\":[\" b\",\" c\"]}", 200,
         VLLM("score") "\"data\":[{\"index\":0,\"object\":\"score\",\"score\":1.5},{\"index\":1,"
                       "\"object\":\"score\",\"score\":-0.25}]," USAGE_VLLM("8")},
        {"2 : 1 is no pairing", "/score", "{\"text_1\":[\"a\",\"b\"],\"text_2\":\" b\"}", 422,
         "{\"error\":{\"code\":422,\"type\":\"unprocessable_entity\",\"message\":\"`text_1` must "
         "have one text, or as many as `text_2`: 1, not 2\",\"param\":\"text_1\"}}"},
        {"best first, equal ones by index, cut", "/v1/rerank",
         "{\"model\":\"one\",\"query\":\"a\",\"documents\":[\" a\",\" b\",\" c\",\" "
         "d\"],\"top_n\":3}",
         200,
         "{\"id\":\"rerank-" ID
         "\",\"object\":\"list\",\"created\":1700000000,\"model\":\"one\"," USAGE(
             "16") "},\"results\":["
                   "{\"index\":3,\"document\":{\"text\":\" "
                   "d\"},\"relevance_score\":3.0},{\"index\":0,\"document\":{\"text\":\" "
                   "a\"},\"relevance_score\":1.5},{\"index\":2,\"document\":{\"text\":\" "
                   "c\"},\"relevance_score\":1.5}]}"},
        {"a bare document, not given back", "/rerank",
         "{\"query\":\"a\",\"documents\":\" b\",\"return_documents\":false}", 200,
         "{\"id\":\"rerank-" ID
         "\",\"object\":\"list\",\"created\":1700000000,\"model\":\"one\"," USAGE(
             "4") "},\"results\":[{\"index\":0,\"relevance_score\":1.5}]}"},
        {"documents as objects", "/v2/rerank",
         "{\"query\":\"a\",\"documents\":[{\"text\":\" b\"}]}", 200,
         "{\"id\":\"rerank-" ID
         "\",\"object\":\"list\",\"created\":1700000000,\"model\":\"one\"," USAGE(
             "4") "},\"results\":[{\"index\":0,\"document\":{\"text\":\" "
                  "b\"},\"relevance_score\":1.5}]}"},
        {"too long: 16 is the limit", "/classify",
         "{\"input\":[\"a\",[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]]}", 422,
         "{\"error\":{\"code\":422,\"type\":\"unprocessable_entity\",\"message\":\"input[1] has 17 "
         "tokens, limit 16\",\"param\":\"input[1]\"}}"},
        {"too long, in words", "/classify", "{\"input\":\"a a a a a a a a a a a a a a a\"}", 422,
         "{\"error\":{\"code\":422,\"type\":\"unprocessable_entity\",\"message\":\"input has 17 "
         "tokens, limit 16\",\"param\":\"input\"}}"},
        {"the last tokens are kept", "/classify",
         "{\"input\":[\"a a a a a a a a a a a a a a a\",[9,9,9,9,9]],\"truncate_prompt_tokens\":4}",
         200,
         VLLM("classify") "\"data\":[{\"index\":0,\"label\":\"LABEL_0\",\"probs\":[1.5],\"num_"
                          "classes\":1},{\"index\":1,\"label\":\"LABEL_0\",\"probs\":[-0.25],\"num_"
                          "classes\":1}]," USAGE_VLLM("8")},
        {"-1: the model's limit", "/classify",
         "{\"input\":\"a a a a a a a a a a a a a a a\",\"truncate_prompt_tokens\":-1}", 200,
         VLLM("classify") "\"data\":[{\"index\":0,\"label\":\"LABEL_0\",\"probs\":[1.5],\"num_"
                          "classes\":1}]," USAGE_VLLM("16")},
        {"an id that is none", "/classify", "{\"input\":[5,300]}", 422,
         "{\"error\":{\"code\":422,\"type\":\"unprocessable_entity\",\"message\":\"token id 300 is "
         "not in the vocabulary of 300\",\"param\":\"input\"}}"},
        {"a negative id", "/classify", "{\"input\":[-1]}", 422,
         "{\"error\":{\"code\":422,\"type\":\"unprocessable_entity\",\"message\":\"token id -1 is "
         "not in the vocabulary of 300\",\"param\":\"input\"}}"},
        {"no input", "/classify", "{\"model\":\"one\"}", 400,
         "{\"error\":{\"code\":400,\"type\":\"invalid_request_error\",\"message\":\"`input` is "
         "missing\",\"param\":\"input\"}}"},
        {"nothing in it", "/classify", "{\"input\":[]}", 422,
         "{\"error\":{\"code\":422,\"type\":\"unprocessable_entity\",\"message\":\"`input` is "
         "empty\",\"param\":\"input\"}}"},
        {"more than --max-inputs", "/classify",
         "{\"input\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]}", 422,
         "{\"error\":{\"code\":422,\"type\":\"unprocessable_entity\",\"message\":\"more than 8 "
         "texts; send several requests\",\"param\":\"input\"}}"},
    };
    (void)state;
    CHECK(&plain, rows);
}

static void sglang(void **state)
{
    static const exchange_case rows[] = {
        {"an object for a string", "/classify", "{\"model\":\"m\",\"text\":\"a\"}", 200,
         "{\"embedding\":[1.5],\"meta_info\":{\"id\":\"" ID
         "\",\"finish_reason\":null,\"prompt_tokens\":3,\"e2e_latency\":0.25}}"},
        {"a list for a list", "/classify", "{\"text\":[\"a\",\"b\"]}", 200,
         "[{\"embedding\":[1.5],\"meta_info\":{\"id\":\"" ID
         "-0\",\"finish_reason\":null,\"prompt_tokens\":3,\"e2e_latency\":0.25}},"
         "{\"embedding\":[-0.25],\"meta_info\":{\"id\":\"" ID
         "-1\",\"finish_reason\":null,\"prompt_tokens\":3,\"e2e_latency\":0.25}}]"},
        {"ids", "/classify", "{\"input_ids\":[4,5]}", 200,
         "{\"embedding\":[1.5],\"meta_info\":{\"id\":\"" ID
         "\",\"finish_reason\":null,\"prompt_tokens\":2,\"e2e_latency\":0.25}}"},
    };
    (void)state;
    CHECK(&plain, rows);
}

static void tei(void **state)
{
    static const exchange_case rows[] = {
        {"sigmoids, best first", "/rerank", "{\"query\":\"a\",\"texts\":[\" a\",\" b\"]}", 200,
         "[{\"index\":0,\"score\":0.817574501},{\"index\":1,\"score\":0.437823504}]"},
        {"raw, with the texts", "/rerank",
         "{\"query\":\"a\",\"texts\":[\" a\",\" b\"],\"raw_scores\":true,\"return_text\":true}",
         200,
         "[{\"index\":0,\"score\":1.5,\"text\":\" a\"},{\"index\":1,\"score\":-0.25,\"text\":\" "
         "b\"}]"},
        {"the root route reranks", "/", "{\"query\":\"a\",\"texts\":[\" a\"],\"raw_scores\":true}",
         200, "[{\"index\":0,\"score\":1.5}]"},
        {"and predicts", "/", "{\"inputs\":\"a\",\"raw_scores\":true}", 200,
         "[{\"score\":1.5,\"label\":\"LABEL_0\"}]"},
        {"a text", "/predict", "{\"inputs\":\"a\"}", 200,
         "[{\"score\":0.817574501,\"label\":\"LABEL_0\"}]"},
        {"two strings are a pair", "/predict", "{\"inputs\":[\"a\",\" b\"],\"raw_scores\":true}",
         200, "[{\"score\":1.5,\"label\":\"LABEL_0\"}]"},
        {"a batch is a list of lists", "/predict",
         "{\"inputs\":[[\"a\"],[\"a\",\" b\"]],\"raw_scores\":true}", 200,
         "[[{\"score\":1.5,\"label\":\"LABEL_0\"}],[{\"score\":-0.25,\"label\":\"LABEL_0\"}]]"},
        {"unit length; a zero vector stays", "/embed", "{\"inputs\":[\"a\",\"b\"]}", 200,
         "[[0.600000024,0.800000012],[0.0,0.0]]"},
        {"as they are", "/embed", "{\"inputs\":\"a\",\"normalize\":false}", 200, "[[3.0,4.0]]"},
        {"truncated on demand", "/predict",
         "{\"inputs\":\"a a a a a a a a a a a a a a "
         "a\",\"truncate\":true,\"truncation_direction\":\"Left\",\"raw_scores\":true}",
         200, "[{\"score\":1.5,\"label\":\"LABEL_0\"}]"},
        {"too long", "/predict", "{\"inputs\":\"a a a a a a a a a a a a a a a\"}", 422,
         "{\"error\":\"inputs has 17 tokens, limit 16\",\"error_type\":\"Validation\"}"},
        {"empty: TEI says 400", "/embed", "{\"inputs\":[]}", 400,
         "{\"error\":\"`inputs` is empty\",\"error_type\":\"Empty\"}"},
        {"empty pairs", "/predict", "{\"inputs\":[]}", 400,
         "{\"error\":\"`inputs` is empty\",\"error_type\":\"Empty\"}"},
        {"three strings", "/predict", "{\"inputs\":[[\"a\",\"b\",\"c\"]]}", 400,
         "{\"error\":\"`inputs` must be a string, a pair [a, b], or a list of [a] and [a, "
         "b]\",\"error_type\":\"Validation\"}"},
        {"no texts", "/rerank", "{\"query\":\"a\",\"texts\":\"b\"}", 400,
         "{\"error\":\"`texts` must be a list of strings\",\"error_type\":\"Validation\"}"},
        {"neither form", "/rerank", "{\"query\":\"a\"}", 400,
         "{\"error\":{\"code\":400,\"type\":\"invalid_request_error\",\"message\":\"`documents` is "
         "missing (in the form of TEI: `texts`)\",\"param\":\"documents\"}}"},
    };
    static const exchange_case reward[] = {
        {"--embeddings reward: a 1-vector", "/embed", "{\"inputs\":\"a\"}", 200, "[[1.5]]"},
    };
    di_serve_settings set = plain;

    (void)state;
    CHECK(&plain, rows);
    set.embed_reward = 1;
    CHECK(&set, reward);
}

static void openai(void **state)
{
    static const exchange_case rows[] = {
        {"one text", "/v1/embeddings", "{\"model\":\"two\",\"input\":\"a\"}", 200,
         "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[3.0,"
         "4.0]}],\"model\":\"two\"," USAGE("3") "}}"},
        {"the openai client asks for base64", "/v1/embeddings",
         "{\"model\":\"one\",\"input\":[\"a\",\"b\"],\"encoding_format\":\"base64\"}", 200,
         "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":"
         "\"AABAQAAAgEA=\"},{\"object\":\"embedding\",\"index\":1,\"embedding\":\"AAAAAAAAAAA=\"}],"
         "\"model\":\"one\"," USAGE("6") "}}"},
        {"the width is what it is", "/v1/embeddings", "{\"input\":\"a\",\"dimensions\":3}", 422,
         "{\"error\":{\"code\":422,\"type\":\"unprocessable_entity\",\"message\":\"`dimensions` "
         "must be 2, the width of this model\",\"param\":\"dimensions\"}}"},
        {"an encoding that is none", "/v1/embeddings",
         "{\"input\":\"a\",\"encoding_format\":\"hex\"}", 400,
         "{\"error\":{\"code\":400,\"type\":\"invalid_request_error\",\"message\":\"`encoding_"
         "format` must be \\\"float\\\" or \\\"base64\\\"\",\"param\":\"encoding_format\"}}"},
    };
    static const exchange_case reward[] = {
        {"verl with SGLang reads data[-1].embedding[-1]", "/v1/embeddings",
         "{\"model\":\"one\",\"input\":\"a\"}", 200,
         "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[1.5]}"
         "],\"model\":\"one\"," USAGE("3") "}}"},
    };
    di_serve_settings set = plain;

    (void)state;
    CHECK(&plain, rows);
    set.embed_reward = 1;
    CHECK(&set, reward);
}

static void llamafactory(void **state)
{
    static const exchange_case rows[] = {
        {"rendered texts", "/v1/score/evaluation", "{\"model\":\"m\",\"messages\":[\"a\",\"b\"]}",
         200,
         "{\"id\":\"scoreeval-" ID
         "\",\"object\":\"score.evaluation\",\"model\":\"one\",\"scores\":[1.5,-0.25]}"},
        {"max_length cuts", "/v1/score/evaluation",
         "{\"model\":\"m\",\"messages\":[\"a a a a a a a a a a a a a a a\"],\"max_length\":5}", 200,
         "{\"id\":\"scoreeval-" ID
         "\",\"object\":\"score.evaluation\",\"model\":\"one\",\"scores\":[1.5]}"},
        {"less than BOS, a token, EOS", "/v1/score/evaluation",
         "{\"model\":\"m\",\"messages\":[\"a\"],\"max_length\":2}", 422,
         "{\"error\":{\"code\":422,\"type\":\"unprocessable_entity\",\"message\":\"cannot keep 2 "
         "tokens of a text; 3 is the least\",\"param\":null}}"},
    };
    (void)state;
    CHECK(&plain, rows);
}

static void dials_own(void **state)
{
    static const exchange_case rows[] = {
        {"three forms of a text", "/v1/reward",
         "{\"inputs\":[{\"prompt\":\"a\",\"response\":\" "
         "b\"},{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
         "\"content\":\" b\"}]},{\"text\":\"a b\"}]}",
         200,
         "{\"model\":\"one\",\"rewards\":[1.5,-0.25,1.5],\"tokens\":[4,4,4],\"truncated\":[false,"
         "false,false]}"},
        {"2 r + 10", "/v1/reward", "{\"inputs\":[{\"text\":\"a\"}],\"normalize\":true}", 200,
         "{\"model\":\"one\",\"rewards\":[13.0],\"tokens\":[3],\"truncated\":[false]}"},
        {"a cut is told", "/v1/reward",
         "{\"inputs\":[{\"text\":\"a a a a a a a a a a a a a a a\"}],\"truncate\":true}", 200,
         "{\"model\":\"one\",\"rewards\":[1.5],\"tokens\":[16],\"truncated\":[true]}"},
        {"tokens and where the response begins", "/tokenize",
         "{\"inputs\":[{\"prompt\":\"a\",\"response\":\" b\"},{\"text\":\"a b\"}]}", 200,
         "{\"ids\":[[0,66,277,1],[0,66,277,1]],\"tokens\":[[\"<s>\",\"a\",\"\xc4\xa0"
         "b\",\"</s>\"],[\"<s>\",\"a\",\"\xc4\xa0"
         "b\",\"</s>\"]],\"boundary\":[2,0]}"},
        {"of a cut prompt", "/tokenize",
         "{\"inputs\":[{\"prompt\":\"a a a a a a a a a a a a a a\",\"response\":\" b "
         "b\"}],\"truncate\":true}",
         200,
         "{\"ids\":[[0,258,258,258,258,258,258,258,258,258,258,258,258,277,277,1]],\"tokens\":[[\"<"
         "s>\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "a\",\"\xc4\xa0"
         "b\",\"\xc4\xa0"
         "b\",\"</s>\"]],\"boundary\":[13]}"},
        {"neither form", "/v1/reward", "{\"inputs\":[{\"prompt\":\"a\"}]}", 400,
         "{\"error\":{\"code\":400,\"type\":\"invalid_request_error\",\"message\":\"inputs[0] must "
         "be {\\\"prompt\\\", \\\"response\\\"}, {\\\"messages\\\"} or "
         "{\\\"text\\\"}\",\"param\":\"inputs\"}}"},
        {"a message without content", "/v1/reward",
         "{\"inputs\":[{\"messages\":[{\"role\":\"user\"}]}]}", 400,
         "{\"error\":{\"code\":400,\"type\":\"invalid_request_error\",\"message\":\"message 0 of "
         "inputs[0] must have `role` and `content`, both strings\",\"param\":\"inputs[0]\"}}"},
    };
    (void)state;
    CHECK(&plain, rows);
}

static void which_model(void **state)
{
    static const exchange_case rows[] = {
        {"by name", "/v1/reward", "{\"model\":\"two\",\"inputs\":[{\"text\":\"a\"}]}", 200,
         "{\"model\":\"two\",\"rewards\":[1.5],\"tokens\":[3],\"truncated\":[false]}"},
        {"an unknown one is the first", "/v1/reward",
         "{\"model\":\"../../etc/passwd\",\"inputs\":[{\"text\":\"a\"}]}", 200,
         "{\"model\":\"one\",\"rewards\":[1.5],\"tokens\":[3],\"truncated\":[false]}"},
        {"null is absent", "/v1/reward", "{\"model\":null,\"inputs\":[{\"text\":\"a\"}]}", 200,
         "{\"model\":\"one\",\"rewards\":[1.5],\"tokens\":[3],\"truncated\":[false]}"},
    };
    static const exchange_case strict[] = {
        {"--strict-model", "/v1/reward", "{\"model\":\"four\",\"inputs\":[{\"text\":\"a\"}]}", 404,
         "{\"error\":{\"code\":404,\"type\":\"not_found_error\",\"message\":\"there is no model "
         "'four'\",\"param\":\"model\"}}"},
        {"absent is no error", "/v1/reward", "{\"inputs\":[{\"text\":\"a\"}]}", 200,
         "{\"model\":\"one\",\"rewards\":[1.5],\"tokens\":[3],\"truncated\":[false]}"},
    };
    /*
     * Rewards of text 0: 1.5, -0.25, 1.5 of runs with mean 0, 1, 2 and sd 1, 2, 4. Mapped to run
     * one: 1.5, (-0.25 - 1)/2 = -0.625, (1.5 - 2)/4 = -0.125; mean 0.25, least -0.625.
     */
    static const exchange_case mean[] = {
        {"mean of three", "/v1/reward", "{\"model\":\"two\",\"inputs\":[{\"text\":\"a\"}]}", 200,
         "{\"model\":\"one\",\"rewards\":[0.25],\"tokens\":[3],\"truncated\":[false]}"},
    };
    static const exchange_case least[] = {
        {"least of three", "/v1/reward", "{\"inputs\":[{\"text\":\"a\"}]}", 200,
         "{\"model\":\"one\",\"rewards\":[-0.625],\"tokens\":[3],\"truncated\":[false]}"},
    };
    di_serve_settings set = plain;

    (void)state;
    CHECK(&plain, rows);
    set.strict_model = 1;
    CHECK(&set, strict);
    set.ensemble = DI_ENSEMBLE_MEAN;
    CHECK(&set, mean);
    set.ensemble = DI_ENSEMBLE_MIN;
    CHECK(&set, least);
}

/* Whatever the bytes, there is an answer in JSON, and it names what is wrong. */
static void bad_bodies(void **state)
{
    static const struct {
        const char *why, *body, *says;
        size_t n;
    } rows[] = {
        {"nothing", "", "json_syntax", 0},
        {"not JSON", "hello", "json_syntax", 5},
        {"cut", "{\"query\":[\"a\"", "json_syntax", 13},
        {"an array", "[1]", "must be a JSON object", 3},
        {"NaN is no JSON", "{\"query\":[NaN]}", "json_syntax", 15},
        {"a lone surrogate", "{\"query\":[\"\\ud800\"]}", "json_syntax", 20},
        {"no UTF-8", "{\"query\":[\"\xff\xfe\"]}", "bad_utf8", 16},
        {"overlong UTF-8", "{\"query\":[\"\xc0\xaf\"]}", "bad_utf8", 16},
        {"twice the same key", "{\"query\":[],\"query\":[]}", "duplicate_key", 23},
        {"a 0 byte behind", "{\"query\":[]}\0", "json_syntax", 13},
    };
    di_buf out;
    int status;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        di_buf_init(&out, di_alloc_default());
        fake_request(models, &plain, "/get_reward", rows[i].body, rows[i].n, &out, &status);
        if (status != 400 || out.data == NULL || strstr(out.data, rows[i].says) == NULL)
            fail_msg("%s: %d %s", rows[i].why, status, out.data);
        di_buf_deinit(&out);
    }
}

static void deep_json(void **state)
{
    char body[4200];
    di_buf out;
    int status;

    (void)state;
    for (int depth = 60; depth <= 2050; depth += 995) { /* 60, 1055, 2050: fine, and far too deep */
        size_t n = (size_t)snprintf(body, sizeof body, "{\"labels\":");

        memset(body + n, '[', (size_t)depth);
        memset(body + n + depth, ']', (size_t)depth);
        n += 2 * (size_t)depth;
        n += (size_t)snprintf(body + n, sizeof body - n, ",\"query\":[]}");
        di_buf_init(&out, di_alloc_default());
        fake_request(models, &plain, "/get_reward", body, n, &out, &status);
        assert_int_equal(status, depth == 60 ? 200 : 400);
        di_buf_deinit(&out);
    }
}

/* A reward that is not finite fails the request and names its text. */
static void not_finite(void **state)
{
    const di_route *r = di_route_find("/classify");
    const char *body = "{\"input\":[\"a\",\"b\"]}";
    di_call c;

    (void)state;
    di_call_init(&c, di_alloc_default(), &plain, models);
    assert_int_equal(di_route_parse(r, &c, body, strlen(body)), DI_ANSWER_OK);
    assert_int_equal(di_call_prepare(&c), DI_ANSWER_OK);
    c.side[0].reward[0] = 1;
    c.side[0].reward[1] = 1.0F / 0.0F;
    assert_int_equal(di_call_finish(&c), DI_ANSWER_NUMERIC);
    assert_string_equal(c.fault.param, "input[1]");
    di_call_deinit(&c);
}

/* docs/openapi.yaml has every path with its method, and no other. */
static void documented(void **state)
{
    FILE *f = fopen(TEST_DIR "/../docs/openapi.yaml", "r");
    char line[512], path[64] = "";
    int n_routes, n = 0;

    (void)state;
    assert_non_null(f);
    di_route_names(&n_routes);
    while (fgets(line, sizeof line, f) != NULL) {
        if (line[0] == ' ' && line[2] == '/') {
            snprintf(path, sizeof path, "%.*s", (int)strcspn(line + 2, ":"), line + 2);
            continue;
        }
        if (strcmp(line, "    post:\n") != 0 && strcmp(line, "    get:\n") != 0) continue;
        if (di_route_find(path) == NULL || (di_route_find(path)->parse != NULL) != (line[4] == 'p'))
            fail_msg("openapi.yaml has %s %s", path, line);
        n++;
    }
    fclose(f);
    assert_int_equal(n, n_routes - 1); /* all but "other" */
}

static int set_up(void **state)
{
    (void)state;
    models = fake_models(3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    di_models_free(models); /* every reference was given back, every run is closed */
    assert_int_equal(fake_open_runs, 0);
    di_tokenizer_close(fake_tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openrlhf),  cmocka_unit_test(vllm),        cmocka_unit_test(sglang),
        cmocka_unit_test(tei),       cmocka_unit_test(openai),      cmocka_unit_test(llamafactory),
        cmocka_unit_test(dials_own), cmocka_unit_test(which_model), cmocka_unit_test(bad_bodies),
        cmocka_unit_test(deep_json), cmocka_unit_test(not_finite),  cmocka_unit_test(documented),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
