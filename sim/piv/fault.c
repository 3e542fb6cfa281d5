// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Misbehaviour; see fault.h.
#include "sim/piv/fault.h"

#include <stdlib.h>
#include <string.h>

static uint64_t *field(ds_piv_fault *f, const char *word, size_t *ret_len)
{
    static const char *const names[] = {"slow=", "hang@", "wrong@", "gone@"};
    uint64_t *const fields[] = {&f->slow_ms, &f->hang_at, &f->wrong_at, &f->gone_at};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *ret_len = strlen(names[i]);
        if (strncmp(word, names[i], *ret_len) == 0)
            return fields[i];
    }
    return NULL;
}

enum ds_class ds_piv_fault_parse(const char *plan, ds_piv_fault *ret, ds_err *e)
{
    ds_piv_fault f = {0};
    for (const char *p = plan; *p;) {
        size_t skip = 0;
        uint64_t *value = field(&f, p, &skip);
        char *end = NULL;
        if (value && p[skip] >= '1' && p[skip] <= '9')
            *value = strtoull(p + skip, &end, 10);
        if (!end || (*end && *end != ',') || *value > 600000)
            return ds_hint((ds_fail(e, DS_USAGE, "fault plan: %s: no such fault", p), e),
                           "known: slow=MS, hang@N, wrong@N, gone@N; numbers from 1 to 600000");
        p = end + (*end == ',');
    }
    *ret = f;
    return DS_OK;
}

// GENERAL AUTHENTICATE, whole or its last part, with another key than the management key.
static bool signs(ds_view command)
{
    return command.len > 4 && command.ptr[1] == 0x87 && command.ptr[3] != 0x9B && !(command.ptr[0] & 0x10);
}

enum ds_piv_mishap ds_piv_fault_answer(ds_piv_fault *f, ds_view command, ds_buf *answer)
{
    if (f->hang_at && f->signatures >= f->hang_at)
        return DS_PIV_HANGS;
    if (!signs(command))
        return DS_PIV_ANSWERS;
    f->signatures++;
    if (f->wrong_at == f->signatures && answer->len > 8)
        answer->ptr[answer->len - 6] ^= 0x10;
    if (f->gone_at == f->signatures)
        return DS_PIV_IS_GONE;
    return f->hang_at == f->signatures ? DS_PIV_HANGS : DS_PIV_ANSWERS;
}
