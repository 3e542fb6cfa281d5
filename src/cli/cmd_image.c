// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp image: merge, verify and show firmware images; signing is in cmd_image_sign.c.
#include "src/cli/cli.h"

#include "src/base/file.h"
#include "src/cli/cmd_image.h"
#include "src/esp/sbv2.h"
#include "src/station/recipe.h"

#include <getopt.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IMAGE = 16 << 20 };

static const char usage[] =
    "usage: devstamp image merge --recipe FILE [--whole-flash] -o FILE\n"
    "       devstamp image verify [--key KEY.pem] FILE\n"
    "       devstamp image info FILE\n"
    "\n"
    "  merge   the one file that a chip supplier pre-flashes: plain bootloader, partition table, mfg app, signed app\n"
    "  verify  checksum, digest and signature; with --key (public or private), only that key is trusted\n"
    "  info    what the image is\n";

typedef struct options {
    const char *recipe, *key, *out, *in;
    bool whole_flash, help, bad;
} options;

static options parse(int argc, char **argv)
{
    static const struct option names[] = {
        {"recipe", required_argument, NULL, 'r'}, {"key", required_argument, NULL, 'k'},
        {"output", required_argument, NULL, 'o'}, {"whole-flash", no_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    options o = {0};
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "o:h", names, NULL)) != -1;) {
        if (c == 'r')
            o.recipe = optarg;
        else if (c == 'k')
            o.key = optarg;
        else if (c == 'o')
            o.out = optarg;
        else if (c == 'w')
            o.whole_flash = true;
        else if (c == 'h')
            o.help = true;
        else
            o.bad = true;
    }
    if (optind < argc)
        o.in = argv[optind++];
    o.bad = o.bad || optind != argc;
    return o;
}

static enum ds_class read_key(const char *path, EVP_PKEY **ret, ds_err *e)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return ds_fail(e, DS_INPUT, "%s: cannot be read", path);
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    if (!key) {
        rewind(f);
        key = PEM_read_PUBKEY(f, NULL, NULL, NULL);
    }
    fclose(f);
    if (!key)
        return ds_fail(e, DS_INPUT, "%s: holds no public or private key in PEM", path);
    *ret = key;
    return DS_OK;
}

static enum ds_class read_image(const char *path, ds_buf *data, ds_image_info *info, ds_err *e)
{
    enum ds_class rc = ds_file_read(path, MAX_IMAGE, data, e);
    if (rc)
        return rc;
    return ds_image_parse(ds_buf_view(data), info, e) ? ds_wrap(e, "%s", path) : DS_OK;
}

static int merge(int argc, char **argv)
{
    options o = parse(argc, argv);
    if (o.help || o.bad || o.in || !o.recipe || !o.out)
        return ds_cli_usage(usage, o.help);
    ds_err e = DS_ERR_INIT;
    ds_recipe *r = NULL;
    DS_CLEANUP_BUF ds_buf out = {0};
    enum ds_class rc = ds_recipe_load(o.recipe, &r, &e);
    if (!rc)
        rc = ds_recipe_merge(r, o.whole_flash, &out, &e);
    if (!rc)
        rc = ds_file_write(o.out, ds_buf_view(&out), 0644, &e);
    if (!rc)
        printf("%s: %zu bytes for %s, to be written at 0x0\n", o.out, out.len, r->chip->title);
    ds_recipe_free(r);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static void print_digest(const char *what, const uint8_t digest[32])
{
    char hex[65];
    ds_hex(digest, 32, hex);
    printf("%s %s\n", what, hex);
}

static int verify(int argc, char **argv)
{
    options o = parse(argc, argv);
    if (o.help || o.bad || !o.in)
        return ds_cli_usage(usage, o.help);
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_BUF ds_buf image = {0};
    ds_image_info info;
    EVP_PKEY *key = NULL;
    uint8_t trusted[1][32], digest[32];
    enum ds_class rc = read_image(o.in, &image, &info, &e);
    if (!rc && o.key)
        rc = read_key(o.key, &key, &e);
    if (!rc && o.key)
        rc = ds_sbv2_key_digest(key, trusted[0], &e);
    EVP_PKEY_free(key);
    if (rc)
        return ds_cli_fail(&e);
    enum ds_sbv2_verdict v = ds_sbv2_verify(ds_buf_view(&image), ds_sbv2_content_len(info.len),
                                            (const uint8_t(*)[32])trusted, o.key ? 1 : 0, digest);
    if (v) {
        (void)ds_fail(&e, DS_POLICY, "%s: %s", o.in, ds_sbv2_verdict_text(v));
        return ds_cli_fail(&e);
    }
    print_digest("signature holds; key digest", digest);
    return DS_EXIT_OK;
}

static int info(int argc, char **argv)
{
    options o = parse(argc, argv);
    if (o.help || o.bad || !o.in)
        return ds_cli_usage(usage, o.help);
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_BUF ds_buf image = {0};
    ds_image_info i;
    if (read_image(o.in, &image, &i, &e))
        return ds_cli_fail(&e);
    const ds_chip *chip = ds_chip_by_id(i.chip_id);
    printf("chip       %s\nlength     %zu bytes, %u segments, entry 0x%08x\n", chip ? chip->title : "unknown", i.len,
           i.segment_count, i.entry);
    if (i.has_app_desc)
        printf("app        %s %s (secure version %u, %s)\n", i.app.project, i.app.version, i.app.secure_version,
               i.app.idf_version);
    if (i.has_boot_desc)
        printf("bootloader %s\n", i.boot.idf_version);
    if (i.has_hash)
        print_digest("sha-256   ", i.sha256);
    uint8_t digest[32];
    enum ds_sbv2_verdict v = ds_sbv2_verify(ds_buf_view(&image), ds_sbv2_content_len(i.len), NULL, 0, digest);
    if (v == DS_SBV2_OK)
        print_digest("signed by ", digest);
    else
        printf("signature  %s\n", ds_sbv2_verdict_text(v));
    return DS_EXIT_OK;
}

int ds_cmd_image(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"merge", "the one file that a chip supplier pre-flashes", merge},
        {"sign", "append a Secure Boot V2 signature", ds_image_sign},
        {"order", "what a key on a machine apart is to sign", ds_image_order},
        {"sign-order", "there: sign it", ds_image_sign_order},
        {"attach", "put the signature that came back under the image", ds_image_attach},
        {"verify", "check checksum, digest and signature", verify},
        {"info", "show what an image is", info},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp image", verbs, argc, argv);
}
