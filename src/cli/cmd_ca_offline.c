// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ca root, request, sign: the halves of "ca init" for a root whose machine is on no network. What goes from
// one machine to the other is a file; keys stay where they were made.
#include "src/cli/ca_args.h"
#include "src/cli/ca_protocol.h"
#include "src/cli/cmd_ca.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/cert.h"
#include "src/pki/request.h"

#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DAY = 86400, REQUEST_MAX = 65536 };

static const char root_usage[] =
    "usage: devstamp ca root --dir DIR [options]\n\n"
    "Makes a root CA alone. Run it on a machine that is on no network. Writes DIR/root.pem, DIR/root.log and a "
    "protocol.\n\n"
    "  --dir DIR        where the root goes; made if missing\n"
    "  --root-key URI   its key (default file:DIR/root.key); pkcs11:token=NAME;object=NAME makes it in a token\n"
    "  --existing       the key exists already\n"
    "  --module PATH, --pin-file FILE, --pin-fd N  as of 'devstamp ca init'\n"
    "  --name NAME      organization (default \"devstamp\"), or a whole name: \"CN=Acme Root,O=Acme\"\n"
    "  --key-type TYPE  default ecdsa-p384\n"
    "  --years N        validity (default: no expiry)\n";

static const char request_usage[] =
    "usage: devstamp ca request --dir DIR [options]\n\n"
    "Makes a Sub CA's key and the request for its certificate, on the machine that will sign devices. Writes\n"
    "DIR/subca.csr, which goes to the root's machine, and a protocol.\n\n"
    "  --dir DIR        a folder for this Sub CA; made if missing\n"
    "  --sub-key URI    its key (default file:DIR/subca.key); pkcs11:token=NAME;object=NAME makes it in a token\n"
    "  --existing       the key exists already (made with the token's own tool)\n"
    "  --module PATH, --pin-file FILE, --pin-fd N  as of 'devstamp ca init'\n"
    "  --name NAME      organization (default \"devstamp\"), or a whole name: \"CN=Acme Berlin Sub CA,O=Acme\"\n"
    "  --key-type TYPE  default ecdsa-p256\n";

static const char sign_usage[] =
    "usage: devstamp ca sign --dir DIR --request CSR -o CERT [options]\n\n"
    "Signs a Sub CA's request with the root: path length 0, so that it certifies devices and no further CA. The "
    "request\n"
    "says name and key; all else is said here. The same request again gives the same certificate.\n\n"
    "  --dir DIR              of 'devstamp ca root' (or 'ca init')\n"
    "  --request CSR          DIR/subca.csr of the other machine\n"
    "  -o, --output CERT      certificate to write (PEM), to carry back together with DIR/root.pem; not overwritten\n"
    "  --key-fingerprint HEX  SHA-256 of the Sub CA's public key, from the protocol of 'ca request'; refused if "
    "another\n"
    "  --permit KIND:NAME     name constraint, repeatable: dn:O=Acme, dns:example.com, uri:.example.com\n"
    "  --exclude KIND:NAME    likewise: what may not be below it\n"
    "  --years N              validity (default: to the root's end)\n"
    "  --root-key URI         root's key (default file:DIR/root.key)\n"
    "  --module PATH, --pin-file FILE, --pin-fd N  as of 'devstamp ca init'\n";

static char *name_of(const char *name, const char *role)
{
    return strchr(name, '=') ? ds_strdup(name) : ds_ca_subject(name, role);
}

enum ds_class ds_ca_protocol_of(const char *dir, const char *step, const char *title, const ds_ceremony_result *made,
                                ds_err *e)
{
    ds_ca_protocol p = {.step = step, .title = title};
    DS_CLEANUP_X509 X509 *root = NULL, *cert = NULL;
    enum ds_class rc = made->root.len ? ds_cert_parse(ds_buf_view(&made->root), &root, e) : DS_OK;
    if (!rc && root)
        rc = ds_ca_protocol_cert(&p, "Root CA", root, e);
    if (!rc && made->certificate.len)
        rc = ds_cert_parse(ds_buf_view(&made->certificate), &cert, e);
    if (!rc && cert)
        rc = ds_ca_protocol_cert(&p, "Sub CA", cert, e);
    if (!rc)
        rc = ds_ca_protocol_write(&p, dir, e);
    ds_buf_free(&p.body);
    return rc;
}

