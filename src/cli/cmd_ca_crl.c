// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ca revoke, crl: what the root revoked is noted in DIR/root.revoked; what a Sub CA revoked comes from the
// ledgers. Either list goes to the signer process, which makes the CRL of it.
#include "src/cli/ca_args.h"
#include "src/cli/ca_protocol.h"
#include "src/cli/cmd_ca.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/ledger/ledger.h"
#include "src/pki/crl.h"
#include "src/signer/revoked.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DAY = 86400, CRL_DAYS = 30, LIST_MAX = 64 << 20 };

static const char revoke_usage[] =
    "usage: devstamp ca revoke --dir DIR --certificate CERT --reason REASON\n\n"
    "Notes in DIR/root.revoked that a certificate which the root signed (a Sub CA's, a server's) is revoked, for "
    "good.\n"
    "'devstamp ca crl --root' then says so to everybody. Devices: 'devstamp ledger revoke'.\n\n"
    "  --dir DIR            of the root\n"
    "  --certificate CERT   what is revoked\n"
    "  --reason REASON      keyCompromise, cACompromise, affiliationChanged, superseded, cessationOfOperation,\n"
    "                       privilegeWithdrawn or unspecified\n";

static const char crl_usage[] =
    "usage: devstamp ca crl --dir DIR [--ledger LEDGER...] [--revoked FILE] [options]\n"
    "       devstamp ca crl --dir DIR --list LIST [options]\n"
    "       devstamp ca crl --dir DIR --root [options]\n\n"
    "Signs a revocation list: of the Sub CA in DIR (DIR/subca.crl, DER; DIR/subca.crl.pem), from ledgers or from a "
    "list;\n"
    "or of the root (DIR/root.crl, DIR/root.crl.pem), from DIR/root.revoked. CRL numbers only rise; nothing that was\n"
    "revoked comes back. Each CRL has its entry in DIR/subca.crl.log or DIR/root.crl.log before it is there.\n\n"
    "  --dir DIR        the CA\n"
    "  --ledger LEDGER  where devices were revoked; every ledger of stations that sign with this Sub CA\n"
    "  --revoked FILE   what the signer was told to revoke (LOG.revoked beside its issuance log); with ledgers or "
    "alone\n"
    "  --list LIST      instead: a list as DIR/subca.revoked, which --ledger writes\n"
    "  --root           the root's CRL\n"
    "  --days N         when the next one is due at the latest (default 30)\n"
    "  --sub-key URI, --root-key URI  the key (default file:DIR/subca.key, file:DIR/root.key)\n"
    "  --module PATH, --pin-file FILE, --pin-fd N  as of 'devstamp ca init'\n"
    "  --previous-lost  the last CRL is lost: what it revoked is not compared\n";

static enum ds_class read_ca(const char *path, X509 **ret, ds_cert_info *ret_info, ds_err *e)
{
    enum ds_class rc = ds_cert_read(path, ret, e);
    return rc ? rc : ds_cert_describe(*ret, ret_info, e);
}

// The list there is, or its heading where there is none yet.
static enum ds_class begin_list(const char *path, const uint8_t ca[32], ds_buf *ret, ds_err *e)
{
    if (access(path, F_OK) == 0)
        return ds_file_read(path, LIST_MAX, ret, e);
    ds_crl_list_begin(ret, ca);
    return DS_OK;
}

static bool has(const ds_buf *entries, const ds_crl_entry *wanted)
{
    for (size_t at = 0; at < entries->len; at += sizeof *wanted) {
        ds_crl_entry entry;
        memcpy(&entry, entries->ptr + at, sizeof entry);
        if (entry.serial_len == wanted->serial_len && memcmp(entry.serial, wanted->serial, entry.serial_len) == 0)
            return true;
    }
    return false;
}

static enum ds_class check_issued(X509 *cert, X509 *root, const ds_ca_args *o, ds_err *e)
{
    if (X509_check_issued(root, cert) == X509_V_OK && X509_verify(cert, X509_get0_pubkey(root)) == 1)
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "%s was not signed by the root in %s", o->certificate, o->dir), e),
                   "a device's certificate is revoked in its ledger: devstamp ledger revoke");
}

static enum ds_class note_revoked(const ds_ca_args *o, const char *path, const ds_crl_entry *entry,
                                  const uint8_t ca[32], ds_err *e)
{
    DS_CLEANUP_BUF ds_buf list = {0}, entries = {0};
    enum ds_class rc = begin_list(path, ca, &list, e);
    if (!rc && ds_crl_list_read(ds_buf_view(&list), ca, &entries, e))
        rc = ds_wrap(e, "%s", path);
    if (rc)
        return rc;
    if (has(&entries, entry)) {
        printf("%s was revoked before\n", o->certificate);
        return DS_OK;
    }
    ds_crl_list_add(&list, entry);
    rc = ds_file_write(path, ds_buf_view(&list), 0644, e);
    if (!rc)
        printf("%s is noted as revoked; tell everybody: devstamp ca crl --dir %s --root\n", o->certificate, o->dir);
    return rc;
}

