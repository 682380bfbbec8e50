/* What all containers share: recognition, parsing of a record, the report of a bad one. How each
 * container is cut stands in cut.c and csv.c. */
#include "data/records.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "data/containers.h"

const char *di_reason_name(di_reason reason)
{
    switch (reason) {
    case DI_ROW_FINE: return "";
#define X(id, name)                                                                                \
    case DI_BAD_##id: return name;
        DI_REASONS(X)
#undef X
    }
    return "";
}

const char *di_container_name(di_container c)
{
    static const char *const name[] = {"jsonl", "json", "csv", "tsv", "parquet"};

    return name[c];
}

const char *di_place(char *buf, size_t n, const char *name, int64_t line, int64_t column)
{
    enum { PLACE = 48 }; /* two numbers of 20 digits, their colons, and "..." */
    size_t len = strlen(name);
    const char *dots = "";

    if (n > PLACE && len > n - PLACE) {
        name += len - (n - PLACE);
        while (((unsigned char)*name & 0xc0) == 0x80) name++;
        dots = "...";
    }
    if (column > 0)
        return di_format(buf, n, "%s%s:%lld:%lld", dots, name, (long long)line, (long long)column);
    return di_format(buf, n, "%s%s:%lld", dots, name, (long long)line);
}

/* 0-based column of CSV, or n_header. */
static size_t field_of(const di_records *rs, const char *key)
{
    size_t k = 0;

    while (k < rs->n_header && (key == NULL || strcmp(rs->header[k], key) != 0)) k++;
    return k;
}

/* An error is one line: what the file smuggles in must not break it. */
static void one_line(char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20) *s = ' ';
}

dial_status di_records_fault(di_records *rs, dial_error *err, const char *file, int line,
                             di_reason reason, const char *key, int64_t offset, const char *hint,
                             const char *fmt, ...)
{
    char detail[480], name[96] = "", where[320];
    int64_t column = rs->column;
    const di_span *span = NULL;
    va_list ap;

    rs->fault = reason;
    if (err == NULL) return DIAL_ERR_INPUT;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    if (key != NULL) di_format(name, sizeof name, " (key \"%s\")", key);
    if (rs->format == DI_FORMAT_JSONL) {
        if (key != NULL) span = di_records_find(rs, key);
        if (span != NULL && span->value > 0) offset = span->value;
        if (offset > 0) column += offset;
    }
    di_place(where, sizeof where, di_input_name(rs->in), rs->line, rs->n_header > 0 ? 0 : column);
    if (field_of(rs, key) < rs->n_header)
        snprintf(where + strlen(where), sizeof where - strlen(where), ":field %zu",
                 field_of(rs, key) + 1);
    di_error_set(err, DIAL_ERR_INPUT, file, line, where, hint, "%s: %s%s", di_reason_name(reason),
                 detail, name);
    one_line(err->message);
    one_line(err->where);
    return DIAL_ERR_INPUT;
}

/* First byte of the file that is no space; -1: there is none. */
static dial_status first_byte(di_records *rs, int *c, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_window *w = rs->w;
    size_t i = 0;

    *c = -1;
    for (;;) {
        for (; w->begin + i < w->end; i++) {
            *c = (unsigned char)w->data[w->begin + i];
            if (*c != ' ' && *c != '\t' && *c != '\r' && *c != '\n') goto done;
        }
        *c = -1;
        if (w->at_end) goto done;
        DI_TRY(di_input_more(rs->in, err));
    }
done:
    return st;
}

/* 1 if name ends in suffix, or in suffix and ".gz" or ".zst". */
static int named(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);

    if (n > 3 && memcmp(name + n - 3, ".gz", 3) == 0) n -= 3;
    if (n > 4 && memcmp(name + n - 4, ".zst", 4) == 0) n -= 4;
    return n > k && memcmp(name + n - k, suffix, k) == 0;
}

