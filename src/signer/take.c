// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Members of JSON objects; see take.h.
#include "src/signer/take.h"

#include <string.h>

bool ds_take_text(const json_t *o, const char *key, char *ret, size_t cap)
{
    const char *s = json_string_value(json_object_get(o, key));
    size_t len = s ? strlen(s) : cap;
    if (len >= cap)
        return false;
    for (size_t i = 0; i < len; i++)
        if (s[i] < 0x20 || s[i] > 0x7e)
            return false;
    memcpy(ret, s, len + 1);
    return true;
}

bool ds_take_number(const json_t *o, const char *key, uint64_t max, uint64_t *ret)
{
    const json_t *n = json_object_get(o, key);
    json_int_t v = json_integer_value(n);
    if (!json_is_integer(n) || v < 0 || (uint64_t)v > max)
        return false;
    *ret = (uint64_t)v;
    return true;
}
