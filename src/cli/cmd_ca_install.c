// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ca install: take what came back from the root's machine, and only that.
#include "src/cli/ca_args.h"
#include "src/cli/ca_protocol.h"
#include "src/cli/cmd_ca.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/lint.h"
#include "src/pki/request.h"

#include <ctype.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX = 262144 };

static const char usage[] =
    "usage: devstamp ca install --dir DIR --certificate CERT --root-certificate ROOT [--root-fingerprint HEX]\n\n"
    "Checks that the certificate belongs to the key of 'devstamp ca request' and to the root, that it is a Sub CA's "
    "and\n"
    "that the lint finds no error, then writes DIR/subca.pem, DIR/root.pem and DIR/chain.pem. Overwrites nothing and\n"
    "needs no PIN.\n\n"
    "  --dir DIR                of 'devstamp ca request'; holds subca.csr\n"
    "  --certificate CERT       what 'devstamp ca sign' wrote\n"
    "  --root-certificate ROOT  root.pem of the root's machine\n"
    "  --root-fingerprint HEX   SHA-256 of the root's certificate, from paper; refused if another\n";

enum ds_class ds_ca_fingerprint_is(const char *text, const uint8_t digest[32], const char *whose, ds_err *e)
{
    char digits[65] = "";
    uint8_t wanted[32];
    size_t n = 0;
    bool good = true;
    for (const char *p = text; *p && good; p++) {
        if (*p == ' ' || *p == ':')
            continue;
        good = n < 64 && isxdigit((unsigned char)*p);
        if (good)
            digits[n++] = *p;
    }
    if (!good || n != 64 || !ds_unhex(digits, wanted, sizeof wanted))
        return ds_fail(e, DS_USAGE, "a fingerprint has 64 hexadecimal digits, in groups or not");
    if (memcmp(wanted, digest, 32) == 0)
        return DS_OK;
    char group[80];
    ds_ca_group(digest, group);
    return ds_hint((ds_fail(e, DS_POLICY, "%s has another fingerprint: %s", whose, group), e),
                   "the file was exchanged on its way, or it is another one: use nothing of it");
}

typedef struct installation {
    const ds_ca_args *o;
    X509 *sub, *root;
    ds_cert_info sub_info, root_info;
} installation;

static enum ds_class read_files(installation *i, ds_err *e)
{
    enum ds_class rc = ds_cert_read(i->o->certificate, &i->sub, e);
    if (!rc)
        rc = ds_cert_read(i->o->root, &i->root, e);
    if (!rc)
        rc = ds_cert_describe(i->sub, &i->sub_info, e);
    return rc ? rc : ds_cert_describe(i->root, &i->root_info, e);
}

static enum ds_class check_key(const installation *i, ds_err *e)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/subca.csr", i->o->dir);
    DS_CLEANUP_BUF ds_buf csr = {0};
    ds_csr_info info;
    enum ds_class rc = ds_ca_read_request(path, &csr, &info, e);
    if (rc)
        return ds_hint(e, "name the folder of 'devstamp ca request'");
    if (memcmp(info.public_key_digest, i->sub_info.public_key_digest, 32) != 0)
        return ds_hint((ds_fail(e, DS_POLICY, "%s is for another key than %s", i->o->certificate, path), e),
                       "let the root's machine sign this folder's request");
    if (strcmp(info.subject, i->sub_info.subject) != 0)
        return ds_fail(e, DS_POLICY, "the certificate names \"%s\", the request \"%s\"", i->sub_info.subject,
                       info.subject);
    return DS_OK;
}

static enum ds_class check_both(const installation *i, ds_err *e)
{
    const uint32_t needs = KU_KEY_CERT_SIGN | KU_CRL_SIGN;
    if (i->o->fingerprint && ds_ca_fingerprint_is(i->o->fingerprint, i->root_info.fingerprint, "the root", e))
        return e->cls;
    if (!i->sub_info.ca || i->sub_info.path_len != 0 || (i->sub_info.key_usage & needs) != needs)
        return ds_fail(e, DS_POLICY, "%s is no Sub CA that signs devices and nothing further (path length 0)",
                       i->o->certificate);
    if (!i->root_info.ca || strcmp(i->root_info.subject, i->root_info.issuer) != 0)
        return ds_fail(e, DS_POLICY, "%s is no root CA", i->o->root);
    enum ds_class rc = ds_chain_verify(i->sub, NULL, i->root, ds_utc_now(), e);
    if (rc)
        return ds_hint(e, "name the root that signed it, and set this computer's clock");
    if (ds_lint_demand(i->root, e))
        return ds_wrap(e, "root");
    return ds_lint_demand(i->sub, e) ? ds_wrap(e, "Sub CA") : DS_OK;
}

