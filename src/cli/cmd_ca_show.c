// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp ca show: certificates in plain words.
#include "src/cli/cmd_ca.h"

#include "src/base/clock.h"
#include "src/pki/cert.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: devstamp ca show FILE...\n"
    "       devstamp ca show --dir DIR\n\n"
    "Shows certificates (PEM or DER) in plain words. With --dir: root and Sub CA of 'devstamp ca init', and\n"
    "whether the one signed the other.\n";

static void print_validity(const ds_cert_info *info)
{
    char from[21], to[21];
    ds_utc_format(info->not_before_utc, from);
    ds_utc_format(info->not_after_utc, to);
    if (info->not_after_utc == DS_NO_EXPIRY)
        printf("  valid        from %s, no expiry\n", from);
    else
        printf("  valid        from %s to %s%s\n", from, to, info->not_after_utc < ds_utc_now() ? " (expired)" : "");
}

static void print_purpose(const ds_cert_info *info)
{
    if (info->ca && info->path_len == 0)
        puts("  may sign     certificates of devices, no further CAs (path length 0)");
    else if (info->ca && info->path_len > 0)
        printf("  may sign     certificates and CAs below it (path length %ld)\n", info->path_len);
    else if (info->ca)
        puts("  may sign     certificates and CAs below it (no path length limit)");
    else
        printf("  is for       %s%s%s\n", info->client_auth ? "a device (TLS client)" : "",
               info->client_auth && info->server_auth ? ", " : "", info->server_auth ? "a server (TLS server)" : "");
}

static void print_info(const ds_cert_info *info, const char *heading)
{
    const ds_key_kind *kind = ds_key_kind_of(info->key_type);
    char serial[41], fingerprint[65];
    ds_hex(info->serial, info->serial_len, serial);
    ds_hex(info->fingerprint, sizeof info->fingerprint, fingerprint);
    printf("%s\n", heading);
    printf("  subject      %s\n", info->subject);
    printf("  issuer       %s\n", strcmp(info->subject, info->issuer) == 0 ? "itself" : info->issuer);
    printf("  serial       %s\n", serial);
    print_validity(info);
    printf("  key          %s\n", kind ? kind->label : "of a kind not used here");
    print_purpose(info);
    printf("  fingerprint  %s (SHA-256)\n", fingerprint);
}

static enum ds_class print_cert(X509 *cert, const char *heading, ds_err *e)
{
    ds_cert_info info;
    enum ds_class rc = ds_cert_describe(cert, &info, e);
    if (!rc)
        print_info(&info, heading);
    return rc;
}

enum ds_class ds_ca_print(ds_view certificate, const char *heading, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    enum ds_class rc = ds_cert_parse(certificate, &cert, e);
    return rc ? rc : print_cert(cert, heading, e);
}

static enum ds_class show_file(const char *path, ds_err *e)
{
    DS_CLEANUP_X509 X509 *cert = NULL;
    enum ds_class rc = ds_cert_read(path, &cert, e);
    if (!rc)
        rc = print_cert(cert, path, e);
    return rc;
}

static enum ds_class show_folder(const char *dir, ds_err *e)
{
    DS_CLEANUP_FREE char *root_path = ds_asprintf("%s/root.pem", dir);
    DS_CLEANUP_FREE char *sub_path = ds_asprintf("%s/subca.pem", dir);
    DS_CLEANUP_X509 X509 *root = NULL, *sub = NULL;
    enum ds_class rc = ds_cert_read(root_path, &root, e);
    if (!rc)
        rc = ds_cert_read(sub_path, &sub, e);
    if (!rc)
        rc = print_cert(root, "root CA", e);
    if (!rc)
        rc = print_cert(sub, "Sub CA", e);
    if (!rc)
        rc = ds_chain_verify(sub, NULL, root, ds_utc_now(), e);
    if (!rc)
        puts("the Sub CA chains to the root");
    return rc;
}

int ds_cmd_ca_show(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return ds_cli_usage(usage, true);
    if (argc == 3 && strcmp(argv[1], "--dir") == 0)
        return show_folder(argv[2], &e) ? ds_cli_fail(&e) : DS_EXIT_OK;
    if (argc < 2 || argv[1][0] == '-')
        return ds_cli_usage(usage, false);
    for (int i = 1; i < argc; i++)
        if (show_file(argv[i], &e))
            return ds_cli_fail(&e);
    return DS_EXIT_OK;
}
