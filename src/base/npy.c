#include "base/npy.h"

#include <string.h>

#include "base/error.h"

dial_status di_npy_write(const di_alloc *al, const char *path, const float *x, int64_t rows,
                         int64_t cols, dial_error *err)
{
    dial_status st = DIAL_OK;
    char header[128];
    di_writer w = {0};
    int n = snprintf(header, sizeof header,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }",
                     (long long)rows, (long long)cols);
    unsigned char lead[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 118, 0}; /* 10 + 118 = 128 */

    memset(header + n, ' ', 118 - (size_t)n);
    header[117] = '\n';
    DI_TRY(di_write_begin(al, path, &w, err));
    DI_TRY(di_write(&w, lead, sizeof lead, err));
    DI_TRY(di_write(&w, header, 118, err));
    DI_TRY(di_write(&w, x, (size_t)(rows * cols) * sizeof *x, err));
    DI_TRY(di_write_commit(&w, err));
done:
    di_write_abort(&w);
    return st;
}
