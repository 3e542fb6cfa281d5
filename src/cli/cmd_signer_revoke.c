// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp signer status, revoke: what people ask of a signer. Neither wants a PIN: a signer elsewhere knows the
// station by its certificate, and a revocation takes no key.
#include "src/cli/cmd_signer.h"
#include "src/cli/cli.h"

#include "src/base/clock.h"
#include "src/cli/signer_access.h"
#include "src/pki/cert.h"
#include "src/pki/crl.h"
#include "src/signer/revoked.h"

#include <stdio.h>
#include <string.h>

static const char status_usage[] =
    "usage: devstamp signer status --station FILE\n\n"
    "Asks the signer that a station file names by its address: what it signs as, its log, what this station's quota "
    "leaves.\n\n"
    "  --station FILE     the station file\n";

static const char revoke_usage[] =
    "usage: devstamp signer revoke --station FILE --serial HEX|--certificate FILE [--reason REASON]\n\n"
    "Records with the signer, for good, that a certificate of its issuance log is revoked. It is never handed out "
    "again,\n"
    "and 'devstamp ca crl --revoked LOG.revoked' on the signer's computer puts it on the next CRL.\n\n"
    "  --station FILE      the station file: with a signer elsewhere (which must allow it), or one on this computer "
    "(which\n"
    "                      must not run meanwhile)\n"
    "  --serial HEX        the certificate's serial number, 32 digits\n"
    "  --certificate FILE  the certificate, PEM or DER\n"
    "  --reason REASON     keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn or\n"
    "                      unspecified (the default)\n";

typedef struct options {
    const char *station, *serial, *certificate, *reason;
} options;

// 0: go on; else the exit code + 1.
static int parse(int argc, char **argv, const char *usage, options *o)
{
    static const struct option known[] = {
        {"station", required_argument, NULL, 's'},
        {"serial", required_argument, NULL, 'S'},
        {"certificate", required_argument, NULL, 'c'},
        {"reason", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    *o = (options){0};
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        if (c == 's')
            o->station = optarg;
        else if (c == 'S')
            o->serial = optarg;
        else if (c == 'c')
            o->certificate = optarg;
        else if (c == 'r')
            o->reason = optarg;
        else
            return ds_cli_usage(usage, c == 'h') + 1;
    }
    return optind == argc && o->station ? 0 : ds_cli_usage(usage, false) + 1;
}

static enum ds_class open_remote(const ds_station *station, ds_signer **ret, ds_err *e)
{
    const ds_signer_access none = DS_SIGNER_ACCESS_INIT;
    ds_signer_config c = ds_signer_access_config(&none, station, NULL, 0);
    c.wait_ms = 0;
    return ds_signer_start(&c, ret, e);
}

static void print_status(const ds_signer_status *s)
{
    char hex[65];
    ds_hex(s->ca_fingerprint, 32, hex);
    printf("signs as  %s\nsha256    %s\n", s->ca_subject, hex);
    if (s->est) {
        puts("est       its log, quota and serial numbers are its own");
        return;
    }
    ds_hex(s->log_root, 32, hex);
    printf("log       %llu entries, root %s\n", (unsigned long long)s->log_entries, hex);
    if (s->wants_touch)
        puts("token     is to be touched for each signature");
    for (size_t i = 0; i < s->quota_count; i++)
        printf("quota     %s: %llu of %llu certificates left\n", s->quota[i].recipe,
               (unsigned long long)s->quota[i].left, (unsigned long long)s->quota[i].certificates);
}

int ds_cmd_signer_status(int argc, char **argv)
{
    options o;
    ds_err e = DS_ERR_INIT;
    ds_station *station = NULL;
    ds_signer *signer = NULL;
    int end = parse(argc, argv, status_usage, &o);
    if (end)
        return end - 1;
    if (o.serial || o.certificate || o.reason)
        return ds_cli_usage(status_usage, false);
    enum ds_class rc = ds_station_load_signer(o.station, &station, &e);
    if (!rc && !station->remote.address && !station->est.url)
        rc = ds_hint((ds_fail(&e, DS_USAGE, "%s: its signer is on this computer", o.station), &e),
                     "devstamp log head shows its log");
    if (!rc)
        rc = open_remote(station, &signer, &e);
    if (!rc)
        print_status(ds_signer_get_status(signer));
    ds_signer_stop(signer);
    ds_station_free(station);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static enum ds_class find_serial(const options *o, uint8_t ret[16], ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    ds_cert_info info;
    if (o->serial)
        return ds_unhex(o->serial, ret, 16) ? DS_OK : ds_fail(e, DS_USAGE, "--serial takes 32 hexadecimal digits");
    enum ds_class rc = ds_cert_read(o->certificate, &cert, e);
    if (!rc)
        rc = ds_cert_describe(cert, &info, e);
    if (!rc && info.serial_len > 16)
        rc = ds_fail(e, DS_INPUT, "%s: its serial number is none of a signer's", o->certificate);
    if (rc)
        return rc;
    memset(ret, 0, 16);
    memcpy(ret + 16 - info.serial_len, info.serial, info.serial_len);
    return DS_OK;
}

static enum ds_class revoke(const ds_station *station, const uint8_t serial[16], int reason, ds_signer_revocation *ret,
                            ds_err *e)
{
    ds_signer *signer = NULL;
    if (station->est.url)
        return ds_hint((ds_fail(e, DS_USAGE, "EST has no word for revoking"), e),
                       "have the server's CA revoke it, and here: devstamp ledger revoke");
    if (station->remote.address) {
        enum ds_class rc = open_remote(station, &signer, e);
        if (!rc)
            rc = ds_signer_revoke(signer, serial, reason, ret, e);
        ds_signer_stop(signer);
        return rc;
    }
    ds_revocation r;
    bool before = false;
    enum ds_class rc =
        ds_revoke_here(station->signer_certificate, station->signer_log, serial, reason, station->name, &r, &before, e);
    if (!rc)
        *ret = (ds_signer_revocation){r.revoked_utc, r.reason, before};
    return rc;
}

int ds_cmd_signer_revoke(int argc, char **argv)
{
    options o;
    ds_err e = DS_ERR_INIT;
    ds_station *station = NULL;
    ds_signer_revocation r = {0};
    uint8_t serial[16];
    int end = parse(argc, argv, revoke_usage, &o);
    if (end)
        return end - 1;
    int reason = o.reason ? ds_crl_reason_parse(o.reason, strlen(o.reason)) : 0;
    if ((o.serial != NULL) + (o.certificate != NULL) != 1 || reason < 0)
        return ds_cli_usage(revoke_usage, false);
    enum ds_class rc = find_serial(&o, serial, &e);
    if (!rc)
        rc = ds_station_load_signer(o.station, &station, &e);
    if (!rc)
        rc = revoke(station, serial, reason, &r, &e);
    if (!rc) {
        char hex[33], at[21];
        ds_hex(serial, 16, hex);
        ds_utc_format(r.revoked_utc, at);
        printf("%s: revoked %s%s (%s)\n", hex, r.before ? "before, on " : "", at, ds_crl_reason_name(r.reason));
    }
    ds_station_free(station);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