static void free_made(ds_ceremony_result *made)
{
    ds_buf_free(&made->root);
    ds_buf_free(&made->certificate);
}

static enum ds_class run_root(ds_ca_args *o, ds_err *e)
{
    DS_CLEANUP_FREE char *key = o->root_key ? ds_strdup(o->root_key) : ds_asprintf("file:%s/root.key", o->dir);
    DS_CLEANUP_FREE char *subject = name_of(o->name, "Root CA");
    ds_ceremony_result made = {0};
    bool new_folder = false;
    int64_t from = ds_utc_now() - DAY;
    const ds_root_request req = {
        .folder = o->dir,
        .root_key = key,
        .existing = o->existing,
        .key_type = (int)o->type,
        .subject = subject,
        .not_before_utc = from,
        .not_after_utc = o->years ? ds_utc_add_years(from + DAY, (int)o->years) : DS_NO_EXPIRY,
    };
    ds_ca_args_pin(o, key);
    enum ds_class rc = ds_ca_make_folder(o->dir, &new_folder, e);
    if (!rc)
        rc = ds_ceremony_make_root(&o->access, &req, &made, e);
    if (rc && new_folder)
        (void)rmdir(o->dir);
    if (!rc)
        rc = ds_ca_print(ds_buf_view(&made.root), "root CA", e);
    if (!rc)
        rc = ds_ca_protocol_of(o->dir, "root", "root CA made", &made, e);
    free_made(&made);
    return rc;
}

