// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ca chain: certificates in any order become one chain, from the device or Sub CA up to the root, each link
// verified; as PEM, DER or PKCS#7 (certificates only, RFC 2315, as browsers and Windows import it).
#include "src/cli/ca_args.h"
#include "src/cli/cmd_ca.h"

#include "src/base/clock.h"
#include "src/base/file.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] = "usage: devstamp ca chain [--format FORMAT] [--no-root] -o OUTPUT --dir DIR\n"
                            "       devstamp ca chain [--format FORMAT] [--no-root] -o OUTPUT FILE...\n\n"
                            "Orders certificates (from DIR: Sub CA and root; or of PEM files) from the lowest to the "
                            "root, checks every link, and\n"
                            "writes them. Overwrites nothing.\n\n"
                            "  --format FORMAT  pem (default), der (one after the other), p7b (PKCS#7, DER), p7b-pem\n"
                            "  --no-root        leave the root out, as TLS servers and devices send a chain\n";

enum { CHAIN_MAX = 16 };

typedef struct chain {
    STACK_OF(X509) * given;
    X509 *at[CHAIN_MAX]; // borrowed, from the lowest to the root
    int count;
} chain;

static bool is_root(X509 *cert)
{
    return X509_check_issued(cert, cert) == X509_V_OK;
}

static bool signs(X509 *issuer, X509 *cert)
{
    bool good = X509_check_issued(issuer, cert) == X509_V_OK && X509_verify(cert, X509_get0_pubkey(issuer)) == 1;
    ERR_clear_error();
    return good;
}

static enum ds_class add_file(chain *c, const char *path, ds_err *e)
{
    STACK_OF(X509) *more = NULL;
    enum ds_class rc = ds_cert_read_all(path, &more, e);
    if (rc)
        return rc;
    for (X509 *cert; !rc && (cert = sk_X509_shift(more));) {
        bool twice = false;
        for (int i = 0; i < sk_X509_num(c->given); i++)
            twice |= X509_cmp(sk_X509_value(c->given, i), cert) == 0;
        if (twice) {
            X509_free(cert);
        } else if (sk_X509_num(c->given) == CHAIN_MAX || sk_X509_push(c->given, cert) <= 0) {
            X509_free(cert);
            rc = ds_fail(e, DS_INPUT, "more than %d certificates", CHAIN_MAX);
        }
    }
    sk_X509_pop_free(more, X509_free);
    return rc;
}

// The one that signed none of the others.
static enum ds_class find_lowest(chain *c, ds_err *e)
{
    int n = sk_X509_num(c->given), lowest = 0;
    for (int i = 0; i < n; i++) {
        X509 *cert = sk_X509_value(c->given, i);
        bool above = false;
        for (int k = 0; k < n; k++)
            above |= k != i && signs(cert, sk_X509_value(c->given, k));
        if (above)
            continue;
        c->at[0] = cert;
        lowest++;
    }
    c->count = 1;
    return lowest == 1 ? DS_OK
                       : ds_hint((ds_fail(e, DS_INPUT,
                                          "these certificates are not one chain: %d signed none of the others", lowest),
                                  e),
                                 "name one device or Sub CA, and those above it");
}

static X509 *find_issuer(const chain *c, X509 *cert)
{
    for (int i = 0; i < sk_X509_num(c->given); i++)
        if (signs(sk_X509_value(c->given, i), cert))
            return sk_X509_value(c->given, i);
    return NULL;
}

static enum ds_class order(chain *c, ds_err *e)
{
    enum ds_class rc = find_lowest(c, e);
    while (!rc && !is_root(c->at[c->count - 1])) {
        X509 *issuer = find_issuer(c, c->at[c->count - 1]);
        if (!issuer || c->count == CHAIN_MAX)
            return ds_hint((ds_fail(e, DS_INPUT, "the chain does not end in a root"), e),
                           "name the root's certificate too");
        c->at[c->count++] = issuer;
    }
    if (!rc && c->count != sk_X509_num(c->given))
        rc =
            ds_fail(e, DS_INPUT, "%d of the certificates do not belong to the chain", sk_X509_num(c->given) - c->count);
    return rc;
}

