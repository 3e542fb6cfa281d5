// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp signer: the signer for stations elsewhere, and what people ask of a signer; and, with options alone, what
// the utility starts itself with to become the signer process.
#include "src/cli/cmd_signer.h"
#include "src/cli/cli.h"

#include "src/signer/signer.h"

static const ds_verb verbs[] = {
    {"listen", "be the signer of stations elsewhere", ds_cmd_signer_listen},
    {"status", "ask a signer elsewhere what it signs as, and what is left", ds_cmd_signer_status},
    {"revoke", "revoke a certificate that a signer's log holds", ds_cmd_signer_revoke},
    {0},
};

int ds_cmd_signer(int argc, char **argv)
{
    if (argc > 1 && argv[1][0] == '-' && argv[1][1] == '-' && argv[1][2] != 'h')
        ds_signer_run(argc, argv);
    return ds_cli_dispatch("devstamp signer", verbs, argc, argv);
}
