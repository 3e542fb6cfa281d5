// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Failures with a code that an app may act on; see companion.h.
#include "src/owner/internal.h"

#include <openssl/err.h>
#include <stdio.h>

enum ds_class ds_companion_fail(ds_err *e, enum ds_class cls, enum ds_companion_code code, const char *fmt, ...)
{
    char text[sizeof((ds_err *)0)->text];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    (void)ds_fail(e, cls, "%s", text);
    if (e)
        e->code = (uint32_t)code;
    ERR_clear_error();
    return cls;
}