typedef struct product {
    const char *name;
    X509 *first, *second;
} product;
enum { PRODUCTS = 3 };

// In the order they are written: the Sub CA's certificate, without which nobody signs, comes last.
static void list_products(const installation *i, product ret[PRODUCTS])
{
    ret[0] = (product){"root.pem", i->root, NULL};
    ret[1] = (product){"chain.pem", i->sub, i->root};
    ret[2] = (product){"subca.pem", i->sub, NULL};
}

static enum ds_class encode(const product *p, ds_buf *ret, ds_err *e)
{
    enum ds_class rc = ds_cert_pem(p->first, ret, e);
    return !rc && p->second ? ds_cert_pem(p->second, ret, e) : rc;
}

// A file that holds the same already was written by an installation that was cut off.
static enum ds_class check_file(const char *path, const ds_buf *wanted, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf there = {0};
    if (access(path, F_OK) != 0)
        return DS_OK;
    enum ds_class rc = ds_file_read(path, FILE_MAX, &there, e);
    if (rc || (there.len == wanted->len && memcmp(there.ptr, wanted->ptr, there.len) == 0))
        return rc;
    return ds_hint((ds_fail(e, DS_POLICY, "%s exists already", path), e),
                   "each Sub CA has a folder of its own: make a request in another one");
}

static enum ds_class handle_files(const installation *i, bool write, ds_err *e)
{
    product all[PRODUCTS];
    enum ds_class rc = DS_OK;
    list_products(i, all);
    for (size_t n = 0; n < PRODUCTS && !rc; n++) {
        DS_CLEANUP_FREE char *path = ds_asprintf("%s/%s", i->o->dir, all[n].name);
        DS_CLEANUP_BUF ds_buf pem = {0};
        rc = encode(&all[n], &pem, e);
        if (!rc)
            rc = write ? ds_file_write(path, ds_buf_view(&pem), 0644, e) : check_file(path, &pem, e);
    }
    return rc;
}

// An installation that came to its end is not done again.
static enum ds_class check_not_installed(const char *dir, ds_err *e)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/subca.pem", dir);
    if (access(path, F_OK) != 0)
        return DS_OK;
    return ds_hint((ds_fail(e, DS_POLICY, "%s exists already", path), e),
                   "each Sub CA has a folder of its own: make a request in another one");
}

static enum ds_class write_all(const installation *i, ds_err *e)
{
    ds_ca_protocol p = {.step = "install", .title = "Sub CA's certificate checked and installed"};
    enum ds_class rc = handle_files(i, true, e);
    if (!rc)
        rc = ds_ca_protocol_cert(&p, "Root CA", i->root, e);
    if (!rc)
        rc = ds_ca_protocol_cert(&p, "Sub CA", i->sub, e);
    if (!rc)
        rc = ds_ca_protocol_write(&p, i->o->dir, e);
    ds_buf_free(&p.body);
    return rc;
}

static enum ds_class run(const ds_ca_args *o, ds_err *e)
{
    installation i = {.o = o};
    char group[80];
    enum ds_class rc = check_not_installed(o->dir, e);
    if (!rc)
        rc = read_files(&i, e);
    if (!rc)
        rc = check_key(&i, e);
    if (!rc)
        rc = check_both(&i, e);
    if (!rc)
        rc = handle_files(&i, false, e);
    if (!rc)
        rc = write_all(&i, e);
    if (!rc) {
        ds_ca_group(i.root_info.fingerprint, group);
        printf("%s is installed in %s\nroot's fingerprint, to compare with the root's protocol%s:\n  %.39s\n  %s\n",
               i.sub_info.subject, o->dir, o->fingerprint ? " (as given)" : "", group, group + 40);
    }
    X509_free(i.sub);
    X509_free(i.root);
    return rc;
}

int ds_cmd_ca_install(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    ds_ca_args o = {.access.pin_fd = -1};
    if (!ds_ca_args_read(argc, argv, "dir certificate root-certificate root-fingerprint", usage, &o, &code))
        return code;
    if (!o.dir || !o.certificate || !o.root || o.operands < argc)
        return ds_cli_usage(usage, false);
    return run(&o, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}
