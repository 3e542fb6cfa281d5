// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The skeleton of a port; docs/porting.md is the guide to it.
#ifndef DS_PORT_TEMPLATE_H
#define DS_PORT_TEMPLATE_H

#include "agent/core/agent.h"

// Fill in the functions of the platform. Until a porter writes them each refuses: no key can be made, nothing is
// stored, and hello tells that the self-test failed.
void ds_template_port(ds_port *ret);

#endif
