/* What every test program includes: cmocka with the headers that it wants before it. */
#ifndef DIAL_TEST_H
#define DIAL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dial/status.h"

/* Fails the test with the error's own words if a call did not succeed. */
#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        dial_status st_ = (call);                                                                  \
        if (st_ != DIAL_OK)                                                                        \
            fail_msg("%s: %s (%s) [%s:%d]", #call, (err).message, (err).where,                     \
                     (err).file != NULL ? (err).file : "?", (err).line);                           \
    } while (0)

#endif