static dial_status decide(di_records *rs, const char *format, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *name = di_input_name(rs->in);
    int c;

    for (int f = DI_FORMAT_JSONL; f <= DI_FORMAT_TSV; f++)
        if (strcmp(format, di_container_name((di_container)f)) == 0) rs->format = (di_container)f;
    if (strcmp(format, "auto") != 0 && strcmp(format, di_container_name(rs->format)) != 0)
        DI_FAIL_AT(err, DIAL_ERR_USAGE, "--format", "choose one of them",
                   "expected auto, jsonl, json, csv or tsv, found '%s'", format);
    DI_TRY(first_byte(rs, &c, err));
    if (strcmp(format, "auto") == 0 && rs->w->end - rs->w->begin >= 4 &&
        memcmp(rs->w->data + rs->w->begin, "PAR1", 4) == 0) {
        rs->format = DI_FORMAT_PARQUET;
        goto done;
    }
    if (c < 0)
        DI_FAIL_AT(err, DIAL_ERR_INPUT, name, "check what wrote the file",
                   "expected one JSON object a line, found an empty file");
    if (strcmp(format, "auto") != 0) goto done;
    /* a .jsonl that begins with anything else is broken JSON Lines, not CSV */
    rs->format = c == '['                                          ? DI_FORMAT_JSON
                 : c == '{'                                        ? DI_FORMAT_JSONL
                 : named(name, ".jsonl") || named(name, ".ndjson") ? DI_FORMAT_JSONL
                 : named(name, ".json")                            ? DI_FORMAT_JSONL
                 : named(name, ".tsv")                             ? DI_FORMAT_TSV
                                                                   : DI_FORMAT_CSV;
done:
    return st;
}

dial_status di_records_open(di_records *rs, const di_alloc *al, di_input *in, const char *format,
                            dial_error *err)
{
    dial_status st = DIAL_OK;

    *rs = (di_records){.al = al,
                       .in = in,
                       .w = di_input_window(in),
                       .next_line = 1,
                       .next_column = 1,
                       .score_key = "score",
                       .label_key = "label",
                       .margin_key = "margin"};
    DI_TRY(decide(rs, format, err));
    if (rs->format == DI_FORMAT_JSON) DI_TRY(di_array_open(rs, err));
    if (rs->format == DI_FORMAT_CSV || rs->format == DI_FORMAT_TSV) DI_TRY(di_csv_open(rs, err));
done:
    return st;
}

void di_records_close(di_records *rs)
{
    if (rs->al == NULL) return;
    json_decref(rs->object);
    di_parquet_close(rs->parquet);
    for (size_t k = 0; k < rs->n_header; k++) di_free(rs->al, rs->header[k]);
    di_free(rs->al, rs->header);
    di_free(rs->al, rs->span);
    di_free(rs->al, rs->field);
    *rs = (di_records){0};
}

/* The next row, decoded at once: rows that nobody looks at move the columns on too. */
static dial_status cut_parquet(di_records *rs, int *got, dial_error *err)
{
    dial_status st = DIAL_OK;
    const void *data = NULL;
    size_t size = 0;

    *got = 0;
    if (rs->parquet == NULL) {
        DI_TRY(di_input_whole(rs->in, &data, &size, err));
        DI_TRY(di_parquet_open(rs->al, di_input_name(rs->in), data, size, rs->wants, rs->wants_ctx,
                               &rs->parquet, err));
    }
    if (!di_parquet_next(rs->parquet)) goto done;
    rs->line = rs->next_line++;
    rs->column = 1;
    DI_TRY(di_parquet_row(rs->parquet, &rs->object, &rs->not_finite, &rs->bad_text, err));
    *got = 1;
done:
    return st;
}

/* What a row of Parquet can hold and a row cannot. */
static dial_status check_parquet(di_records *rs, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char hint[] = "give a finite number, or leave the row out";
    const char *key = rs->not_finite;

    if (rs->bad_text != NULL)
        DI_BAD(rs, BAD_UTF8, rs->bad_text, "write the column as UTF-8 strings",
               "expected UTF-8 text, found other bytes");
    if (key == NULL) goto done;
    if (strcmp(key, rs->margin_key) == 0)
        DI_BAD(rs, MARGIN_NOT_FINITE, key, hint, "expected a finite number, found none");
    DI_BAD(rs, SCORE_NOT_FINITE, key, hint, "expected a finite number, found none");
done:
    return st;
}

dial_status di_records_cut(di_records *rs, int *got, dial_error *err)
{
    json_decref(rs->object);
    rs->object = NULL;
    rs->fault = DI_ROW_FINE;
    rs->n_span = 0;
    rs->n_field = 0;
    switch (rs->format) {
    case DI_FORMAT_JSONL: return di_jsonl_cut(rs, got, err);
    case DI_FORMAT_JSON: return di_array_cut(rs, got, err);
    case DI_FORMAT_PARQUET: return cut_parquet(rs, got, err);
    case DI_FORMAT_CSV:
    case DI_FORMAT_TSV: break;
    }
    return di_csv_cut(rs, got, err);
}

/* The member around a byte of the record: the last one whose key begins before it. */
static const di_span *member_at(const di_records *rs, size_t offset)
{
    const di_span *s = NULL;

    for (size_t i = 0; i < rs->n_span && rs->span[i].key <= offset; i++) s = &rs->span[i];
    return s;
}