int ds_cmd_ca_root(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    ds_ca_args o = {.name = "devstamp", .type = DS_KEY_ECDSA_P384, .access.pin_fd = -1};
    if (!ds_ca_args_read(argc, argv, "dir root-key existing name key-type years", root_usage, &o, &code))
        return code;
    if (!o.dir || o.operands < argc)
        return ds_cli_usage(root_usage, false);
    return run_root(&o, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static enum ds_class write_request(const char *path, ds_view der, ds_err *e)
{
    DS_CLEANUP_BIO BIO *bio = BIO_new(BIO_s_mem());
    char *pem = NULL;
    if (!bio || PEM_write_bio(bio, PEM_STRING_X509_REQ, "", der.ptr, (long)der.len) <= 0)
        return ds_ossl_fail(e, DS_INTERNAL, "encode request");
    long len = BIO_get_mem_data(bio, &pem);
    return ds_file_write(path, (ds_view){(const uint8_t *)pem, (size_t)len}, 0644, e);
}

enum ds_class ds_ca_read_request(const char *path, ds_buf *ret, ds_csr_info *ret_info, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    enum ds_class rc = ds_file_read(path, REQUEST_MAX, &bytes, e);
    if (rc)
        return ds_wrap(e, "request");
    if (bytes.len && bytes.ptr[0] == 0x30) {
        ds_buf_add(ret, bytes.ptr, bytes.len);
    } else {
        DS_CLEANUP_BIO BIO *bio = BIO_new_mem_buf(bytes.ptr, (int)bytes.len);
        unsigned char *der = NULL;
        long len = 0;
        if (!bio || PEM_bytes_read_bio(&der, &len, NULL, PEM_STRING_X509_REQ, bio, NULL, NULL) != 1)
            return ds_ossl_fail(e, DS_INPUT, "request %s: not a certificate request", path);
        ds_buf_add(ret, der, (size_t)len);
        OPENSSL_free(der);
    }
    return ds_request_open_ca(ds_buf_view(ret), ret_info, NULL, e) ? ds_wrap(e, "request %s", path) : DS_OK;
}

static enum ds_class tell_request(const ds_ca_args *o, const char *path, const ds_csr_info *info, const char *key,
                                  ds_err *e)
{
    ds_ca_protocol p = {.step = "request", .title = "Sub CA's key made, certificate requested"};
    char group[80];
    const ds_key_kind *kind = ds_key_kind_of((enum ds_key_type)info->key_type);
    ds_ca_group(info->public_key_digest, group);
    printf("Sub CA's request\n  subject      %s\n  key          %s\n  key's SHA-256\n    %.39s\n    %s\n  carry to the "
           "root's machine: %s\n",
           info->subject, kind->label, group, group + 40, path);
    ds_buf_add_u8(&p.body, '\n');
    ds_ca_protocol_line(&p, "subject", "%s", info->subject);
    ds_ca_protocol_line(&p, "key", "%s, %s", kind->label, key);
    ds_ca_protocol_line(&p, "public key", "%.39s", group);
    ds_ca_protocol_line(&p, "", "%s", group + 40);
    enum ds_class rc = ds_ca_protocol_file(&p, "to carry", path, e);
    if (!rc)
        rc = ds_ca_protocol_write(&p, o->dir, e);
    ds_buf_free(&p.body);
    return rc;
}

static enum ds_class make_request(ds_ca_args *o, const char *key, const char *path, ds_err *e)
{
    DS_CLEANUP_FREE char *subject = name_of(o->name, "Sub CA");
    ds_ceremony_result made = {0};
    ds_csr_info info;
    const ds_root_request req = {
        .folder = o->dir, .root_key = key, .existing = o->existing, .key_type = (int)o->type, .subject = subject};
    ds_ca_args_pin(o, key);
    enum ds_class rc = ds_ceremony_make_request(&o->access, &req, &made, e);
    if (!rc)
        rc = ds_request_open_ca(ds_buf_view(&made.certificate), &info, NULL, e);
    if (!rc)
        rc = write_request(path, ds_buf_view(&made.certificate), e);
    if (!rc)
        rc = tell_request(o, path, &info, key, e);
    free_made(&made);
    return rc;
}

static enum ds_class run_request(ds_ca_args *o, ds_err *e)
{
    DS_CLEANUP_FREE char *key = o->sub_key ? ds_strdup(o->sub_key) : ds_asprintf("file:%s/subca.key", o->dir);
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/subca.csr", o->dir);
    bool new_folder = false;
    if (access(path, F_OK) == 0)
        return ds_hint((ds_fail(e, DS_POLICY, "%s exists already", path), e),
                       "a Sub CA is never overwritten: choose another folder; with its key, --existing");
    enum ds_class rc = ds_ca_make_folder(o->dir, &new_folder, e);
    if (!rc && access(o->dir, W_OK | X_OK) != 0)
        rc = ds_fail_errno(e, DS_STORE, errno, "%s", o->dir);
    if (!rc)
        rc = make_request(o, key, path, e);
    if (rc && new_folder)
        (void)rmdir(o->dir);
    return rc;
}

int ds_cmd_ca_request(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    ds_ca_args o = {.name = "devstamp", .type = DS_KEY_ECDSA_P256, .access.pin_fd = -1};
    if (!ds_ca_args_read(argc, argv, "dir sub-key existing name key-type", request_usage, &o, &code))
        return code;
    if (!o.dir || o.operands < argc)
        return ds_cli_usage(request_usage, false);
    return run_request(&o, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static enum ds_class validity_of(const ds_ca_args *o, ds_sub_request *req, ds_err *e)
{
    DS_CLEANUP_FREE char *path = ds_asprintf("%s/root.pem", o->dir);
    DS_CLEANUP_X509 X509 *root = NULL;
    ds_cert_info info;
    enum ds_class rc = ds_cert_read(path, &root, e);
    if (!rc)
        rc = ds_cert_describe(root, &info, e);
    if (rc)
        return rc;
    int64_t now = ds_utc_now();
    req->not_before_utc = now - DAY > info.not_before_utc ? now - DAY : info.not_before_utc;
    req->not_after_utc = o->years ? ds_utc_add_years(now, (int)o->years) : info.not_after_utc;
    return DS_OK;
}

static void note_constraints(ds_ca_protocol *p, const ds_ca_args *o)
{
    static const char *const kinds[] = {
        [DS_CONSTRAINT_DN] = "dn", [DS_CONSTRAINT_DNS] = "dns", [DS_CONSTRAINT_URI] = "uri"};
    for (size_t i = 0; i < o->constraint_count; i++)
        ds_ca_protocol_line(p, o->constraints[i].excluded ? "excluded" : "permitted", "%s:%s",
                            kinds[o->constraints[i].kind], o->constraints[i].text);
}

static enum ds_class finish_sign(const ds_ca_args *o, const ds_ceremony_result *made, ds_err *e)
{
    ds_ca_protocol p = {.step = "sign", .title = "Sub CA's certificate signed by the root"};
    DS_CLEANUP_X509 X509 *cert = NULL, *root = NULL;
    DS_CLEANUP_BUF ds_buf pem = {0};
    enum ds_class rc = ds_cert_parse(ds_buf_view(&made->certificate), &cert, e);
    if (!rc)
        rc = ds_cert_parse(ds_buf_view(&made->root), &root, e);
    if (!rc)
        rc = ds_cert_pem(cert, &pem, e);
    if (!rc)
        rc = ds_file_write(o->output, ds_buf_view(&pem), 0644, e);
    if (!rc)
        rc = ds_ca_print(ds_buf_view(&made->certificate), "Sub CA", e);
    if (!rc)
        rc = ds_ca_protocol_cert(&p, "Root CA", root, e);
    if (!rc)
        rc = ds_ca_protocol_cert(&p, made->from_log ? "Sub CA (signed before, handed out again)" : "Sub CA", cert, e);
    note_constraints(&p, o);
    if (!rc)
        rc = ds_ca_protocol_file(&p, "to carry", o->output, e);
    if (!rc)
        rc = ds_ca_protocol_write(&p, o->dir, e);
    ds_buf_free(&p.body);
    if (!rc && made->from_log)
        puts("it was signed before and is handed out again; validity and name constraints are those of then");
    return rc;
}

static enum ds_class run_sign(ds_ca_args *o, ds_err *e)
{
    DS_CLEANUP_FREE char *key = o->root_key ? ds_strdup(o->root_key) : ds_asprintf("file:%s/root.key", o->dir);
    DS_CLEANUP_BUF ds_buf csr = {0};
    ds_ceremony_result made = {0};
    ds_csr_info info;
    ds_sub_request req = {
        .folder = o->dir, .root_key = key, .constraints = o->constraints, .constraint_count = o->constraint_count};
    if (access(o->output, F_OK) == 0)
        return ds_hint((ds_fail(e, DS_POLICY, "%s exists already", o->output), e), "move it away first");
    enum ds_class rc = ds_ca_read_request(o->request, &csr, &info, e);
    if (!rc && o->key_fingerprint)
        rc = ds_ca_fingerprint_is(o->key_fingerprint, info.public_key_digest, "the request's key", e);
    if (!rc)
        rc = validity_of(o, &req, e);
    if (rc)
        return rc;
    req.csr = ds_buf_view(&csr);
    ds_ca_args_pin(o, key);
    rc = ds_ceremony_sign_sub(&o->access, &req, &made, e);
    if (!rc)
        rc = finish_sign(o, &made, e);
    free_made(&made);
    return rc;
}

int ds_cmd_ca_sign(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    ds_ca_args o = {.access.pin_fd = -1};
    if (!ds_ca_args_read(argc, argv, "dir request output key-fingerprint permit exclude years root-key", sign_usage, &o,
                         &code))
        return code;
    if (!o.dir || !o.request || !o.output || o.operands < argc)
        return ds_cli_usage(sign_usage, false);
    return run_sign(&o, &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
}
