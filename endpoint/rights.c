// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Topic rights; see rights.h.
#include "endpoint/rights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char service_mark[] = "svc/";

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

void ds_rights_user(const ds_rights_who *who, char ret[DS_RIGHTS_USER_MAX])
{
    snprintf(ret, DS_RIGHTS_USER_MAX, "%s%u/%s", who->service ? service_mark : "", who->ca, who->name);
}

bool ds_rights_read(const char *user, ds_rights_who *ret)
{
    if (!user)
        return false;
    bool service = begins(user, service_mark);
    const char *number = service ? user + sizeof service_mark - 1 : user;
    char *end = NULL;
    unsigned long ca = strtoul(number, &end, 10);
    if (end == number || *end != '/' || !end[1] || ca == 0)
        return false;
    *ret = (ds_rights_who){.ca = (unsigned)ca, .service = service, .name = end + 1};
    return true;
}

// A filter with wildcards begins with what is allowed too, so what it selects lies below it; delivery is checked once
// more.
bool ds_rights_allow(const ds_topics *topics, const ds_rights_who *who, const char *topic, enum ds_rights_act act)
{
    if (!topic)
        return false;
    if (act == DS_RIGHTS_UNSUBSCRIBE)
        return true;
    if (!who->service)
        return ds_topics_own(topics, who->name, topic);
    return ds_topics_any(topics, topic) || (act == DS_RIGHTS_READ && begins(topic, "$aws/events/"));
}
