// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The chain of credentials; see keys.h.
#include "src/cloud/aws/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 16384 };

static const char *from_env(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] ? v : NULL;
}

enum ds_class ds_aws_key_text(const char *what, const char *from, size_t len, ds_secret *ret, ds_err *e)
{
    if (len == 0 || len > KEY_MAX)
        return ds_fail(e, DS_INPUT, "%s is empty or too long", what);
    for (size_t i = 0; i < len; i++) // it becomes part of a header
        if (from[i] <= ' ' || from[i] > '~')
            return ds_fail(e, DS_INPUT, "%s has characters that no key has", what);
    enum ds_class rc = ds_secret_new(ret, len + 1, e);
    if (!rc)
        memcpy(ret->ptr, from, len);
    return rc;
}

static enum ds_class from_environment(ds_aws_keys *ret, bool *found, ds_err *e)
{
    const char *id = from_env("AWS_ACCESS_KEY_ID"), *secret = from_env("AWS_SECRET_ACCESS_KEY");
    const char *token = from_env("AWS_SESSION_TOKEN");
    *found = id || secret;
    if (!*found)
        return DS_OK;
    if (!id || !secret)
        return ds_fail(e, DS_INPUT, "%s is not set, the other half is",
                       id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
    snprintf(ret->source, sizeof ret->source, "environment");
    enum ds_class rc = ds_aws_key_text("AWS_ACCESS_KEY_ID", id, strlen(id), &ret->id, e);
    if (!rc)
        rc = ds_aws_key_text("AWS_SECRET_ACCESS_KEY", secret, strlen(secret), &ret->secret, e);
    if (!rc && token)
        rc = ds_aws_key_text("AWS_SESSION_TOKEN", token, strlen(token), &ret->token, e);
    return rc;
}

static enum ds_class look_around(ds_aws_http *h, const char *profile, ds_aws_keys *ret, bool *found, ds_err *e)
{
    *found = false;
    enum ds_class rc = profile ? DS_OK : from_environment(ret, found, e);
    if (!rc && !*found)
        rc = ds_aws_keys_profile(ds_aws_profile_name(profile), ret, found, e);
    if (!rc && !*found && profile)
        return ds_hint((ds_fail(e, DS_INPUT, "there is no profile '%s' with keys", profile), e),
                       "see ~/.aws/credentials and ~/.aws/config");
    if (!rc && !*found)
        rc = ds_aws_keys_container(h, ret, found, e);
    if (!rc && !*found)
        rc = ds_aws_keys_instance(h, ret, found, e);
    return rc;
}

enum ds_class ds_aws_keys_find(ds_aws_http *h, const char *profile, ds_aws_keys *ret, ds_err *e)
{
    ds_aws_keys k = {0};
    bool found = false;
    enum ds_class rc = look_around(h, profile, &k, &found, e);
    if (!rc && !found)
        rc = ds_hint((ds_fail(e, DS_INPUT, "there are no AWS credentials"), e),
                     "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a --profile of ~/.aws/credentials");
    if (rc) {
        ds_aws_keys_free(&k);
        return ds_wrap(e, "credentials");
    }
    *ret = k;
    return DS_OK;
}

static bool is_region(const char *r)
{
    size_t len = strlen(r);
    return len > 0 && len < DS_AWS_REGION && strspn(r, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

enum ds_class ds_aws_region_find(const char *option, const char *profile, char ret[DS_AWS_REGION], ds_err *e)
{
    const char *named = option ? option : from_env("AWS_REGION");
    bool found = false;
    named = named ? named : from_env("AWS_DEFAULT_REGION");
    if (!named) {
        enum ds_class rc = ds_aws_profile_region(ds_aws_profile_name(profile), ret, &found, e);
        if (rc)
            return rc;
        if (!found)
            return ds_hint((ds_fail(e, DS_USAGE, "no region is named"), e), "give --region, or set AWS_REGION");
        named = ret;
    }
    if (!is_region(named))
        return ds_fail(e, DS_INPUT, "'%s' is no region's name", named);
    if (named != ret)
        snprintf(ret, DS_AWS_REGION, "%s", named);
    return DS_OK;
}
