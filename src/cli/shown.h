// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Text of others on a person's screen: what would move the cursor, break a line or change the order of reading is not
// printed as it is, so that what is read is what there is.
#ifndef DS_CLI_SHOWN_H
#define DS_CLI_SHOWN_H

#include "src/base/err.h"
#include "src/base/buf.h"

// Print a text of one line: every byte that is not part of a visible character as \xNN, a backslash as \\.
void ds_print_shown(const char *text);

// DS_INPUT, with the line, where a file's text holds what hides or feigns something: control characters but tabs and
// line ends (LF, CR LF), other line ends, marks that are invisible or turn the direction, bytes that are no UTF-8.
enum ds_class ds_shown_check(ds_view text, ds_err *e) DS_MUST;

#endif
