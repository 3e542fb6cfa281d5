// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The hidden verb that the utility starts itself with, to become the signer process.
#include "src/cli/cli.h"
#include "src/signer/signer.h"

int ds_cmd_signer(int argc, char **argv)
{
    ds_signer_run(argc, argv);
}
