// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp cloud: registering CAs and devices at a cloud's service; AWS IoT Core is the one there is.
#include "src/cli/cmd_cloud.h"
#include "src/cli/cli.h"

#include <stddef.h>

static int cmd_aws(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"register-ca", "register the CA that signs devices", ds_cloud_cmd_register_ca},
        {"ca", "show registered CAs, switch them on and off", ds_cloud_cmd_ca},
        {"endpoint", "where devices of this account connect", ds_cloud_cmd_endpoint},
        {"policy", "what devices may do", ds_cloud_cmd_policy},
        {"template", "how devices are provisioned just in time or in bulk", ds_cloud_cmd_template},
        {"jitr-rule", "what happens at a device's first connect", ds_cloud_cmd_jitr_rule},
        {"register", "register the ledger's devices", ds_cloud_cmd_register},
        {"bulk", "register a manifest that lies in S3", ds_cloud_cmd_bulk},
        {"check", "hold cloud and ledger against each other", ds_cloud_cmd_check},
        {"activate", "let devices connect again", ds_cloud_cmd_activate},
        {"deactivate", "keep devices out for now", ds_cloud_cmd_deactivate},
        {"revoke", "keep devices out for good", ds_cloud_cmd_revoke},
        {"delete", "remove devices' certificates", ds_cloud_cmd_delete},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp cloud aws", verbs, argc, argv);
}

int ds_cmd_cloud(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"aws", "AWS IoT Core", cmd_aws},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp cloud", verbs, argc, argv);
}
