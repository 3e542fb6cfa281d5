// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Signing for a release in the signer process: one order, by a key behind a URI.
#ifndef DS_SIGNER_ORDER_CHILD_H
#define DS_SIGNER_ORDER_CHILD_H

#include "proto/signer.pb-c.h"
#include "src/signer/order.h"

// The answer's text to ret. Reads the PIN, opens the key, gives up what is not needed any more (sandbox.h), signs,
// verifies.
enum ds_class ds_order_hold(const ds_signer_config *access, const Devstamp__Signer__SignOrder *asked, ds_buf *ret,
                            ds_err *e) DS_MUST;

#endif
