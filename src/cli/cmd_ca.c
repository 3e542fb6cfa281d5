// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ca: make a root and a Sub CA, certify the endpoint's server, show certificates. Keys are used in the signer
// process alone; what this file sees of the PIN is where it is.
#include "src/cli/ca_args.h"
#include "src/cli/cmd_ca.h"
#include "src/cli/cmd_token.h"

#include "src/base/buf.h"
#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/attest_file.h"
#include "src/pki/cert.h"
#include "src/pki/dn.h"
#include "src/pki/key.h"
#include "src/pki/request.h"
#include "src/signer/ceremony.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DAY = 86400, SERVER_DAYS = 397 };

static const char init_usage[] =
    "usage: devstamp ca init --dir DIR [options]\n\n"
    "Makes a root CA and the Sub CA below it (path length 0), which certifies devices.\n"
    "Writes DIR/root.pem, DIR/subca.pem, DIR/chain.pem (Sub CA, root) and DIR/root.log. Overwrites nothing.\n\n"
    "  --dir DIR             where the certificates go; made if missing\n"
    "  --root-key URI        root's key (default file:DIR/root.key)\n"
    "  --sub-key URI         Sub CA's key (default file:DIR/subca.key); pkcs11:token=NAME;object=NAME makes it in a "
    "token\n"
    "  --module PATH         PKCS#11 module of pkcs11: keys\n"
    "  --pin-file FILE       PIN of the token, in a file that only its owner can read\n"
    "  --pin-fd N            PIN from file descriptor N (neither: asked on the terminal)\n"
    "  --existing            the keys exist already; make only the certificates\n"
    "  --sub-existing        the Sub CA's key exists already (made with the token's own tool); the root's is made\n"
    "  --maker-root FILE     the Sub CA's key must have been made in a token of the maker whose root this is: its\n"
    "                        attestation is verified and kept as DIR/attestation.pem, attestation-chain.pem\n"
    "  --attestation FILE    the attestation, where the token does not show it by itself\n"
    "  --name NAME           organization (default \"devstamp\"): names become \"NAME Root CA\" and \"NAME Sub CA\"\n"
    "  --key-type TYPE       of the Sub CA: ecdsa-p256 (default), ecdsa-p384, rsa-2048, rsa-3072, rsa-4096\n"
    "  --root-key-type TYPE  of the root (default ecdsa-p384)\n"
    "  --years N             validity of both (default: no expiry, so that devices may have none)\n";

static const char server_usage[] =
    "usage: devstamp ca server --dir DIR --host NAME [--host NAME...] -o CERT --key KEY [options]\n\n"
    "Makes a key and a certificate for the endpoint's server, signed by the root.\n\n"
    "  --dir DIR             of 'devstamp ca init'\n"
    "  --host NAME           DNS name or IP address the server is reached by; may be repeated\n"
    "  -o, --output CERT     certificate to write (PEM)\n"
    "  --key KEY             private key to write (PEM, mode 0600); never overwritten\n"
    "  --root-key URI        root's key (default file:DIR/root.key)\n"
    "  --module, --pin-file, --pin-fd  as of 'devstamp ca init'\n"
    "  --days N              validity (default 397)\n";

// Neither verb has operands, both need the folder.
static bool read_options(int argc, char **argv, const char *allowed, const char *usage, ds_ca_args *o, int *ret_exit)
{
    if (!ds_ca_args_read(argc, argv, allowed, usage, o, ret_exit))
        return false;
    if (o->operands == argc && o->dir)
        return true;
    *ret_exit = ds_cli_usage(usage, false);
    return false;
}

enum ds_class ds_ca_make_folder(const char *dir, bool *ret_made, ds_err *e)
{
    *ret_made = mkdir(dir, 0755) == 0;
    if (!*ret_made && errno != EEXIST)
        return ds_fail_errno(e, DS_STORE, errno, "%s", dir);
    return DS_OK;
}

