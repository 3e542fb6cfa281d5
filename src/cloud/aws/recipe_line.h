// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The endpoint in a recipe's text, changed without touching anything else of it.
#ifndef DS_AWS_RECIPE_LINE_H
#define DS_AWS_RECIPE_LINE_H

#include "src/base/buf.h"

// Append text to ret with the value of "endpoint:" inside the block "stamp:" replaced by url; all other bytes, comments
// and line ends stay. DS_INPUT: there is not exactly one such line (a recipe in flow style has none).
enum ds_class ds_aws_recipe_endpoint(ds_view text, const char *url, ds_buf *ret, ds_err *e) DS_MUST;

#endif