static int is_key(const di_records *rs, const di_span *s, const char *key)
{
    const di_span *named_so = di_records_find(rs, key);

    return named_so != NULL && named_so->key == s->key;
}

/* Reports a number that JSON or a double cannot hold under the name that its key asks for. */
static dial_status bad_number(di_records *rs, const di_span *s, dial_error *err)
{
    dial_status st = DIAL_OK;
    static const char hint[] = "give a finite number, or leave the row out";
    int n = s->value_n > 40 ? 40 : (int)s->value_n;
    const char *text = di_records_text(rs, s);

    if (is_key(rs, s, rs->score_key))
        DI_BAD(rs, SCORE_NOT_FINITE, rs->score_key, hint, "expected a finite number, found %.*s", n,
               text);
    if (is_key(rs, s, rs->label_key))
        DI_BAD(rs, SCORE_NOT_FINITE, rs->label_key, hint, "expected a finite number, found %.*s", n,
               text);
    if (is_key(rs, s, rs->margin_key))
        DI_BAD(rs, MARGIN_NOT_FINITE, rs->margin_key, hint, "expected a finite number, found %.*s",
               n, text);
    DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, s->value, "write null instead",
              "expected a number that JSON can hold, found %.*s", n, text);
done:
    return st;
}

static int is_word(const di_records *rs, const di_span *s, const char *word)
{
    return s->value_n == strlen(word) && memcmp(di_records_text(rs, s), word, s->value_n) == 0;
}

/* The parser refused the record: says why in our words. */
static dial_status explain(di_records *rs, const di_json_fault *bad, dial_error *err)
{
    dial_status st = DIAL_OK;
    const size_t at = bad->at < rs->size ? bad->at : rs->size - 1;
    const di_span *s = member_at(rs, at + 1); /* a key's fault stands at its quote */

    if (bad->kind == DI_JSON_NOMEM)
        DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a row of %zu bytes", rs->size);
    if (bad->kind == DI_JSON_DUPLICATE_KEY)
        DI_BAD_AT(rs, DI_BAD_DUPLICATE_KEY, s != NULL ? s->key - 1 : at, "keep one of the two",
                  "%s", bad->message);
    if (bad->kind == DI_JSON_NUMBER_RANGE && s != NULL) {
        st = bad_number(rs, s, err);
        goto done;
    }
    for (size_t i = 0; i < rs->n_span; i++)
        if (is_word(rs, &rs->span[i], "NaN") || is_word(rs, &rs->span[i], "Infinity") ||
            is_word(rs, &rs->span[i], "-Infinity")) {
            st = bad_number(rs, &rs->span[i], err);
            goto done;
        }
    DI_BAD_AT(rs, DI_BAD_JSON_SYNTAX, at, "correct the JSON there", "%s", bad->message);
done:
    return st;
}

static dial_status parse_json(di_records *rs, dial_error *err)
{
    dial_status st = DIAL_OK;
    const char *text = rs->w->data + rs->offset;
    di_reason fault = DI_ROW_FINE;
    json_t *v = NULL;
    di_json_fault bad;
    size_t at = 0;

    DI_TRY(di_records_scan(rs, text, rs->size, &fault, &at, err));
    if (fault == DI_BAD_BAD_UTF8)
        DI_BAD_AT(rs, fault, at, "save the file as UTF-8", "expected UTF-8, found the byte 0x%02x",
                  (unsigned)(unsigned char)text[at]);
    if (fault == DI_BAD_UNPAIRED_SURROGATE)
        DI_BAD_AT(rs, fault, at, "remove the half character; some program cut a text inside it",
                  "expected both halves of a surrogate pair, found %.6s alone", text + at);
    if (fault == DI_BAD_JSON_SYNTAX)
        DI_BAD_AT(rs, fault, at, "flatten the value", "nested deeper than 64 levels");
    v = di_json_load(text, rs->size, DI_JSON_INTEGERS_AS_REALS, &bad);
    if (v == NULL) {
        st = explain(rs, &bad, err);
        goto done;
    }
    if (!json_is_object(v))
        DI_BAD_AT(rs, DI_BAD_NOT_OBJECT, 0, "write every row as {\"key\": value, ...}",
                  "expected an object, found %s", di_json_kind(v));
    rs->object = v;
    v = NULL;
done:
    json_decref(v);
    return st;
}

dial_status di_records_parse(di_records *rs, dial_error *err)
{
    if (rs->format == DI_FORMAT_PARQUET) return check_parquet(rs, err);
    return rs->n_header > 0 ? di_csv_parse(rs, err) : parse_json(rs, err);
}
