// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp bundle sign, approve, order, sign-order, attach: signatures under a bundle's manifest, by a key in a file or
// a token, or in two halves by a key on another machine. The signing is the signer process's.
#include "src/cli/cmd_bundle.h"

#include "src/base/file.h"
#include "src/cli/release_args.h"

#include <openssl/sha.h>
#include <stdio.h>

#define KEY_OPTIONS                                                                                                  \
    "  --key KEY        a PEM file that only its owner can read, or a URI (pkcs11:...); never the Secure Boot key\n" \
    "  --module PATH    PKCS#11 module of a token or key service\n"                                                  \
    "  --network        the module speaks to a key service: it may make connections\n"                               \
    "  --token-serial N serial number the token must have, else no PIN is sent\n"                                    \
    "  --pin-file FILE  PIN of the token, in a file that only its owner can read\n"                                  \
    "  --pin-fd N       PIN from file descriptor N (neither: asked on the terminal)\n"                               \
    "  --no-pin         the token or key service asks for none\n"

#define DIGEST_OPTION \
    "  --digest HEX     of the bundle that you looked at, as devstamp bundle show prints it; no other is signed\n"

static const char sign_usage[] =
    "usage: devstamp bundle sign --key KEY BUNDLE [-o OUT] [options]\n"
    "       devstamp bundle approve --key KEY BUNDLE [-o OUT] [options]\n"
    "\n"
    "sign: signs the bundle as a release. approve: one of those whose word a station demands beside that. Look at it\n"
    "first: devstamp bundle show. The bundle is replaced unless -o names another file.\n"
    "\n" DIGEST_OPTION KEY_OPTIONS;

static const char order_usage[] =
    "usage: devstamp bundle order [--approve] BUNDLE -o ORDER\n"
    "\n"
    "The first half, for a key on a machine apart: writes what is to be signed. Carry ORDER there.\n";

static const char sign_order_usage[] =
    "usage: devstamp bundle sign-order --key KEY --digest HEX ORDER -o SIGNATURE [options]\n"
    "\n"
    "The second half, where the key is: prints what the order says, signs it, writes the signature to carry back.\n"
    "An order holds no recipe. So look at the bundle, with devstamp bundle show, and take the digest from there: one "
    "that\n"
    "is read off the order proves nothing.\n"
    "\n" DIGEST_OPTION KEY_OPTIONS;

static const char attach_usage[] =
    "usage: devstamp bundle attach BUNDLE SIGNATURE [-o OUT]\n"
    "\n"
    "Puts a signature that was carried back into the bundle it was ordered for, and verifies it.\n";

static enum ds_class attach(ds_bundle *b, const ds_answer *answer, const ds_release_args *a, ds_err *e)
{
    enum ds_class rc = ds_answer_to_bundle(answer, b, e);
    if (rc)
        return ds_wrap(e, "%s", a->operands[0]);
    rc = ds_file_write(a->out ? a->out : a->operands[0], ds_buf_view(&b->bytes), 0644, e);
    if (rc)
        return rc;
    const ds_bundle_signature *s = &b->signatures[b->count - 1];
    char id[65];
    ds_hex(s->key_id, 32, id);
    printf("%s; key sha256:%s\n", s->role == DS_ROLE_RELEASE ? "signed" : "approved", id);
    return DS_OK;
}

static enum ds_class sign_here(const ds_release_args *a, enum ds_bundle_role role, ds_err *e)
{
    ds_bundle b;
    ds_order order = {.what = DS_ORDER_IMAGE};
    ds_answer answer;
    enum ds_class rc = ds_bundle_open(a->operands[0], &b, NULL, e);
    if (rc)
        return rc;
    ds_bundle_tell_name(&b.manifest, b.digest);
    (void)fflush(stdout); // before a PIN is asked for
    if (ds_release_compare(a, b.digest, e))
        rc = ds_wrap(e, "%s", a->operands[0]);
    if (!rc)
        rc = ds_order_of_bundle(&b, role, &order, e);
    if (!rc)
        rc = ds_release_sign(a, &order, NULL, &answer, e);
    if (!rc)
        rc = attach(&b, &answer, a, e);
    ds_order_free(&order);
    ds_bundle_free(&b);
    return rc;
}

static int sign_as(int argc, char **argv, enum ds_bundle_role role)
{
    const ds_release_verb verb = {sign_usage, "key output digest", 1, true, false, false};
    ds_release_args a;
    ds_err e = DS_ERR_INIT;
    int exit_code = 0;
    if (!ds_release_args_read(argc, argv, &verb, &a, &exit_code))
        return exit_code;
    enum ds_class rc = sign_here(&a, role, &e);
    ds_release_args_free(&a);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_bundle_cmd_sign(int argc, char **argv)
{
    return sign_as(argc, argv, DS_ROLE_RELEASE);
}

int ds_bundle_cmd_approve(int argc, char **argv)
{
    return sign_as(argc, argv, DS_ROLE_APPROVAL);
}

int ds_bundle_cmd_order(int argc, char **argv)
{
    const ds_release_verb verb = {order_usage, "approve output", 1, false, true, false};
    ds_release_args a;
    ds_err e = DS_ERR_INIT;
    ds_bundle b;
    ds_order order = {.what = DS_ORDER_IMAGE};
    int exit_code = 0;
    if (!ds_release_args_read(argc, argv, &verb, &a, &exit_code))
        return exit_code;
    if (ds_bundle_open(a.operands[0], &b, NULL, &e))
        return ds_cli_fail(&e);
    enum ds_class rc = ds_order_of_bundle(&b, a.approve ? DS_ROLE_APPROVAL : DS_ROLE_RELEASE, &order, &e);
    if (!rc)
        rc = ds_release_write_order(&order, a.out, &e);
    if (!rc)
        ds_bundle_tell_name(&b.manifest, b.digest);
    ds_order_free(&order);
    ds_bundle_free(&b);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_bundle_cmd_sign_order(int argc, char **argv)
{
    const ds_release_verb verb = {sign_order_usage, "key output digest", 1, true, true, true};
    ds_release_args a;
    ds_err e = DS_ERR_INIT;
    ds_order order = {.what = DS_ORDER_IMAGE};
    uint8_t digest[32];
    int exit_code = 0;
    if (!ds_release_args_read(argc, argv, &verb, &a, &exit_code))
        return exit_code;
    enum ds_class rc = ds_release_sign_carried(&a, false, &order, &e);
    if (!rc) {
        SHA256(order.text.ptr, order.text.len, digest);
        ds_bundle_tell(order.manifest, digest, NULL);
        printf("\n%s.\n", order.what == DS_ORDER_RELEASE ? "Signed as a release" : "Approved");
    }
    ds_order_free(&order);
    ds_release_args_free(&a);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

int ds_bundle_cmd_attach(int argc, char **argv)
{
    const ds_release_verb verb = {attach_usage, "output", 2, false, false, false};
    ds_release_args a;
    ds_err e = DS_ERR_INIT;
    ds_bundle b;
    ds_answer answer;
    int exit_code = 0;
    if (!ds_release_args_read(argc, argv, &verb, &a, &exit_code))
        return exit_code;
    if (ds_release_read_answer(a.operands[1], &answer, &e) || ds_bundle_read(a.operands[0], &b, &e))
        return ds_cli_fail(&e);
    ds_bundle_tell_name(&b.manifest, b.digest);
    enum ds_class rc = attach(&b, &answer, &a, &e);
    ds_bundle_free(&b);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
