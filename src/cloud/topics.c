// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Topic patterns; see topics.h. Source: MQTT 5.0, 4.7 (topic names and filters).
#include "src/cloud/topics.h"
#include "src/cloud/internal.h"

#include <string.h>

static const char mark[] = "{name}";
enum { MARK = sizeof mark - 1 };

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

// One level, up to '/' or the end.
static size_t level(const char *p)
{
    return strcspn(p, "/");
}

static enum ds_class bad(ds_err *e, const char *pattern, const char *why)
{
    return ds_fail(e, DS_USAGE, "topics '%s': %s", pattern, why);
}

// Printable ASCII in both parts, no wildcard, no second {name}.
static bool plain(const char *text)
{
    for (const char *p = text; *p; p++)
        if (*p <= 0x20 || *p >= 0x7F || strchr("+#{}\"'\\", *p))
            return false;
    return !strstr(text, "//");
}

static enum ds_class parse_one(const char *text, struct ds_topic *ret, ds_err *e)
{
    const char *name = strstr(text, mark);
    size_t len = strlen(text), before = name ? (size_t)(name - text) : 0;
    bool whole = before && name[-1] == '/' && (name[MARK] == '/' || name[MARK] == '\0');
    if (!name || !whole)
        return bad(e, text, "{name} must be a level of its own, and not the first");
    ret->all_below = len > 1 && strcmp(text + len - 2, "/#") == 0;
    size_t after = len - before - MARK - (ret->all_below ? 1 : 0);
    if (before >= sizeof ret->before || after >= sizeof ret->after)
        return bad(e, text, "it is too long");
    memcpy(ret->before, text, before);
    memcpy(ret->after, name + MARK, after);
    ret->before[before] = ret->after[after] = '\0';
    if (!plain(ret->before) || !plain(ret->after))
        return bad(e, text, "but for {name} and a # at the end there are no wildcards, quotes, empty levels or spaces");
    if (ret->before[0] == '$' && !begins(ret->before, "$aws/things/"))
        return bad(e, text, "of the topics that begin with $ only $aws/things/{name} may be given");
    if (ret->before[0] == '/' || (!ret->all_below && after && ret->after[after - 1] == '/'))
        return bad(e, text, "it has an empty level");
    return DS_OK;
}

// Where {name} stands at the same level in both, two names differ there. Where it stands earlier in a than in b, a
// device could be called like b's level of that place: then what a gives it lies among other devices' topics of b.
static bool may_meet(const struct ds_topic *a, const struct ds_topic *b)
{
    const char *p = a->before, *q = b->before;
    while (*p && *q) {
        size_t n = level(p), m = level(q);
        if (n != m || memcmp(p, q, n) != 0)
            return false;
        p += n + 1; // before ends with a slash
        q += m + 1;
    }
    if (!*p == !*q)
        return false;
    const char *instead = *p ? p : q;
    return ds_admission_fits_a_topic((const unsigned char *)instead, level(instead));
}

enum ds_class ds_topics_parse(const char *text, ds_topics *ret, ds_err *e)
{
    ds_topics t = {0};
    char one[DS_TOPICS_TEXT];
    if (strlen(text) >= DS_TOPICS_TEXT)
        return ds_fail(e, DS_USAGE, "topics: the list is longer than %d characters", DS_TOPICS_TEXT - 1);
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");
        memcpy(one, p, len);
        one[len] = '\0';
        if (t.count == DS_TOPICS_MAX)
            return ds_fail(e, DS_USAGE, "topics: more than %d patterns", DS_TOPICS_MAX);
        enum ds_class rc = parse_one(one, &t.pattern[t.count], e);
        if (rc)
            return rc;
        for (unsigned i = 0; i < t.count; i++)
            if (may_meet(&t.pattern[i], &t.pattern[t.count]))
                return bad(e, one, "beside another pattern it would give a device of some name another's topics");
        t.count++;
        p += len;
        if (!*p)
            break;
    }
    *ret = t;
    return DS_OK;
}

bool ds_topics_own(const ds_topics *t, const char *name, const char *topic)
{
    size_t len = strlen(name);
    for (unsigned i = 0; len && i < t->count; i++) {
        const struct ds_topic *p = &t->pattern[i];
        const char *rest = topic + strlen(p->before);
        if (!begins(topic, p->before) || strncmp(rest, name, len) != 0)
            continue;
        rest += len;
        if (p->all_below ? begins(rest, p->after) : strcmp(rest, p->after) == 0)
            return true;
    }
    return false;
}

bool ds_topics_any(const ds_topics *t, const char *topic)
{
    for (unsigned i = 0; i < t->count; i++)
        if (begins(topic, t->pattern[i].before))
            return true;
    return false;
}
