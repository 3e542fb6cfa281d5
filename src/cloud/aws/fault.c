// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The service's complaints in words; see fault.h.
#include "src/cloud/aws/fault.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct known {
    const char *type; // without "Exception"
    enum ds_class cls;
    enum ds_aws_fault fault;
    const char *words, *hint;
} known;

#define KEYS_HINT "see which credentials are used: the message above names where they came from"

static const known faults[] = {
    {"ResourceNotFound", DS_INPUT, DS_AWS_NOT_FOUND, "not found in this account and region",
     "check --region, --profile and the name or id"},
    {"ResourceAlreadyExists", DS_POLICY, DS_AWS_EXISTS, "exists already", "look at what is there before changing it"},
    {"RegistrationCodeValidation", DS_POLICY, DS_AWS_OTHER,
     "the verification certificate does not carry this account's registration code",
     "run it again: the code is asked for and the certificate is made anew"},
    {"CertificateValidation", DS_INPUT, DS_AWS_REFUSED_DEVICE, "the certificate is not taken",
     "devstamp ca lint says what AWS IoT does not take"},
    {"CertificateState", DS_POLICY, DS_AWS_REFUSED_DEVICE, "the certificate's or its CA's state does not allow it",
     "devstamp cloud aws ca status; an inactive CA registers nothing, an active one is not deleted"},
    {"CertificateConflict", DS_POLICY, DS_AWS_REFUSED_DEVICE,
     "the CA is registered more than once, and the service cannot tell which is meant",
     "name the CA's certificate: --with-ca"},
    {"DeleteConflict", DS_POLICY, DS_AWS_CONFLICT, "something is still attached to it", "detach it first"},
    {"TransferConflict", DS_POLICY, DS_AWS_OTHER, "it is being transferred to another account",
     "end the transfer first"},
    {"LimitExceeded", DS_POLICY, DS_AWS_OTHER, "a quota of the account is used up",
     "ask for a higher quota (AWS Service Quotas), or delete what is not used"},
    {"MalformedPolicy", DS_INPUT, DS_AWS_OTHER, "the policy document is malformed", "see its JSON and its version"},
    {"SqlParse", DS_INPUT, DS_AWS_OTHER, "the rule's SQL is not understood", ""},
    {"ConflictingResourceUpdate", DS_NETWORK, DS_AWS_PASSING, "somebody else changes it at this moment", "run again"},
    {"ResourceRegistrationFailure", DS_INPUT, DS_AWS_OTHER, "the registration failed", "see the template"},
    {"InvalidRequest", DS_INPUT, DS_AWS_OTHER, "the request is not valid", ""},
    {"InvalidParameter", DS_INPUT, DS_AWS_OTHER, "the request is not valid", ""},
    {"Throttling", DS_NETWORK, DS_AWS_THROTTLED, "too many calls in this account", "run again later, or with --rate"},
    {"TooManyRequests", DS_NETWORK, DS_AWS_THROTTLED, "too many calls in this account",
     "run again later, or with --rate"},
    {"ServiceUnavailable", DS_NETWORK, DS_AWS_PASSING, "the service is not available", "run again later"},
    {"InternalFailure", DS_NETWORK, DS_AWS_PASSING, "the service failed", "run again later"},
    {"Internal", DS_NETWORK, DS_AWS_PASSING, "the service failed", "run again later"},
    {"ExpiredToken", DS_POLICY, DS_AWS_EXPIRED, "the credentials have expired", "log in again, or get new ones"},
    {"RequestExpired", DS_POLICY, DS_AWS_OTHER, "the request came too late", "set this computer's clock"},
    {"RequestTimeTooSkewed", DS_POLICY, DS_AWS_OTHER, "the clocks differ", "set this computer's clock"},
    {"UnrecognizedClient", DS_POLICY, DS_AWS_OTHER, "the access key is not known", KEYS_HINT},
    {"InvalidClientTokenId", DS_POLICY, DS_AWS_OTHER, "the access key is not known", KEYS_HINT},
    {"InvalidSignature", DS_POLICY, DS_AWS_OTHER, "the signature is not right",
     "the secret key does not belong to the access key, or this computer's clock is wrong"},
    {"SignatureDoesNotMatch", DS_POLICY, DS_AWS_OTHER, "the signature is not right",
     "the secret key does not belong to the access key, or this computer's clock is wrong"},
    {"IncompleteSignature", DS_POLICY, DS_AWS_OTHER, "the signature is not complete", KEYS_HINT},
    {"MissingAuthenticationToken", DS_POLICY, DS_AWS_OTHER, "the request was not signed", KEYS_HINT},
    {"AccessDenied", DS_POLICY, DS_AWS_OTHER, "these credentials may not do this",
     "docs/aws.md lists the permissions each verb needs"},
    {"Unauthorized", DS_POLICY, DS_AWS_OTHER, "these credentials may not do this",
     "docs/aws.md lists the permissions each verb needs"},
    {"Forbidden", DS_POLICY, DS_AWS_OTHER, "these credentials may not do this",
     "docs/aws.md lists the permissions each verb needs"},
};

// "ThrottlingException", "iot#InternalFailure": what is between.
static void bare_type(const char *from, char *ret, size_t cap)
{
    const char *mark = strchr(from, '#');
    snprintf(ret, cap, "%s", mark ? mark + 1 : from);
    char *end = strstr(ret, "Exception");
    if (end && end != ret)
        *end = '\0';
    if ((end = strchr(ret, ':')))
        *end = '\0';
}

static void read_body(const ds_aws_answer *a, char type[96], char message[240])
{
    json_t *j = a->body.len ? json_loadb((const char *)a->body.ptr, a->body.len, 0, NULL) : NULL;
    const char *t = json_string_value(json_object_get(j, "__type"));
    const char *m = json_string_value(json_object_get(j, "message"));
    if (!t)
        t = json_string_value(json_object_get(j, "code"));
    if (!m)
        m = json_string_value(json_object_get(j, "Message"));
    bare_type(a->error_type[0] ? a->error_type : t ? t : "", type, 96);
    snprintf(message, 240, "%s", m ? m : "");
    json_decref(j);
}

static const known *find(const char *type)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        if (strcmp(faults[i].type, type) == 0)
            return &faults[i];
    return NULL;
}

static enum ds_aws_fault by_status(long status, enum ds_class *ret_class)
{
    *ret_class = status == 401 || status == 403 ? DS_POLICY : status < 500 && status != 429 ? DS_INPUT : DS_NETWORK;
    return status == 429 ? DS_AWS_THROTTLED : status >= 500 ? DS_AWS_PASSING : DS_AWS_OTHER;
}

enum ds_class ds_aws_explain(const ds_aws_answer *a, ds_err *e)
{
    char type[96], message[240];
    read_body(a, type, message);
    const known *k = find(type);
    enum ds_class cls = DS_NETWORK;
    enum ds_aws_fault fault = by_status(a->status, &cls);
    if (k) {
        cls = k->cls;
        fault = k->fault;
    }
    if (strstr(message, "scoped to correct service"))
        fault = DS_AWS_OTHER_SCOPE;
    ds_fail(e, cls, "%s%s%s (%s%sHTTP status %ld)", k ? k->words : "the service refuses", message[0] ? ": " : "",
            message, type, type[0] ? ", " : "", a->status);
    if (k && k->hint[0])
        (void)ds_hint(e, "%s", k->hint);
    if (e)
        e->code = (uint32_t)fault;
    return cls;
}
