// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Options of devstamp cloud; see cloud_args.h.
#include "src/cli/cloud_args.h"

#include "src/base/file.h"
#include "src/base/log.h"
#include "src/pki/cert.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TEXT_MAX = 65536, TEXTS = 1000, FLAGS = 2000 }; // getopt's values begin there

#define AT(member) offsetof(ds_cloud_args, member)
static const struct {
    const char *name;
    size_t at;
} texts[] =
    {
        {"output", AT(output)}, // first, for -o
        {"region", AT(cloud.region)},
        {"profile", AT(cloud.profile)},
        {"endpoint-url", AT(cloud.endpoint_url)},
        {"ca-file", AT(cloud.ca_file)},
        {"rate", AT(rate)},
        {"tries", AT(tries)},
        {"dir", AT(dir)},
        {"certificate", AT(certificate)},
        {"sub-key", AT(sub_key)},
        {"subject", AT(subject)},
        {"module", AT(access.module)},
        {"pin-file", AT(access.pin_file)},
        {"pin-fd", AT(pin_fd)},
        {"template-name", AT(template_name)},
        {"template", AT(template_file)},
        {"role-arn", AT(role_arn)},
        {"ca-id", AT(ca_id)},
        {"recipe", AT(recipe)},
        {"ledger", AT(ledger)},
        {"with-ca", AT(with_ca)},
        {"policy", AT(policy)},
        {"from", AT(from)},
        {"to", AT(to)},
        {"name", AT(name)},
        {"document", AT(document)},
        {"lambda-arn", AT(lambda_arn)},
        {"bucket", AT(bucket)},
        {"key", AT(key)},
        {"account", AT(account)},
        {"task", AT(task)},
        {"jobs", AT(jobs)},
},
  flags[] = {
      {"dry-run", AT(dry_run)},   {"sni-only", AT(sni_only)},
      {"inactive", AT(inactive)}, {"auto-registration", AT(auto_registration)},
      {"things", AT(things)},     {"all", AT(all)},
      {"json", AT(json)},         {"jitr", AT(jitr)},
      {"update", AT(update)},     {"revoked", AT(revoked)},
      {"yes", AT(yes)},
};
enum { TEXT_COUNT = sizeof texts / sizeof *texts, FLAG_COUNT = sizeof flags / sizeof *flags };

static void fill_options(struct option o[TEXT_COUNT + FLAG_COUNT + 2])
{
    size_t n = 0;
    for (int i = 0; i < TEXT_COUNT; i++)
        o[n++] = (struct option){texts[i].name, required_argument, NULL, TEXTS + i};
    for (int i = 0; i < FLAG_COUNT; i++)
        o[n++] = (struct option){flags[i].name, no_argument, NULL, FLAGS + i};
    o[n++] = (struct option){"help", no_argument, NULL, 'h'};
    o[n] = (struct option){0};
}

static bool is_in(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = list; (p = strstr(p, name)); p += len)
        if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
            return true;
    return false;
}

static bool take(ds_cloud_args *o, const char *allowed, int id, const char *value)
{
    static const char common[] = "region profile endpoint-url ca-file rate tries dry-run";
    bool flag = id >= FLAGS;
    const char *name = flag ? flags[id - FLAGS].name : texts[id - TEXTS].name;
    if (!is_in(common, name) && !is_in(allowed, name)) {
        fprintf(stderr, "devstamp: --%s is no option here\n\n", name);
        return false;
    }
    if (flag)
        *((bool *)(void *)((char *)o + flags[id - FLAGS].at)) = true;
    else
        memcpy((char *)o + texts[id - TEXTS].at, &value, sizeof value);
    return true;
}

static bool number(const char *text, long max, long *ret)
{
    char *end = NULL;
    errno = 0;
    *ret = strtol(text, &end, 10);
    return !errno && end != text && !*end && *ret >= 0 && *ret <= max;
}

