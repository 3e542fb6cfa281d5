// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Profile files; see keys.h. Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files".
#include "src/cloud/aws/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX_LEN = 1 << 20 };

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void trim(const char **from, const char **to)
{
    while (*from < *to && is_space(**from))
        (*from)++;
    while (*from < *to && is_space((*to)[-1]))
        (*to)--;
}

static bool is(const char *from, const char *to, const char *text)
{
    return (size_t)(to - from) == strlen(text) && memcmp(from, text, strlen(text)) == 0;
}

// "[profile x]" is the section "profile x", with any spaces between.
static bool is_section(const char *from, const char *to, const char *section)
{
    static const char word[] = "profile ";
    size_t n = sizeof word - 1;
    trim(&from, &to);
    if (strncmp(section, word, n) != 0)
        return is(from, to, section);
    if ((size_t)(to - from) < n || memcmp(from, "profile", n - 1) != 0 || !is_space(from[n - 1]))
        return false;
    from += n;
    trim(&from, &to);
    return is(from, to, section + n);
}

// A value of the line "name = value"; false where the line says something else.
static bool value_of(const char *from, const char *to, const char *name, const char **ret, size_t *ret_len)
{
    const char *equals = memchr(from, '=', (size_t)(to - from));
    if (!equals || is_space(*from)) // an indented line belongs to the value before it
        return false;
    const char *name_end = equals, *value = equals + 1;
    trim(&from, &name_end);
    trim(&value, &to);
    if (!is(from, name_end, name))
        return false;
    *ret = value;
    *ret_len = (size_t)(to - value);
    return true;
}

const char *ds_aws_ini_find(ds_view text, const char *section, const char *name, size_t *ret_len)
{
    const char *at = (const char *)text.ptr, *all_end = at + text.len, *found = NULL;
    bool inside = false;
    while (at && at < all_end) {
        const char *newline = memchr(at, '\n', (size_t)(all_end - at)), *end = newline ? newline : all_end;
        if (*at == '[') {
            const char *close = memchr(at, ']', (size_t)(end - at));
            inside = close && is_section(at + 1, close, section);
        } else if (inside && end > at && *at != '#' && *at != ';') {
            (void)value_of(at, end, name, &found, ret_len);
        }
        at = newline ? newline + 1 : all_end;
    }
    return found;
}

const char *ds_aws_profile_name(const char *given)
{
    const char *named = given ? given : getenv("AWS_PROFILE");
    return named && named[0] ? named : "default";
}

static char *path_of(const char *variable, const char *name)
{
    const char *path = getenv(variable), *home = getenv("HOME");
    if (path && path[0])
        return ds_strdup(path);
    return home && home[0] ? ds_asprintf("%s/.aws/%s", home, name) : NULL;
}

// Nothing where the file is not there, or is empty.
static enum ds_class read_file(const char *path, ds_secret *ret, ds_err *e)
{
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (!path || (fd < 0 && (errno == ENOENT || errno == ENOTDIR)))
        return DS_OK;
    if (fd < 0)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", path);
    enum ds_class rc = DS_OK;
    if (lseek(fd, 0, SEEK_END) != 0 && lseek(fd, 0, SEEK_SET) == 0)
        rc = ds_secret_read_all(fd, FILE_MAX_LEN, ret, e);
    close(fd);
    return rc ? ds_wrap(e, "%s", path) : DS_OK;
}

typedef struct files {
    char *path[2];     // credentials, config
    ds_secret text[2]; // guarded: it holds keys
    char *section[2];
} files;

static enum ds_class open_files(const char *profile, files *f, ds_err *e)
{
    f->path[0] = path_of("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    f->path[1] = path_of("AWS_CONFIG_FILE", "config");
    f->section[0] = ds_strdup(profile);
    f->section[1] = strcmp(profile, "default") == 0 ? ds_strdup(profile) : ds_asprintf("profile %s", profile);
    enum ds_class rc = read_file(f->path[0], &f->text[0], e);
    return rc ? rc : read_file(f->path[1], &f->text[1], e);
}

static void close_files(files *f)
{
    for (int i = 0; i < 2; i++) {
        ds_secret_free(&f->text[i]);
        free(f->path[i]);
        free(f->section[i]);
    }
}

static const char *look_up(const files *f, int which, const char *name, size_t *len)
{
    return ds_aws_ini_find((ds_view){f->text[which].ptr, f->text[which].len}, f->section[which], name, len);
}

static enum ds_class refuse_other_ways(const files *f, const char *profile, ds_err *e)
{
    static const char *const ways[] = {"role_arn", "sso_session", "sso_start_url", "credential_process",
                                       "web_identity_token_file"};
    size_t len;
    for (int which = 0; which < 2; which++)
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
            if (look_up(f, which, ways[i], &len))
                return ds_hint(
                    (ds_fail(e, DS_INPUT, "the profile '%s' logs in by %s, which devstamp does not", profile, ways[i]),
                     e),
                    "let the AWS command line log in and hand over keys: aws configure export-credentials");
    return DS_OK;
}

static enum ds_class take_keys(const files *f, int which, ds_aws_keys *ret, bool *found, ds_err *e)
{
    size_t id_len = 0, secret_len = 0, token_len = 0;
    const char *id = look_up(f, which, "aws_access_key_id", &id_len);
    const char *secret = look_up(f, which, "aws_secret_access_key", &secret_len);
    const char *token = look_up(f, which, "aws_session_token", &token_len);
    if (!id && !secret)
        return DS_OK;
    *found = true;
    snprintf(ret->source, sizeof ret->source, "%.120s", f->path[which]);
    if (!id || !secret)
        return ds_fail(e, DS_INPUT, "%s: the profile has half a key", f->path[which]);
    enum ds_class rc = ds_aws_key_text("aws_access_key_id", id, id_len, &ret->id, e);
    if (!rc)
        rc = ds_aws_key_text("aws_secret_access_key", secret, secret_len, &ret->secret, e);
    if (!rc && token && token_len)
        rc = ds_aws_key_text("aws_session_token", token, token_len, &ret->token, e);
    return rc ? ds_wrap(e, "%s", f->path[which]) : DS_OK;
}

enum ds_class ds_aws_keys_profile(const char *profile, ds_aws_keys *ret, bool *found, ds_err *e)
{
    files f = {0};
    *found = false;
    enum ds_class rc = open_files(profile, &f, e);
    for (int which = 0; !rc && !*found && which < 2; which++)
        rc = take_keys(&f, which, ret, found, e);
    if (!rc && !*found)
        rc = refuse_other_ways(&f, profile, e);
    close_files(&f);
    return rc;
}

enum ds_class ds_aws_profile_region(const char *profile, char ret[DS_AWS_REGION], bool *found, ds_err *e)
{
    files f = {0};
    size_t len = 0;
    *found = false;
    enum ds_class rc = open_files(profile, &f, e);
    const char *region = rc ? NULL : look_up(&f, 1, "region", &len);
    if (!rc && !region)
        region = look_up(&f, 0, "region", &len);
    if (region && len < DS_AWS_REGION) {
        memcpy(ret, region, len);
        ret[len] = '\0';
        *found = true;
    }
    close_files(&f);
    return rc;
}
