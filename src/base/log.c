// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Diagnostics; see log.h. Control characters that came from a device are shown as '?', so that no terminal is driven by
// one.
#include "src/base/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum ds_log_level limit = DS_LOG_WARN;

void ds_log_set_level(enum ds_log_level level)
{
    limit = level;
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
    size_t len = strlen(line);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[len++] = '\n';
    (void)!write(STDERR_FILENO, line, len); // one write, one line
}
