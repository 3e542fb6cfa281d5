// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Limits and back-off; see limit.h.
#include "src/cloud/aws/limit.h"

#include <stddef.h>
#include <string.h>

enum { OTHER = 10, BASE_MS = 500, CAP_MS = 20000, TOLD_MAX_S = 60 };

static const struct {
    const char *action;
    unsigned per_second;
} rates[] = {
    {"AttachPolicy", 15},
    {"AttachThingPrincipal", 15},
    {"CreatePolicy", 10},
    {"CreateThing", 15},
    {"CreateTopicRule", 5},
    {"DeleteCertificate", 10},
    {"DescribeCACertificate", 10},
    {"DescribeCertificate", 10},
    {"DescribeEndpoint", 10},
    {"DescribeThingRegistrationTask", 10},
    {"DetachPolicy", 15},
    {"DetachThingPrincipal", 15},
    {"GetPolicy", 10},
    {"GetRegistrationCode", 10},
    {"GetTopicRule", 20},
    {"ListAttachedPolicies", 15},
    {"ListCACertificates", 10},
    {"ListCertificates", 10},
    {"ListCertificatesByCA", 10},
    {"ListPrincipalThings", 10},
    {"ListThingRegistrationTasks", 10},
    {"RegisterCACertificate", 10},
    {"RegisterCertificate", 10},
    {"RegisterCertificateWithoutCA", 10},
    {"StartThingRegistrationTask", 5},
    {"UpdateCACertificate", 10},
    {"UpdateCertificate", 10},
};
enum { RATES = sizeof rates / sizeof *rates };
_Static_assert((int)RATES < (int)DS_AWS_ACTIONS, "each action has its place, and the others share one");

static size_t place_of(const char *action)
{
    size_t i = 0;
    while (i < RATES && strcmp(rates[i].action, action) != 0)
        i++;
    return i;
}

unsigned ds_aws_rate(const char *action)
{
    size_t i = place_of(action);
    return i < RATES ? rates[i].per_second : OTHER;
}

int64_t ds_aws_limit(ds_aws_limiter *l, const char *action, int64_t now_ms)
{
    int64_t *next = &l->next_ms[place_of(action)];
    unsigned rate = l->per_second ? l->per_second : ds_aws_rate(action);
    int64_t at = *next > now_ms ? *next : now_ms;
    *next = at + (1000 + rate - 1) / rate;
    return at - now_ms;
}

int64_t ds_aws_back_off(unsigned attempt, long told_s, uint32_t random)
{
    int64_t span = attempt < 6 ? INT64_C(1) * BASE_MS << attempt : CAP_MS;
    int64_t told = told_s > TOLD_MAX_S ? TOLD_MAX_S : told_s;
    span = span > CAP_MS ? CAP_MS : span;
    int64_t wait = span / 2 + (int64_t)(random % (uint32_t)(span / 2 + 1));
    return wait < told * 1000 ? told * 1000 : wait;
}
