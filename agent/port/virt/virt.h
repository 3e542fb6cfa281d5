// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The port to the emulated board of board.h.
#ifndef DS_PORT_VIRT_H
#define DS_PORT_VIRT_H

#include "agent/core/agent.h"

// Bring the board up and fill in its functions. ret and what it points to live as long as the firmware.
void ds_virt_port(ds_port *ret);

#endif
