// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Tests that try every place where power may be lost: in the suite a part of the places, spread over all of them; every
// one where DS_THOROUGH is set, as script/fuzz does.
#ifndef DS_TESTS_THOROUGH_H
#define DS_TESTS_THOROUGH_H

#include <stdlib.h>

static inline long stride(long part)
{
    return getenv("DS_THOROUGH") ? 1 : part;
}

// The first place of round n: each round begins elsewhere.
static inline long stride_from(long n, long part)
{
    return 1 + n % stride(part);
}

#endif
