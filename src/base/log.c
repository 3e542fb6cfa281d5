// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Diagnostics; see log.h. Control characters that came from a device are shown as '?', so that no terminal is driven by
// one.
#include "src/base/log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum ds_log_level limit = DS_LOG_WARN;

void ds_log_set_level(enum ds_log_level level)
{
    limit = level;
}

void ds_log_clean(char *text)
{
    for (char *c = text; *c; c++) {
        bool c1 = (unsigned char)c[0] == 0xc2 && (unsigned char)c[1] >= 0x80 && (unsigned char)c[1] <= 0x9f;
        if ((unsigned char)*c < 0x20 || *c == 0x7f || c1)
            *c = '?';
        if (c1)
            *++c = '?'; // U+0080 to U+009F in UTF-8
    }
}

void ds_log(enum ds_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (level > limit)
        return;
    char line[1024];
    int head = snprintf(line, sizeof line, "devstamp: %s: ", names[level]);
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, ap);
    va_end(ap);
    ds_log_clean(line);
    size_t len = strlen(line);
    line[len++] = '\n';
    (void)!write(STDERR_FILENO, line, len); // one write, one line
}
