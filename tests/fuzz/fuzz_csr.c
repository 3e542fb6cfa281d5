// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Certificate requests from a hostile device.
#include "src/pki/csr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ds_csr_info info;
    ds_err e = DS_ERR_INIT;
    (void)!ds_csr_check((ds_view){data, size}, &info, &e);
    return 0;
}
