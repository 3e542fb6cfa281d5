// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp image sign, order, sign-order, attach: signatures of Secure Boot V2, by a key in a file or a token, or in
// two halves by a key on another machine. The signing is the signer process's.
#include "src/cli/cmd_image.h"

#include "src/base/file.h"
#include "src/cli/release_args.h"

#include <stdio.h>

#define KEY_OPTIONS                                                                                  \
    "  --key KEY        RSA-3072 or ECDSA P-256: a PEM file that only its owner can read, or a URI " \
    "(pkcs11:...)\n"                                                                                 \
    "  --module PATH    PKCS#11 module of a token or key service\n"                                  \
    "  --network        the module speaks to a key service: it may make connections\n"               \
    "  --token-serial N serial number the token must have, else no PIN is sent\n"                    \
    "  --pin-file FILE  PIN of the token, in a file that only its owner can read\n"                  \
    "  --pin-fd N       PIN from file descriptor N (neither: asked on the terminal)\n"               \
    "  --no-pin         the token or key service asks for none\n"

static const char sign_usage[] = "usage: devstamp image sign --key KEY IN -o OUT [options]\n"
                                 "\n"
                                 "Appends a Secure Boot V2 signature; to an image that has one, another by another "
                                 "key, where the chip looks at it.\n"
                                 "\n" KEY_OPTIONS;

static const char order_usage[] =
    "usage: devstamp image order IN -o ORDER\n"
    "\n"
    "The first half, for a key on a machine apart: writes what is to be signed. Carry ORDER there.\n";

static const char sign_order_usage[] =
    "usage: devstamp image sign-order --key KEY ORDER -o SIGNATURE [--image IN] [options]\n"
    "\n"
    "The second half, where the key is: prints what the order says, signs it, writes the signature to carry back.\n"
    "\n"
    "  --image IN       the image too: it must be the order's\n" KEY_OPTIONS;

static const char attach_usage[] =
    "usage: devstamp image attach IN SIGNATURE -o OUT\n"
    "\n"
    "Puts a signature that was carried back under the image it was ordered for, and verifies it.\n";

static enum ds_class attach(const char *in, const ds_answer *answer, const char *out, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf image = {0};
    ds_sbv2_block block;
    enum ds_class rc = ds_file_read(in, DS_BUNDLE_PART_MAX, &image, e);
    if (!rc && ds_answer_to_image(answer, &image, e))
        rc = ds_wrap(e, "%s", in);
    if (!rc)
        rc = ds_sbv2_check_block(answer->block, &block, e);
    if (!rc)
        rc = ds_file_write(out, ds_buf_view(&image), 0644, e);
    if (!rc)
        ds_release_print_digest("signed; key digest", block.key_digest);
    return rc;
}

static enum ds_class order_of(const char *path, ds_order *ret, ds_err *e)
{
    DS_CLEANUP_BUF ds_buf image = {0};
    enum ds_class rc = ds_file_read(path, DS_BUNDLE_PART_MAX, &image, e);
    if (!rc && ds_order_of_image(ds_buf_view(&image), ret, e))
        rc = ds_wrap(e, "%s", path);
    return rc;
}

int ds_image_sign(int argc, char **argv)
{
    const ds_release_verb verb = {sign_usage, "key output", 1, true, true, false};
    ds_release_args a;
    ds_err e = DS_ERR_INIT;
    ds_order order = {.what = DS_ORDER_IMAGE};
    ds_answer answer;
    int exit_code = 0;
    if (!ds_release_args_read(argc, argv, &verb, &a, &exit_code))
        return exit_code;
    enum ds_class rc = order_of(a.operands[0], &order, &e);
    if (!rc)
        rc = ds_release_sign(&a, &order, a.operands[0], &answer, &e);
    if (!rc)
        rc = attach(a.operands[0], &answer, a.out, &e);
    ds_order_free(&order);
    ds_release_args_free(&a);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static void tell(const ds_order_image *i)
{
    const ds_chip *chip = ds_chip_by_name(i->chip);
    printf("image for  %s, %llu bytes as padded\n", chip ? chip->title : i->chip, (unsigned long long)i->length);
    if (i->version[0])
        printf("app        %s %s (secure version %u)\n", i->project, i->version, i->secure_version);
    else
        printf("           no app: a bootloader\n");
    ds_release_print_digest("sha-256   ", i->digest);
}

int ds_image_order(int argc, char **argv)
{
    const ds_release_verb verb = {order_usage, "output", 1, false, true, false};
    ds_release_args a;
    ds_err e = DS_ERR_INIT;
    ds_order order = {.what = DS_ORDER_IMAGE};
    int exit_code = 0;
    if (!ds_release_args_read(argc, argv, &verb, &a, &exit_code))
        return exit_code;
    enum ds_class rc = order_of(a.operands[0], &order, &e);
    if (!rc)
        rc = ds_release_write_order(&order, a.out, &e);
    if (!rc)
        tell(&order.image);
    ds_order_free(&order);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_image_sign_order(int argc, char **argv)
{
    const ds_release_verb verb = {sign_order_usage, "key output image", 1, true, true, false};
    ds_release_args a;
    ds_err e = DS_ERR_INIT;
    ds_order order = {.what = DS_ORDER_IMAGE};
    int exit_code = 0;
    if (!ds_release_args_read(argc, argv, &verb, &a, &exit_code))
        return exit_code;
    enum ds_class rc = ds_release_sign_carried(&a, true, &order, &e);
    if (!rc)
        tell(&order.image);
    ds_order_free(&order);
    ds_release_args_free(&a);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_image_attach(int argc, char **argv)
{
    const ds_release_verb verb = {attach_usage, "output", 2, false, true, false};
    ds_release_args a;
    ds_err e = DS_ERR_INIT;
    ds_answer answer;
    int exit_code = 0;
    if (!ds_release_args_read(argc, argv, &verb, &a, &exit_code))
        return exit_code;
    enum ds_class rc = ds_release_read_answer(a.operands[1], &answer, &e);
    if (!rc)
        rc = attach(a.operands[0], &answer, a.out, &e);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
