// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Comparing version texts of app descriptions; see image.h. Numbers of any length are compared as numbers.
#include "src/esp/image.h"

#include <string.h>

#define DIGITS "0123456789"

static const char *skip_v(const char *s)
{
    return (*s == 'v' || *s == 'V') && strchr(DIGITS, s[1]) && s[1] ? s + 1 : s;
}

// Length of the dotted part: a git suffix ("-12-gabcdef", "-dirty") says nothing about order.
static size_t dotted_len(const char *s)
{
    return strcspn(s, "-+ ");
}

static int compare_digits(const char *a, size_t a_len, const char *b, size_t b_len)
{
    for (; a_len && *a == '0'; a_len--)
        a++;
    for (; b_len && *b == '0'; b_len--)
        b++;
    if (a_len != b_len)
        return a_len < b_len ? -1 : 1;
    return memcmp(a, b, a_len);
}

// One component "12" or "12rc1": the number first, then its rest as text.
static int compare_component(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t an = 0, bn = 0;
    while (an < a_len && strchr(DIGITS, a[an]))
        an++;
    while (bn < b_len && strchr(DIGITS, b[bn]))
        bn++;
    int order = compare_digits(a, an, b, bn);
    if (order)
        return order;
    a_len -= an;
    b_len -= bn;
    size_t both = a_len < b_len ? a_len : b_len;
    order = both ? memcmp(a + an, b + bn, both) : 0;
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static size_t component_len(const char *s, size_t len)
{
    const char *dot = len ? memchr(s, '.', len) : NULL;
    return dot ? (size_t)(dot - s) : len;
}

int ds_version_compare(const char *a, const char *b)
{
    a = skip_v(a);
    b = skip_v(b);
    size_t a_len = dotted_len(a), b_len = dotted_len(b);
    while (a_len || b_len) {
        size_t ac = component_len(a, a_len), bc = component_len(b, b_len);
        int order = compare_component(a, ac, b, bc);
        if (order)
            return order < 0 ? -1 : 1;
        a += ac < a_len ? ac + 1 : ac;
        a_len -= ac < a_len ? ac + 1 : ac;
        b += bc < b_len ? bc + 1 : bc;
        b_len -= bc < b_len ? bc + 1 : bc;
    }
    return 0;
}
