// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Where credentials and the region come from, in the order every AWS tool has: environment, profile files, the
// container's credential service, the instance's metadata service (version 2 alone). A profile that is named goes
// before the environment. Source: AWS SDKs and Tools Reference Guide, "Standardized credential providers"; Amazon ECS
// and EC2 user guides for the two services.
#ifndef DS_AWS_KEYS_H
#define DS_AWS_KEYS_H

#include "src/cloud/aws/http.h"

// profile: NULL where none was named on the command line. DS_INPUT: nowhere any, or a file that cannot be read, or a
// profile that wants a way to log in that is not known here (single sign-on, a role to assume, a program to run).
// Blocks for at most a few seconds. May be called again where the ones before have expired.
enum ds_class ds_aws_keys_find(ds_aws_http *h, const char *profile, ds_aws_keys *ret, ds_err *e) DS_MUST;

enum { DS_AWS_REGION = 32 };
// option, else AWS_REGION, AWS_DEFAULT_REGION, else the profile's. DS_USAGE: nowhere one; DS_INPUT: no region's name.
enum ds_class ds_aws_region_find(const char *option, const char *profile, char ret[DS_AWS_REGION], ds_err *e) DS_MUST;

// Parts of the above, for each other and for tests.

// The value of name in the section of an INI file, without spaces around it: a pointer into text, *ret_len bytes; NULL
// where it is not there. A later one counts over an earlier one.
const char *ds_aws_ini_find(ds_view text, const char *section, const char *name, size_t *ret_len);

// From ~/.aws/credentials and ~/.aws/config. *found false: neither has keys for the profile.
enum ds_class ds_aws_keys_profile(const char *profile, ds_aws_keys *ret, bool *found, ds_err *e) DS_MUST;
enum ds_class ds_aws_profile_region(const char *profile, char ret[DS_AWS_REGION], bool *found, ds_err *e) DS_MUST;
// The profile's name where none was given: AWS_PROFILE or "default".
const char *ds_aws_profile_name(const char *given);

enum ds_class ds_aws_keys_container(ds_aws_http *h, ds_aws_keys *ret, bool *found, ds_err *e) DS_MUST;
enum ds_class ds_aws_keys_instance(ds_aws_http *h, ds_aws_keys *ret, bool *found, ds_err *e) DS_MUST;

// A copy with a terminating zero, which counts. DS_INPUT: nothing, or not what a key or token is made of.
enum ds_class ds_aws_key_text(const char *what, const char *from, size_t len, ds_secret *ret, ds_err *e) DS_MUST;

#endif
