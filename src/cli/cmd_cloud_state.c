// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud aws activate, deactivate, revoke, delete: of devices by name, of those signed in a span of time, of
// those the ledger revoked, or of all of a CA.
#include "src/cli/cloud_args.h"
#include "src/cli/cmd_cloud.h"

#include "src/ledger/ledger.h"

#include <string.h>

#define USAGE(verb, what)                                                                                         \
    "usage: devstamp cloud aws " verb " --ledger FILE SERIAL|MAC...\n"                                            \
    "       devstamp cloud aws " verb " --ledger FILE --from TIME [--to TIME]\n"                                  \
    "       devstamp cloud aws " verb " --ledger FILE --revoked\n"                                                \
    "       devstamp cloud aws " verb " --ca-id ID | --dir DIR | --certificate FILE\n"                            \
    "\n" what "What is not in the cloud is told, and no failure. The ledger is only read.\n"                      \
    "\n"                                                                                                          \
    "  --ledger FILE       the record: devices by serial number or address, or\n"                                 \
    "  --from, --to TIME   those whose certificate was signed from then on and before then (2026-01-31T14:00Z)\n" \
    "  --revoked           those the ledger revoked\n"                                                            \
    "  --ca-id ID, --dir DIR (DIR/subca.pem), --certificate FILE  all devices of this CA that the cloud has\n"    \
    "  --yes               several at once are really meant\n"                                                    \
    "\n" DS_CLOUD_COMMON

static const char activate_usage[] = USAGE(
    "activate", "Lets them connect again (status ACTIVE); not what was revoked, and of a CA those alone that are\n"
                "INACTIVE.\n");
static const char deactivate_usage[] =
    USAGE("deactivate", "Keeps them out until they are activated (status INACTIVE).\n");
static const char revoke_usage[] =
    USAGE("revoke", "Keeps them out (status REVOKED). 'devstamp ledger revoke' says so to CRL and other endpoints.\n");
static const char delete_usage[] =
    USAGE("delete", "Takes them from their things and policies, switches them off and removes them from the cloud.\n"
                    "A certificate that is deleted can be registered again: to keep a device out, revoke it.\n");

typedef struct one {
    uint8_t id[32];
    char device[64];
} one;

typedef struct choice {
    const char *status; // to be brought into; NULL: deleted
    ds_buf list;        // of one
    size_t left;        // of the CA's, that are so already or cannot be made so
    int64_t from_utc, to_utc;
} choice;

static bool is_activation(const choice *s)
{
    return s->status && strcmp(s->status, "ACTIVE") == 0;
}

// May it be brought there? The service takes nobody out of REVOKED, and one that waits for its first activation is let
// in by who knows it, not with all others of its CA.
static bool can_become(const choice *s, const char *now)
{
    if (!s->status)
        return true;
    if (strcmp(now, s->status) == 0 || strcmp(now, "REVOKED") == 0)
        return false;
    return !is_activation(s) || strcmp(now, "INACTIVE") == 0;
}

static void add(choice *s, const uint8_t id[32], const char *device)
{
    one o = {0};
    memcpy(o.id, id, 32);
    snprintf(o.device, sizeof o.device, "%s", device);
    ds_buf_add(&s->list, &o, sizeof o);
}

static bool add_row(void *arg, const ds_ledger_device *d, const ds_ledger_cert *c)
{
    choice *s = arg;
    if (c->revoked && is_activation(s))
        return true;
    if (c->state >= DS_LEDGER_SIGNED && c->signed_utc >= s->from_utc && c->signed_utc < s->to_utc)
        add(s, c->fingerprint, d->serial);
    return true;
}

static bool add_revoked(void *arg, const ds_ledger_revoked *c)
{
    add(arg, c->fingerprint, c->serial);
    return true;
}

static enum ds_class add_item(void *arg, const json_t *item, ds_err *e)
{
    choice *s = arg;
    const char *hex = json_string_value(json_object_get(item, "certificateId"));
    const char *now = json_string_value(json_object_get(item, "status"));
    uint8_t id[32];
    if (!hex || strlen(hex) != 64 || !ds_unhex(hex, id, 32) || !now)
        return ds_fail(e, DS_NETWORK, "the list has an entry without id or status");
    if (can_become(s, now))
        add(s, id, "");
    else
        s->left++;
    return DS_OK;
}

static enum ds_class add_device(choice *s, ds_ledger *l, const char *name, ds_err *e)
{
    ds_ledger_device d;
    ds_ledger_cert c = {0};
    enum ds_class rc = ds_ledger_find(l, name, &d, e);
    if (!rc)
        rc = ds_ledger_cert_newest(l, d.id, &c, e);
    if (!rc && c.state < DS_LEDGER_SIGNED)
        rc = ds_fail(e, DS_INPUT, "the device %s never had a certificate", name);
    if (!rc && c.revoked && is_activation(s))
        rc = ds_fail(e, DS_POLICY, "the ledger revoked the certificate of %s: it is not let in again", name);
    if (!rc)
        add(s, c.fingerprint, d.serial);
    ds_ledger_cert_free(&c);
    return rc;
}

