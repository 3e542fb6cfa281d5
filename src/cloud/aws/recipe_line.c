// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The endpoint in a recipe's text; see recipe_line.h. Source: YAML 1.2.2, 6.6 (a comment begins with a space and
// #), 7.3.
#include "src/cloud/aws/recipe_line.h"

#include <string.h>

typedef struct span {
    const char *from, *to;
} span;

// The next line without its end; false where none is left.
static bool next_line(span *rest, span *line)
{
    if (rest->from >= rest->to)
        return false;
    const char *newline = memchr(rest->from, '\n', (size_t)(rest->to - rest->from));
    line->from = rest->from;
    line->to = newline ? newline : rest->to;
    rest->from = newline ? newline + 1 : rest->to;
    if (line->to > line->from && line->to[-1] == '\r')
        line->to--;
    return true;
}

static const char *skip_spaces(const char *p, const char *to)
{
    while (p < to && (*p == ' ' || *p == '\t'))
        p++;
    return p;
}

// Behind "key:"; NULL where the line is not that key's.
static const char *behind_key(const char *p, const char *to, const char *key)
{
    size_t len = strlen(key);
    if ((size_t)(to - p) <= len || memcmp(p, key, len) != 0 || p[len] != ':')
        return NULL;
    return p + len + 1 == to || p[len + 1] == ' ' || p[len + 1] == '\t' ? p + len + 1 : NULL;
}

// Where the value that begins at p ends: quoted or plain.
static const char *value_end(const char *p, const char *to)
{
    if (p < to && (*p == '"' || *p == '\'')) {
        const char *close = memchr(p + 1, *p, (size_t)(to - p - 1));
        return close ? close + 1 : NULL;
    }
    const char *end = p;
    while (end < to && !(*end == '#' && (end == p || end[-1] == ' ' || end[-1] == '\t')))
        end++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return end;
}

static bool nothing_follows(const char *p, const char *to)
{
    const char *rest = skip_spaces(p, to);
    return rest == to || (*rest == '#' && rest > p);
}

static bool take_value(const char *behind, const char *to, span *ret)
{
    ret->from = skip_spaces(behind, to);
    ret->to = value_end(ret->from, to);
    return ret->to && ret->to > ret->from && nothing_follows(ret->to, to);
}

// How many there are; 2 stands for what is not to be touched. Keys of the block are those indented as its first one,
// and what is indented further belongs to the value before it.
static size_t find_values(ds_view text, span *ret)
{
    span rest = {(const char *)text.ptr, (const char *)text.ptr + text.len}, line;
    bool inside = false, behind_it = false;
    long depth = 0;
    size_t count = 0;
    while (next_line(&rest, &line)) {
        const char *p = skip_spaces(line.from, line.to), *behind;
        if (p == line.to || *p == '#')
            continue;
        if (p == line.from) {
            behind = behind_key(p, line.to, "stamp");
            inside = behind && nothing_follows(behind, line.to);
            depth = 0;
            behind_it = false;
            continue;
        }
        depth = inside && !depth ? p - line.from : depth;
        if (behind_it && p - line.from > depth)
            return 2;
        behind = inside && p - line.from == depth ? behind_key(p, line.to, "endpoint") : NULL;
        behind_it = behind != NULL;
        if (behind)
            count += take_value(behind, line.to, ret) ? 1 : 2;
    }
    return count;
}

enum ds_class ds_aws_recipe_endpoint(ds_view text, const char *url, ds_buf *ret, ds_err *e)
{
    span value = {NULL, NULL};
    if (find_values(text, &value) != 1)
        return ds_hint((ds_fail(e, DS_INPUT, "there is not one line 'endpoint: ...' in the block 'stamp:'"), e),
                       "write it by hand: endpoint: %s", url);
    ds_buf_add(ret, text.ptr, (size_t)(value.from - (const char *)text.ptr));
    ds_buf_add(ret, url, strlen(url));
    ds_buf_add(ret, value.to, (size_t)((const char *)text.ptr + text.len - value.to));
    return DS_OK;
}
