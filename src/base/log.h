// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Diagnostics to standard error, one line each, thread-safe; quiet unless asked (-v) . Results are never printed here.
#ifndef DS_BASE_LOG_H
#define DS_BASE_LOG_H

#include "src/base/err.h"

enum ds_log_level { DS_LOG_ERROR, DS_LOG_WARN, DS_LOG_INFO, DS_LOG_DEBUG };

// What is printed at most; DS_LOG_WARN at start. Set before threads start.
void ds_log_set_level(enum ds_log_level level);

void ds_log(enum ds_log_level level, const char *fmt, ...) DS_PRINTF(2, 3);

// Control characters become '?': for what others wrote and a terminal shows.
void ds_log_clean(char *text);

#endif
