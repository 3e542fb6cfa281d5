// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp token attest: was this key made in a token of that maker? Asked of the token itself, or, by an auditor who
// has no token, of the files that devstamp ca init keeps beside the CA.
#include "src/cli/cmd_token.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/pki/attest_file.h"
#include "src/pki/cert.h"
#include "src/pki/token.h"
#include "src/signer/sandbox.h"

#include <getopt.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: devstamp token attest --maker-root FILE --module PATH --key URI [--output DIR]\n"
    "       devstamp token attest --maker-root FILE --attestation FILE --certificate FILE\n\n"
    "Verifies that a key was made in a token of the maker whose root is given, and tells in which, and how the key is\n"
    "guarded. No PIN is asked for. The first form asks the token; the second reads files, as 'devstamp ca init\n"
    "--maker-root' keeps them beside the CA, and compares with the key of a certificate, such as subca.pem.\n\n"
    "  --maker-root FILE   the maker's root and what may lie between, PEM, from the maker itself\n"
    "  --module, --key     PKCS#11 module and URI of the key\n"
    "  --output DIR        write DIR/attestation.pem and DIR/attestation-chain.pem; overwrites nothing\n"
    "  --attestation FILE  the attestation, PEM; certificates after it and those of attestation-chain.pem beside it\n"
    "                      may lie between\n"
    "  --certificate FILE  certificate whose key it must be of\n"
    "  --serial N          serial number the token must have\n";

typedef struct options {
    const char *maker_root, *module, *key, *output, *attestation, *certificate, *serial;
} options;

static const struct option long_options[] = {
    {"maker-root", required_argument, NULL, 'r'},
    {"module", required_argument, NULL, 'm'},
    {"key", required_argument, NULL, 'k'},
    {"output", required_argument, NULL, 'o'},
    {"attestation", required_argument, NULL, 'a'},
    {"certificate", required_argument, NULL, 'c'},
    {"serial", required_argument, NULL, 's'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static const char **text_of(options *o, int id)
{
    switch (id) {
    case 'r':
        return &o->maker_root;
    case 'm':
        return &o->module;
    case 'k':
        return &o->key;
    case 'o':
        return &o->output;
    case 'a':
        return &o->attestation;
    case 'c':
        return &o->certificate;
    case 's':
        return &o->serial;
    default:
        return NULL;
    }
}

static bool parse(int argc, char **argv, options *o, int *ret_exit)
{
    *o = (options){0};
    optind = 1;
    for (int id; (id = getopt_long(argc, argv, "ho:", long_options, NULL)) != -1;) {
        const char **text = text_of(o, id);
        if (!text) {
            *ret_exit = ds_cli_usage(usage, id == 'h');
            return false;
        }
        *text = optarg;
    }
    bool token = o->module && o->key && !o->attestation && !o->certificate;
    bool files = o->attestation && o->certificate && !o->module && !o->key && !o->output;
    if (optind == argc && o->maker_root && (token || files))
        return true;
    *ret_exit = ds_cli_usage(usage, false);
    return false;
}

void ds_token_print_attestation(const ds_attestation *a)
{
    static const char *const forms[] = {NULL,
                                        "USB-A",
                                        "USB-A nano",
                                        "USB-C",
                                        "USB-C nano",
                                        "USB-C and Lightning",
                                        "USB-A with fingerprints",
                                        "USB-C with fingerprints"};
    const ds_key_kind *kind = ds_key_kind_of(a->key_type);
    uint8_t form = a->form_factor & 0x3F;
    puts("attestation");
    printf("  key            %s, made in the token%s", kind ? kind->label : "of a type that is not used here",
           a->slot ? ", slot " : "");
    if (a->slot)
        printf("%02x", a->slot);
    printf("\n  maker          %s\n  serial number  ", a->maker);
    if (a->has_serial)
        printf("%u", a->serial);
    else
        printf("not said");
    printf("\n  firmware       %u.%u.%u", a->firmware[0], a->firmware[1], a->firmware[2]);
    if (form && form < sizeof forms / sizeof *forms)
        printf(", %s", forms[form]);
    printf("%s\n  PIN policy     %s\n  touch policy   %s\n", a->form_factor & 0x80 ? ", FIPS" : "",
           ds_pin_policy_name(a->pin_policy), ds_touch_policy_name(a->touch_policy));
}

static enum ds_class check_serial(const ds_attestation *a, const char *serial, ds_err *e)
{
    char theirs[16];
    snprintf(theirs, sizeof theirs, "%u", a->serial);
    if (!serial || (a->has_serial && strcmp(theirs, serial) == 0))
        return DS_OK;
    return ds_fail(e, DS_POLICY, "the attestation is of the token %s, not %s", a->has_serial ? theirs : "of no number",
                   serial);
}

// What is attested is verified, printed, and kept where that is asked for.
static enum ds_class conclude(const options *o, const ds_attestation_files *f, EVP_PKEY *key, const char *serial,
                              ds_err *e)
{
    ds_attestation a;
    enum ds_class rc = ds_attestation_verify_files(f, o->maker_root, key, ds_utc_now(), &a, e);
    if (!rc)
        rc = check_serial(&a, serial, e);
    if (!rc && o->output)
        rc = ds_attestation_files_write(f, o->output, e);
    if (!rc)
        ds_token_print_attestation(&a);
    return rc;
}

static enum ds_class from_token(const options *o, ds_err *e)
{
    const ds_token_access access = {.uri = o->key, .module = o->module, .user = DS_TOKEN_NOBODY, .serial = o->serial};
    ds_token *t = NULL;
    ds_token_key k = {0};
    ds_attestation_files f = {0};
    enum ds_class rc = ds_sandbox_harden(e);
    if (!rc)
        rc = ds_token_open(&access, &t, e);
    if (!rc)
        rc = ds_token_find_public(t, &k, e);
    if (!rc)
        rc = ds_token_attestation(t, &k, &f.leaf, &f.chain, e);
    if (!rc)
        rc = conclude(o, &f, k.public_key, ds_token_serial(t), e);
    ds_attestation_files_free(&f);
    ds_token_key_free(&k);
    ds_token_close(t);
    return rc;
}

static enum ds_class from_files(const options *o, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    ds_attestation_files f = {0};
    enum ds_class rc = ds_cert_read(o->certificate, &cert, e);
    if (!rc && !X509_get0_pubkey(cert))
        rc = ds_fail(e, DS_INPUT, "%s: its key cannot be read", o->certificate);
    if (!rc)
        rc = ds_attestation_files_read(o->attestation, &f, e);
    if (!rc)
        rc = conclude(o, &f, X509_get0_pubkey(cert), o->serial, e);
    ds_attestation_files_free(&f);
    return rc;
}

int ds_cmd_token_attest(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    int code = 0;
    options o;
    if (!parse(argc, argv, &o, &code))
        return code;
    return (o.module ? from_token(&o, &e) : from_files(&o, &e)) ? ds_cli_fail(&e) : DS_EXIT_OK;
}
