// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One misbehaviour at a time of the virtual YubiKey, as a decorator around its answers.
//
// Plan text, comma-separated: slow=MS (each answer takes so long), hang@N (the Nth signature is never answered, nor
// anything after it, until the plan changes or the key is pulled out), wrong@N (the Nth signature is not one), gone@N
// (the key is pulled out in the middle of the Nth signature). Signatures are counted from when the plan was set. "" is
// the empty plan.
#ifndef DS_PIV_FAULT_H
#define DS_PIV_FAULT_H

#include "src/base/buf.h"

typedef struct ds_piv_fault {
    uint64_t slow_ms, hang_at, wrong_at, gone_at; // 0 = never
    uint64_t signatures;                          // asked for since the plan was set
} ds_piv_fault;

enum ds_class ds_piv_fault_parse(const char *plan, ds_piv_fault *ret, ds_err *e) DS_MUST;

enum ds_piv_mishap { DS_PIV_ANSWERS, DS_PIV_HANGS, DS_PIV_IS_GONE };

// What becomes of this command's answer, which may be changed. Commands that do not sign are only slow.
enum ds_piv_mishap ds_piv_fault_answer(ds_piv_fault *f, ds_view command, ds_buf *answer);

#endif