// As it was kept: what an auditor will read.
static enum ds_class show_attestation(const ds_ca_args *o, ds_view sub, ds_err *e)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/%s", o->dir, DS_ATTESTATION_FILE);
    DS_CLEANUP_X509 X509 *cert = NULL;
    ds_attestation_files files = {0};
    ds_attestation a;
    enum ds_class rc = ds_cert_parse(sub, &cert, e);
    if (!rc)
        rc = ds_attestation_files_read(path, &files, e);
    if (!rc)
        rc = ds_attestation_verify_files(&files, o->maker_root, X509_get0_pubkey(cert), ds_utc_now(), &a, e);
    if (!rc)
        ds_token_print_attestation(&a);
    ds_attestation_files_free(&files);
    return rc;
}

static enum ds_class show_made(const ds_ceremony_result *made, ds_err *e)
{
    enum ds_class rc = ds_ca_print((ds_view){made->root.ptr, made->root.len}, "root CA", e);
    return rc ? rc : ds_ca_print((ds_view){made->certificate.ptr, made->certificate.len}, "Sub CA", e);
}

// The names of both authorities as text; a comma in the organization's name must not end it.
char *ds_ca_subject(const char *name, const char *role)
{
    DS_CLEANUP_FREE char *escaped = ds_alloc(2 * strlen(name) + 1);
    size_t n = 0;
    for (const char *p = name; *p; p++) {
        if (strchr("\"+,;<=>\\", *p))
            escaped[n++] = '\\';
        escaped[n++] = *p;
    }
    return ds_asprintf("CN=%s %s,O=%s", escaped, role, escaped);
}

static enum ds_class run_init(ds_ca_args *o, ds_err *e)
{
    DS_CLEANUP_FREE char *root_key = ds_asprintf("file:%s/root.key", o->dir);
    DS_CLEANUP_FREE char *sub_key = ds_asprintf("file:%s/subca.key", o->dir);
    DS_CLEANUP_FREE char *root_subject = ds_ca_subject(o->name, "Root CA");
    DS_CLEANUP_FREE char *sub_subject = ds_ca_subject(o->name, "Sub CA");
    o->root_key = o->root_key ? o->root_key : root_key;
    o->sub_key = o->sub_key ? o->sub_key : sub_key;
    ds_ca_args_pin(o, o->root_key);
    ds_ca_args_pin(o, o->sub_key);
    // A day back: clocks on lines and devices differ, and a certificate may not begin before its issuer's.
    int64_t from = ds_utc_now() - DAY;
    const ds_ca_request req = {
        .folder = o->dir,
        .root_key = o->root_key,
        .sub_key = o->sub_key,
        .existing = o->existing,
        .sub_existing = o->sub_existing,
        .root_key_type = (int)o->root_type,
        .sub_key_type = (int)o->type,
        .root_subject = root_subject,
        .sub_subject = sub_subject,
        .not_before_utc = from,
        .maker_root = o->maker_root,
        .attestation = o->attestation,
        .not_after_utc = o->years ? ds_utc_add_years(from + DAY, (int)o->years) : DS_NO_EXPIRY,
    };
    ds_ceremony_result made = {0};
    bool new_folder = false;
    enum ds_class rc = ds_ca_make_folder(o->dir, &new_folder, e);
    if (!rc)
        rc = ds_ceremony_make_ca(&o->access, &req, &made, e);
    if (rc && new_folder)
        (void)rmdir(o->dir);
    if (!rc)
        rc = show_made(&made, e);
    if (!rc && o->maker_root)
        rc = show_attestation(o, ds_buf_view(&made.certificate), e);
    if (!rc)
        rc = ds_ca_protocol_of(o->dir, "init", "root CA and Sub CA made on one machine", &made, e);
    ds_buf_free(&made.root);
    ds_buf_free(&made.certificate);
    return rc;
}

