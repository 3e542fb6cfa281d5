// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The verbs that devstamp-sim gets from this room.
#ifndef DS_PIV_CMD_H
#define DS_PIV_CMD_H

#include "sim/cmd.h"

extern const ds_sim_verb ds_piv_cmd_yubikey, ds_piv_cmd_yubikey_ctl;

#endif
