// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// 32-bit status words: module << 24 | code << 16 | line; 0 is success. Modules and codes: proto/stamp.proto.
#ifndef DS_AGENT_STATUS_H
#define DS_AGENT_STATUS_H

#include "proto/stamp.pb-c.h"

#include <stdint.h>

typedef uint32_t ds_status;

#define DS_STATUS_OK ((ds_status)0)
#define DS_STATUS(module, code)                                             \
    ((ds_status)((uint32_t)DEVSTAMP__STATUS_MODULE__MODULE_##module << 24 | \
                 (uint32_t)DEVSTAMP__STATUS_CODE__CODE_##code << 16 | ((uint32_t)__LINE__ & 0xFFFF)))
#define DS_STATUS_CODE(s) (((s) >> 16) & 0xFF)

#endif