static int cmd_init(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    ds_ca_args o = {.name = "devstamp", .root_type = DS_KEY_ECDSA_P384, .type = DS_KEY_ECDSA_P256};
    static const char allowed[] =
        "dir root-key sub-key existing sub-existing name key-type root-key-type years maker-root "
        "attestation";
    if (!read_options(argc, argv, allowed, init_usage, &o, &code))
        return code;
    if (o.attestation && !o.maker_root)
        return ds_cli_usage(init_usage, false);
    return run_init(&o, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static enum ds_class write_certificate(const char *path, const ds_buf *der, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    DS_CLEANUP_BUF ds_buf pem = {0};
    enum ds_class rc = ds_cert_parse(ds_buf_view(der), &cert, e);
    if (!rc)
        rc = ds_cert_pem(cert, &pem, e);
    return rc ? rc : ds_file_write(path, ds_buf_view(&pem), 0644, e);
}

// The server's key is no CA key: it is made here, and only its request goes to the signer.
static enum ds_class make_server_request(const char *host, EVP_PKEY **ret_key, ds_buf *ret_csr, ds_err *e)
{
    DS_CLEANUP_NAME X509_NAME *name = NULL;
    DS_CLEANUP_FREE char *subject = ds_asprintf("CN=%.64s", host);
    enum ds_class rc = ds_dn_parse(subject, &name, e);
    if (!rc)
        rc = ds_key_make(DS_KEY_ECDSA_P256, ret_key, e);
    return rc ? rc : ds_request_make(name, *ret_key, ret_csr, e);
}

static enum ds_class certify_server(ds_ca_args *o, const ds_buf *csr, ds_err *e)
{
    int64_t from = ds_utc_now() - DAY / 24;
    const ds_server_request req = {
        .folder = o->dir,
        .root_key = o->root_key,
        .csr = ds_buf_view(csr),
        .hosts = o->hosts,
        .host_count = o->host_count,
        .not_before_utc = from,
        .not_after_utc = from + o->days * DAY,
    };
    ds_ceremony_result made = {0};
    enum ds_class rc = ds_ceremony_make_server(&o->access, &req, &made, e);
    if (!rc)
        rc = write_certificate(o->output, &made.certificate, e);
    if (!rc)
        rc = ds_ca_print(ds_buf_view(&made.certificate), "server", e);
    ds_buf_free(&made.root);
    ds_buf_free(&made.certificate);
    return rc;
}

static enum ds_class run_server(ds_ca_args *o, ds_err *e)
{
    DS_CLEANUP_FREE char *root_key = ds_asprintf("file:%s/root.key", o->dir);
    DS_CLEANUP_PKEY EVP_PKEY *key = NULL;
    DS_CLEANUP_BUF ds_buf csr = {0};
    o->root_key = o->root_key ? o->root_key : root_key;
    ds_ca_args_pin(o, o->root_key);
    if (access(o->output, F_OK) == 0)
        return ds_hint((ds_fail(e, DS_POLICY, "%s exists already", o->output), e), "move it away first");
    enum ds_class rc = make_server_request(o->hosts[0], &key, &csr, e);
    if (!rc)
        rc = ds_key_file_write(o->key, key, e);
    if (rc)
        return rc;
    rc = certify_server(o, &csr, e);
    if (rc)
        (void)unlink(o->key);
    return rc;
}

static int cmd_server(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    ds_ca_args o = {.days = SERVER_DAYS};
    if (!read_options(argc, argv, "dir root-key host output key days", server_usage, &o, &code))
        return code;
    if (o.host_count == 0 || !o.output || !o.key)
        return ds_cli_usage(server_usage, false);
    return run_server(&o, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_cmd_ca(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"init", "make a root CA and a Sub CA", cmd_init},
        {"root", "make a root CA alone, on a machine off the network", ds_cmd_ca_root},
        {"request", "make a Sub CA's key and the request for its certificate", ds_cmd_ca_request},
        {"sign", "sign a Sub CA's request with the root", ds_cmd_ca_sign},
        {"install", "take the signed certificate of a Sub CA", ds_cmd_ca_install},
        {"revoke", "note a certificate that the root signed as revoked", ds_cmd_ca_revoke},
        {"crl", "sign a revocation list", ds_cmd_ca_crl},
        {"chain", "put certificates into order, check and export them", ds_cmd_ca_chain},
        {"server", "make a certificate for the endpoint's server", cmd_server},
        {"show", "show certificates in plain words", ds_cmd_ca_show},
        {"lint", "judge certificates by RFC 5280, IEEE 802.1AR and AWS IoT's rules", ds_cmd_ca_lint},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp ca", verbs, argc, argv);
}