static enum ds_class choose_from_ledger(const ds_cloud_args *o, int count, char **names, choice *s, ds_err *e)
{
    ds_ledger *l = NULL;
    s->to_utc = INT64_MAX;
    if (o->revoked && is_activation(s))
        return ds_fail(e, DS_USAGE, "what the ledger revoked is not let in again");
    enum ds_class rc = o->from ? ds_cloud_time(o->from, &s->from_utc, e) : DS_OK;
    if (!rc && o->to)
        rc = ds_cloud_time(o->to, &s->to_utc, e);
    if (!rc)
        rc = ds_ledger_open(o->ledger, true, &l, e);
    if (!rc && o->revoked)
        rc = ds_ledger_each_revoked(l, add_revoked, s, e);
    else if (!rc && o->from)
        rc = ds_ledger_each(l, add_row, s, e);
    for (int i = 0; !rc && i < count; i++)
        rc = add_device(s, l, names[i], e);
    ds_ledger_close(l);
    return rc;
}

static enum ds_class choose(const ds_cloud_args *o, int count, char **names, ds_aws *c, choice *s, ds_err *e)
{
    char ca[65];
    if (o->ledger)
        return choose_from_ledger(o, count, names, s, e);
    enum ds_class rc = ds_cloud_ca_id(o, ca, e);
    return rc ? rc : ds_aws_each_certificate(c, ca, add_item, s, e);
}

static enum ds_class apply(ds_aws *c, const one *x, const char *status, ds_err *e)
{
    char id[65];
    ds_hex(x->id, 32, id);
    enum ds_class rc = status ? ds_aws_set_certificate(c, id, status, e) : ds_aws_delete_certificate(c, id, e);
    bool gone = ds_aws_is(rc, e, DS_AWS_NOT_FOUND);
    if (rc && !gone)
        return ds_wrap(e, "certificate %s", id);
    if (!ds_aws_is_dry(c))
        printf("%s%s%s: %s\n", x->device, x->device[0] ? " " : "", id,
               gone     ? "not in the cloud"
               : status ? status
                        : "deleted");
    return DS_OK;
}

// One that is refused for itself must not keep the others in.
static enum ds_class apply_each(ds_aws *c, const choice *s, size_t *ret_failed, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (size_t off = 0; !rc && off < s->list.len; off += sizeof(one)) {
        one x;
        memcpy(&x, s->list.ptr + off, sizeof x);
        rc = apply(c, &x, s->status, e);
        if (!ds_aws_is(rc, e, DS_AWS_REFUSED_DEVICE) && !ds_aws_is(rc, e, DS_AWS_CONFLICT))
            continue;
        (void)ds_cli_fail(e);
        ++*ret_failed;
        rc = DS_OK;
    }
    return rc;
}

static enum ds_class apply_all(ds_aws *c, const choice *s, const ds_cloud_args *o, size_t *ret_failed, ds_err *e)
{
    bool of_ca = !o->ledger;
    size_t count = s->list.len / sizeof(one);
    if (count > 1 && !o->yes && !ds_aws_is_dry(c))
        return ds_hint((ds_fail(e, DS_POLICY, "this is about %zu certificates; nothing was changed", count), e),
                       "--dry-run shows them, --yes does it");
    enum ds_class rc = apply_each(c, s, ret_failed, e);
    if (!rc && s->left)
        printf("%zu are so already, or cannot be made so, and are left as they are\n", s->left);
    else if (!rc && !count)
        puts(ds_aws_is_dry(c) && of_ca ? "then one request for each certificate of that list"
                                       : "no certificate is meant by this");
    return rc;
}

static bool is_sensible(int count, const ds_cloud_args *o)
{
    bool of_ca = o->ca_id || o->dir || o->certificate;
    int ways = !!o->from + !!o->revoked + (count > 0);
    return of_ca ? !o->ledger && !ways && !o->to : o->ledger && ways == 1 && !(o->to && !o->from);
}

static int change(int argc, char **argv, const char *usage, const char *status)
{
    ds_err e = DS_ERR_INIT;
    ds_cloud_args o = {0};
    ds_aws *c = NULL;
    choice s = {.status = status};
    size_t failed = 0;
    int code = 0;
    if (!ds_cloud_args_read(argc, argv, "ledger from to revoked ca-id dir certificate yes", usage, &o, &code))
        return code;
    int count = argc - o.operands;
    if (!is_sensible(count, &o))
        return ds_cli_usage(usage, false);
    enum ds_class rc = ds_aws_open(&o.cloud, &c, &e);
    if (!rc)
        rc = choose(&o, count, argv + o.operands, c, &s, &e);
    if (!rc)
        rc = apply_all(c, &s, &o, &failed, &e);
    ds_aws_close(c);
    ds_buf_free(&s.list);
    if (rc)
        return ds_cli_fail(&e);
    return failed ? DS_EXIT_SOME_FAILED : DS_EXIT_OK;
}

int ds_cloud_cmd_activate(int argc, char **argv)
{
    return change(argc, argv, activate_usage, "ACTIVE");
}

int ds_cloud_cmd_deactivate(int argc, char **argv)
{
    return change(argc, argv, deactivate_usage, "INACTIVE");
}

int ds_cloud_cmd_revoke(int argc, char **argv)
{
    return change(argc, argv, revoke_usage, "REVOKED");
}

int ds_cloud_cmd_delete(int argc, char **argv)
{
    return change(argc, argv, delete_usage, NULL);
}