static enum ds_class check(const chain *c, ds_err *e)
{
    STACK_OF(X509) *between = sk_X509_new_null();
    for (int i = 1; between && i < c->count - 1; i++)
        if (sk_X509_push(between, c->at[i]) <= 0)
            break;
    enum ds_class rc = ds_chain_verify(c->at[0], between, c->at[c->count - 1], ds_utc_now(), e);
    sk_X509_free(between);
    return rc;
}

static enum ds_class pkcs7(const chain *c, int count, bool pem, ds_buf *ret, ds_err *e)
{
    PKCS7 *p7 = PKCS7_new();
    DS_CLEANUP_BIO BIO *bio = BIO_new(BIO_s_mem());
    bool good = p7 && bio && PKCS7_set_type(p7, NID_pkcs7_signed) == 1 && PKCS7_content_new(p7, NID_pkcs7_data) == 1 &&
                PKCS7_set_detached(p7, 1) == 1;
    for (int i = 0; good && i < count; i++)
        good = PKCS7_add_certificate(p7, c->at[i]) == 1;
    good = good && (pem ? PEM_write_bio_PKCS7(bio, p7) : i2d_PKCS7_bio(bio, p7)) == 1;
    PKCS7_free(p7);
    if (!good)
        return ds_ossl_fail(e, DS_INTERNAL, "encode PKCS#7");
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    ds_buf_add(ret, data, (size_t)len);
    return DS_OK;
}

static enum ds_class encode(const chain *c, const ds_ca_args *o, ds_buf *ret, ds_err *e)
{
    int count = c->count - (o->without_root && c->count > 1 ? 1 : 0);
    enum ds_class rc = DS_OK;
    if (strncmp(o->format, "p7b", 3) == 0)
        return pkcs7(c, count, o->format[3] == '-', ret, e);
    for (int i = 0; i < count && !rc; i++)
        rc = strcmp(o->format, "pem") == 0 ? ds_cert_pem(c->at[i], ret, e) : ds_cert_der(c->at[i], ret, e);
    return rc;
}

static enum ds_class read_all(chain *c, const ds_ca_args *o, int argc, char **argv, ds_err *e)
{
    DS_CLEANUP_FREE char *sub = ds_asprintf("%s/subca.pem", o->dir ? o->dir : "");
    DS_CLEANUP_FREE char *root = ds_asprintf("%s/root.pem", o->dir ? o->dir : "");
    enum ds_class rc = DS_OK;
    if (o->dir)
        rc = add_file(c, sub, e);
    if (!rc && o->dir)
        rc = add_file(c, root, e);
    for (int i = o->operands; i < argc && !rc; i++)
        rc = add_file(c, argv[i], e);
    return rc;
}

static enum ds_class run(const ds_ca_args *o, int argc, char **argv, ds_err *e)
{
    chain c = {.given = sk_X509_new_null()};
    DS_CLEANUP_BUF ds_buf out = {0};
    enum ds_class rc = c.given ? DS_OK : ds_fail(e, DS_INTERNAL, "memory");
    if (!rc && access(o->output, F_OK) == 0)
        rc = ds_hint((ds_fail(e, DS_POLICY, "%s exists already", o->output), e), "move it away first");
    if (!rc)
        rc = read_all(&c, o, argc, argv, e);
    if (!rc)
        rc = order(&c, e);
    if (!rc)
        rc = check(&c, e);
    if (!rc)
        rc = encode(&c, o, &out, e);
    if (!rc)
        rc = ds_file_write(o->output, ds_buf_view(&out), 0644, e);
    for (int i = 0; i < c.count && !rc; i++) {
        ds_cert_info info;
        if (ds_cert_describe(c.at[i], &info, NULL) == DS_OK)
            printf("%d  %s%s\n", i + 1, info.subject,
                   o->without_root && i == c.count - 1 && i > 0 ? " (left out)" : "");
    }
    sk_X509_pop_free(c.given, X509_free);
    return rc;
}

int ds_cmd_ca_chain(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    ds_ca_args o = {.format = "pem", .access.pin_fd = -1};
    if (!ds_ca_args_read(argc, argv, "dir format no-root output", usage, &o, &code))
        return code;
    bool known = strcmp(o.format, "pem") == 0 || strcmp(o.format, "der") == 0 || strcmp(o.format, "p7b") == 0 ||
                 strcmp(o.format, "p7b-pem") == 0;
    if (!o.output || !known || (o.dir != NULL) == (o.operands < argc))
        return ds_cli_usage(usage, false);
    return run(&o, argc, argv, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}
