// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// No network: the device shows itself on the console and nowhere else.
#include "example.h"

void example_network_start(void)
{
}
