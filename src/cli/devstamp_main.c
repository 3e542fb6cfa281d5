// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The devstamp command: a table of verbs, one file a verb.
#include "src/cli/cli.h"

#include "src/base/secret.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("devstamp " DS_VERSION);
    return DS_EXIT_OK;
}

static const ds_verb verbs[] = {
    {"provision", "provision every device on the station's slots", ds_cmd_provision},
    {"image", "merge, sign, verify and show firmware images", ds_cmd_image},
    {"bundle", "make, sign and show release bundles", ds_cmd_bundle},
    {"ca", "make and show the certificate authorities", ds_cmd_ca},
    {"token", "list tokens and look at them", ds_cmd_token},
    {"seal", "tie the token's PIN to a station", ds_cmd_seal},
    {"label", "print a device's proof-of-possession QR code", ds_cmd_label},
    {"ledger", "list, show and check the record", ds_cmd_ledger},
    {"log", "verify the signer's issuance log, and prove what is in it", ds_cmd_log},
    {"manifest", "signed lists of devices, and of serial numbers", ds_cmd_manifest},
    {"pool", "stamps made before their devices are known", ds_cmd_pool},
    {"registry", "the self-hosted endpoint's record of devices", ds_cmd_registry},
    {"cloud", "register CAs and devices at a cloud's service", ds_cmd_cloud},
    {"verify", "is a device genuine? hand it Wi-Fi credentials", ds_cmd_verify},
    {"version", "print the version", version},
    {"signer", "sign for stations elsewhere, revoke", ds_cmd_signer},
    {NULL, NULL, NULL},
};

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); // a vanished device or reader is an error of that call, not the end of the station
    ds_err e = DS_ERR_INIT;
    if (ds_secret_no_dumps(&e)) // the station knows proof-of-possession secrets, other verbs PINs and passphrases
        return ds_cli_fail(&e);
    json_set_alloc_funcs(malloc, ds_wipe_free); // the text of a label passes through jansson's buffers
    if (argc > 1 && strcmp(argv[1], "--version") == 0)
        return version(0, NULL);
    return ds_cli_dispatch("devstamp", verbs, argc, argv);
}