static enum ds_class run_revoke(const ds_ca_args *o, int reason, ds_err *e)
{
    DS_CLEANUP_FREE char *root_path = ds_asprintf("%s/root.pem", o->dir);
    DS_CLEANUP_FREE char *list_path = ds_asprintf("%s/root.revoked", o->dir);
    DS_CLEANUP_X509 X509 *root = NULL, *cert = NULL;
    ds_cert_info root_info, info;
    ds_ca_protocol p = {.step = "revoke", .title = "certificate noted as revoked by the root"};
    enum ds_class rc = read_ca(root_path, &root, &root_info, e);
    if (!rc)
        rc = read_ca(o->certificate, &cert, &info, e);
    if (!rc)
        rc = check_issued(cert, root, o, e);
    if (rc)
        return rc;
    ds_crl_entry entry = {.serial_len = info.serial_len, .revoked_utc = ds_utc_now(), .reason = reason};
    memcpy(entry.serial, info.serial, info.serial_len);
    rc = note_revoked(o, list_path, &entry, root_info.fingerprint, e);
    ds_ca_protocol_line(&p, "reason", "%s", ds_crl_reason_name(reason));
    if (!rc)
        rc = ds_ca_protocol_cert(&p, "Revoked", cert, e);
    if (!rc)
        rc = ds_ca_protocol_write(&p, o->dir, e);
    ds_buf_free(&p.body);
    return rc;
}

int ds_cmd_ca_revoke(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    ds_ca_args o = {.access.pin_fd = -1};
    if (!ds_ca_args_read(argc, argv, "dir certificate reason", revoke_usage, &o, &code))
        return code;
    int reason = o.reason ? ds_crl_reason_parse(o.reason, strlen(o.reason)) : -1;
    if (!o.dir || !o.certificate || reason < 0 || o.operands < argc)
        return ds_cli_usage(revoke_usage, false);
    return run_revoke(&o, reason, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}

// What the ledgers say, of this Sub CA alone: a ledger may know certificates of several.
typedef struct gathering {
    X509 *ca;
    ds_buf list;
    unsigned count, others;
} gathering;

// A reason that begins with a word of RFC 5280's ("keyCompromise: flash read out") is passed on.
static int reason_of(const char *text)
{
    int reason = ds_crl_reason_parse(text, strcspn(text, ": "));
    return reason < 0 ? 0 : reason;
}

static enum ds_class gather(void *arg, const ds_ledger_revocation *r, ds_err *e)
{
    gathering *g = arg;
    DS_CLEANUP_X509 X509 *cert = NULL;
    enum ds_class rc = ds_cert_parse(r->certificate, &cert, e);
    if (rc)
        return rc;
    if (X509_check_issued(g->ca, cert) != X509_V_OK) {
        g->others++;
        return DS_OK;
    }
    ds_cert_info info;
    if (ds_cert_describe(cert, &info, e))
        return e->cls;
    ds_crl_entry entry = {.serial_len = info.serial_len, .revoked_utc = r->revoked_utc, .reason = reason_of(r->reason)};
    memcpy(entry.serial, info.serial, info.serial_len);
    ds_crl_list_add(&g->list, &entry);
    g->count++;
    return DS_OK;
}

static enum ds_class gather_all(const ds_ca_args *o, gathering *g, ds_err *e)
{
    enum ds_class rc = DS_OK;
    for (size_t i = 0; i < o->ledger_count && !rc; i++) {
        ds_ledger *l = NULL;
        rc = ds_ledger_open(o->ledgers[i], true, &l, e);
        if (!rc)
            rc = ds_ledger_each_revocation(l, gather, g, e);
        ds_ledger_close(l);
    }
    if (!rc && g->others)
        printf("%u revoked certificates of other Sub CAs in these ledgers are for those\n", g->others);
    return rc;
}

static enum ds_class gather_revoked(void *arg, const ds_revocation *r, ds_err *e)
{
    (void)e;
    gathering *g = arg;
    ds_crl_entry entry = {.serial_len = sizeof r->serial, .revoked_utc = r->revoked_utc, .reason = r->reason};
    memcpy(entry.serial, r->serial, sizeof r->serial);
    ds_crl_list_add(&g->list, &entry);
    return DS_OK;
}

// The first revocation makes LOG.revoked; until then there is its issuance log alone.
static bool nothing_revoked_yet(const char *path)
{
    static const char suffix[] = ".revoked";
    size_t len = strlen(path), n = sizeof suffix - 1;
    if (len <= n || strcmp(path + len - n, suffix) != 0)
        return false;
    DS_CLEANUP_FREE char *head = ds_asprintf("%s.head", path);
    DS_CLEANUP_FREE char *log = ds_asprintf("%.*s", (int)(len - n), path);
    return access(path, F_OK) != 0 && access(head, F_OK) != 0 && access(log, F_OK) == 0;
}

static enum ds_class write_list(const ds_ca_args *o, X509 *ca, const uint8_t fingerprint[32], const char *path,
                                ds_err *e)
{
    gathering g = {.ca = ca};
    ds_crl_list_begin(&g.list, fingerprint);
    enum ds_class rc = gather_all(o, &g, e);
    if (!rc && o->revoked && !nothing_revoked_yet(o->revoked))
        rc = ds_revoked_each(o->revoked, fingerprint, gather_revoked, &g, e);
    if (!rc)
        rc = ds_file_write(path, ds_buf_view(&g.list), 0644, e);
    ds_buf_free(&g.list);
    return rc;
}

// The list the signer reads; the root's may not be there yet, and is empty then.
static enum ds_class prepare_list(const ds_ca_args *o, const char *cert_path, const char *path, ds_err *e)
{
    DS_CLEANUP_X509 X509 *ca = NULL;
    DS_CLEANUP_BUF ds_buf list = {0};
    ds_cert_info info;
    enum ds_class rc = read_ca(cert_path, &ca, &info, e);
    if (rc || o->list)
        return rc;
    if (o->ledger_count || o->revoked)
        return write_list(o, ca, info.fingerprint, path, e);
    rc = begin_list(path, info.fingerprint, &list, e);
    return rc ? rc : ds_file_write(path, ds_buf_view(&list), 0644, e);
}

static enum ds_class tell(const ds_ca_args *o, const char *stem, const ds_ceremony_result *made, int64_t due, ds_err *e)
{
    ds_ca_protocol p = {.step = "crl", .title = "revocation list signed"};
    DS_CLEANUP_FREE char *path = ds_asprintf("%s.crl", stem);
    DS_CLEANUP_BUF ds_buf der = {0};
    X509_CRL *crl = NULL;
    char at[21];
    ds_utc_format(due, at);
    enum ds_class rc = ds_file_read(path, LIST_MAX, &der, e);
    if (!rc)
        rc = ds_crl_parse(ds_buf_view(&der), &crl, e);
    if (rc)
        return rc;
    int revoked = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl));
    X509_CRL_free(crl);
    printf("CRL %llu: %d revoked; the next is due before %s\n  %s (DER), %s.pem\n", (unsigned long long)made->number,
           revoked < 0 ? 0 : revoked, at, path, path);
    ds_buf_add_u8(&p.body, '\n');
    ds_ca_protocol_line(&p, "CRL number", "%llu", (unsigned long long)made->number);
    ds_ca_protocol_line(&p, "revoked", "%d", revoked < 0 ? 0 : revoked);
    ds_ca_protocol_line(&p, "next due", "%s", at);
    rc = ds_ca_protocol_file(&p, "CRL (DER)", path, e);
    if (!rc && o->of_root) // a Sub CA's CRLs come often, and by no ceremony
        rc = ds_ca_protocol_write(&p, o->dir, e);
    ds_buf_free(&p.body);
    return rc;
}

