// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Errors with context; see err.h. Text that does not fit is cut at the end, so that the outermost words stay.
#define DS_ERR_PLAIN
#include "src/base/err.h"

#include <stdio.h>
#include <string.h>

static void DS_PRINTF(3, 0) vset(char *dst, size_t cap, const char *fmt, va_list ap)
{
    if (vsnprintf(dst, cap, fmt, ap) < 0)
        dst[0] = '\0';
}

enum ds_class ds_fail(ds_err *e, enum ds_class cls, const char *fmt, ...)
{
    if (e) {
        e->cls = cls;
        e->code = 0;
        e->hint[0] = '\0';
        va_list ap;
        va_start(ap, fmt);
        vset(e->text, sizeof e->text, fmt, ap);
        va_end(ap);
    }
    return cls;
}

enum ds_class ds_fail_errno(ds_err *e, enum ds_class cls, int err, const char *fmt, ...)
{
    if (e) {
        e->cls = cls;
        e->code = (uint32_t)err;
        e->hint[0] = '\0';
        va_list ap;
        va_start(ap, fmt);
        vset(e->text, sizeof e->text, fmt, ap);
        va_end(ap);
        char buf[96];
        size_t len = strlen(e->text);
        snprintf(e->text + len, sizeof e->text - len, ": %s", strerror_r(err, buf, sizeof buf));
    }
    return cls;
}

enum ds_class ds_wrap(ds_err *e, const char *fmt, ...)
{
    if (!e || e->cls == DS_OK)
        return DS_INTERNAL;
    char inner[sizeof e->text];
    memcpy(inner, e->text, sizeof inner);
    va_list ap;
    va_start(ap, fmt);
    vset(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    size_t len = strlen(e->text);
    snprintf(e->text + len, sizeof e->text - len, ": %s", inner);
    return e->cls;
}

enum ds_class ds_hint(ds_err *e, const char *fmt, ...)
{
    if (!e)
        return DS_INTERNAL;
    if (!e->hint[0]) {
        va_list ap;
        va_start(ap, fmt);
        vset(e->hint, sizeof e->hint, fmt, ap);
        va_end(ap);
    }
    return e->cls;
}

const char *ds_class_name(enum ds_class cls)
{
    static const char *const names[] = {"ok",    "usage",   "input",  "device",  "token",
                                        "store", "network", "policy", "internal"};
    return (size_t)cls < sizeof names / sizeof *names ? names[cls] : "internal";
}