// What options say together.
static bool conclude(ds_cloud_args *o)
{
    long n = 0;
    if (o->rate && (!number(o->rate, 1000, &n) || n < 1))
        return false;
    o->cloud.per_second = o->rate ? (unsigned)n : 0;
    if (o->tries && (!number(o->tries, 100, &n) || n < 1))
        return false;
    o->cloud.tries = o->tries ? (unsigned)n : 0;
    if (o->jobs && (!number(o->jobs, 16, &n) || n < 1))
        return false;
    o->job_count = o->jobs ? (unsigned)n : 1;
    o->cloud.dry_run = o->dry_run ? stdout : NULL;
    if (o->access.pin_file && o->pin_fd)
        return false;
    if (o->access.pin_file)
        o->access.pin = DS_PIN_FILE;
    if (o->pin_fd) {
        if (!number(o->pin_fd, 65535, &n))
            return false;
        o->access.pin = DS_PIN_FD;
        o->access.pin_fd = (int)n;
    }
    if (o->sub_key && strncmp(o->sub_key, "pkcs11:", 7) == 0 && o->access.pin == DS_PIN_NONE)
        o->access.pin = DS_PIN_PROMPT;
    return true;
}

bool ds_cloud_args_read(int argc, char **argv, const char *allowed, const char *usage, ds_cloud_args *o, int *ret_exit)
{
    struct option known[TEXT_COUNT + FLAG_COUNT + 2];
    int id;
    fill_options(known);
    optind = 1;
    while ((id = getopt_long(argc, argv, "ho:", known, NULL)) != -1) {
        if (id == 'h' || id == '?' || !take(o, allowed, id == 'o' ? TEXTS : id, optarg)) {
            *ret_exit = ds_cli_usage(usage, id == 'h');
            return false;
        }
    }
    o->operands = optind;
    if (conclude(o))
        return true;
    *ret_exit = ds_cli_usage(usage, false);
    return false;
}

enum ds_class ds_cloud_ca_id(const ds_cloud_args *o, char ret[65], ds_err *e)
{
    DS_CLEANUP_FREE char *path = o->dir ? ds_asprintf("%s/subca.pem", o->dir) : NULL;
    DS_CLEANUP_X509 X509 *ca = NULL;
    ds_cert_info info;
    uint8_t id[32];
    if (!!o->ca_id + !!o->dir + !!o->certificate != 1)
        return ds_fail(e, DS_USAGE, "name one CA: --ca-id, --dir or --certificate");
    if (o->ca_id) {
        if (strlen(o->ca_id) != 64 || !ds_unhex(o->ca_id, id, 32))
            return ds_fail(e, DS_USAGE, "--ca-id is 64 hex digits, the SHA-256 of the CA's certificate");
        ds_hex(id, 32, ret);
        return DS_OK;
    }
    enum ds_class rc = ds_cert_read(path ? path : o->certificate, &ca, e);
    if (!rc)
        rc = ds_cert_describe(ca, &info, e);
    if (!rc && !info.ca)
        rc = ds_fail(e, DS_INPUT, "%s is no CA's certificate", path ? path : o->certificate);
    if (!rc)
        ds_hex(info.fingerprint, 32, ret);
    return rc;
}

enum ds_class ds_cloud_time(const char *text, int64_t *ret, ds_err *e)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);
        if (end && !*end) {
            *ret = (int64_t)timegm(&tm);
            return DS_OK;
        }
    }
    return ds_fail(e, DS_USAGE, "'%s' is no time: 2026-01-31T14:00:00Z or 2026-01-31", text);
}

char *ds_cloud_clean(const char *text)
{
    char *copy = ds_strdup(text);
    ds_log_clean(copy);
    return copy;
}

enum ds_class ds_cloud_text(const char *path, ds_buf *ret, ds_err *e)
{
    enum ds_class rc = ds_file_read(path, TEXT_MAX, ret, e);
    if (!rc && memchr(ret->ptr ? ret->ptr : (const uint8_t *)"", 0, ret->len))
        rc = ds_fail(e, DS_INPUT, "%s is no text", path);
    if (!rc)
        ds_buf_add_u8(ret, 0);
    return rc;
}
