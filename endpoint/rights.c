// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Topic rights; see rights.h.
#include "endpoint/rights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char service_mark[] = "svc/";

void ds_rights_user(const char *name, unsigned service_ca, char ret[DS_RIGHTS_USER_MAX])
{
    if (service_ca)
        snprintf(ret, DS_RIGHTS_USER_MAX, "%s%u/%s", service_mark, service_ca, name);
    else
        snprintf(ret, DS_RIGHTS_USER_MAX, "%s", name);
}

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

unsigned ds_rights_service_ca(const char *user)
{
    return user && begins(user, service_mark) ? (unsigned)strtoul(user + sizeof service_mark - 1, NULL, 10) : 0;
}

// A filter with wildcards begins with what is allowed too, so what it selects lies below it; delivery is checked once
// more.
bool ds_rights_allow(const ds_topics *topics, const char *user, const char *topic, enum ds_rights_act act)
{
    if (!user || !user[0] || !topic)
        return false;
    if (act == DS_RIGHTS_UNSUBSCRIBE)
        return true;
    if (!begins(user, service_mark))
        return ds_topics_own(topics, user, topic);
    return ds_topics_any(topics, topic) || (act == DS_RIGHTS_READ && begins(topic, "$aws/events/"));
}