static enum ds_class run_crl(ds_ca_args *o, ds_err *e)
{
    const char *who = o->of_root ? "root" : "subca", *named_key = o->of_root ? o->root_key : o->sub_key;
    DS_CLEANUP_FREE char *stem = ds_asprintf("%s/%s", o->dir, who);
    DS_CLEANUP_FREE char *cert = ds_asprintf("%s.pem", stem);
    DS_CLEANUP_FREE char *list = o->list ? ds_strdup(o->list) : ds_asprintf("%s.revoked", stem);
    DS_CLEANUP_FREE char *key = named_key ? ds_strdup(named_key) : ds_asprintf("file:%s.key", stem);
    ds_ceremony_result made = {0};
    int64_t now = ds_utc_now();
    const ds_crl_request req = {
        .key = key,
        .certificate = cert,
        .stem = stem,
        .list = list,
        .this_update_utc = now,
        .next_update_utc = now + o->days * DAY,
        .previous_lost = o->previous_lost,
    };
    ds_ca_args_pin(o, key);
    enum ds_class rc = prepare_list(o, cert, list, e);
    if (!rc)
        rc = ds_ceremony_make_crl(&o->access, &req, &made, e);
    if (!rc)
        rc = tell(o, stem, &made, req.next_update_utc, e);
    ds_buf_free(&made.root);
    ds_buf_free(&made.certificate);
    return rc;
}

int ds_cmd_ca_crl(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    ds_ca_args o = {.days = CRL_DAYS, .access.pin_fd = -1};
    if (!ds_ca_args_read(argc, argv, "dir ledger revoked list root days sub-key root-key previous-lost", crl_usage, &o,
                         &code))
        return code;
    if (!o.dir || o.of_root + (o.list != NULL) + (o.ledger_count > 0 || o.revoked) != 1 || o.operands < argc)
        return ds_cli_usage(crl_usage, false);
    return run_crl(&o, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}
