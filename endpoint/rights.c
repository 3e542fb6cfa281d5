// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Topic rights; see rights.h.
#include "endpoint/rights.h"

#include <stdio.h>
#include <string.h>

static const char service_mark[] = "svc/";

void ds_rights_user(const char *name, bool service, char ret[DS_RIGHTS_USER_MAX])
{
    snprintf(ret, DS_RIGHTS_USER_MAX, "%s%s", service ? service_mark : "", name);
}

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
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
