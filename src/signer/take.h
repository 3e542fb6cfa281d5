// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Members of a JSON object (RFC 8259) that somebody else wrote, taken within bounds.
#ifndef DS_SIGNER_TAKE_H
#define DS_SIGNER_TAKE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A text of at most cap - 1 printable ASCII characters, with its zero. False: it is missing, or not of that kind.
bool ds_take_text(const json_t *o, const char *key, char *ret, size_t cap);
// A whole number from 0 to max.
bool ds_take_number(const json_t *o, const char *key, uint64_t max, uint64_t *ret);

#endif
