// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What is loaded as a PKCS#11 module: it leads back into the program that loads it; see piv_module.h.
#include "tests/unit/piv_module.h"

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret)
{
    return piv_module_functions(ret);
}
