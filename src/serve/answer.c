#include "serve/answer.h"

#include <stdio.h>

#include "serve/write.h"

int di_answer_status(di_answer a, int tei)
{
    switch (a) {
#define X(name, status, type, tei_status, tei_type)                                                \
    case DI_ANSWER_##name: return tei ? tei_status : status;
        DI_ANSWER_MAP(X)
#undef X
    }
    return 500;
}

const char *di_answer_type(di_answer a)
{
    switch (a) {
#define X(name, status, type, tei_status, tei_type)                                                \
    case DI_ANSWER_##name: return type;
        DI_ANSWER_MAP(X)
#undef X
    }
    return "internal_error";
}

static const char *tei_type_of(di_answer a)
{
    switch (a) {
#define X(name, status, type, tei_status, tei_type)                                                \
    case DI_ANSWER_##name: return tei_type;
        DI_ANSWER_MAP(X)
#undef X
    }
    return "Backend";
}

di_answer di_refuse(di_fault *f, di_answer a, const char *param, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
    snprintf(f->param, sizeof f->param, "%s", param != NULL ? param : "");
    return a;
}

void di_fault_write(const di_fault *f, di_answer a, int tei, di_buf *out)
{
    if (tei) {
        di_buf_printf(out, "{\"error\":");
        di_write_text(out, f->message);
        di_buf_printf(out, ",\"error_type\":\"%s\"}", tei_type_of(a));
        return;
    }
    di_buf_printf(out,
                  "{\"error\":{\"code\":%d,\"type\":\"%s\",\"message\":", di_answer_status(a, 0),
                  di_answer_type(a));
    di_write_text(out, f->message);
    di_buf_printf(out, ",\"param\":");
    if (f->param[0] != '\0')
        di_write_text(out, f->param);
    else
        di_buf_printf(out, "null");
    di_buf_printf(out, "}}");
}
