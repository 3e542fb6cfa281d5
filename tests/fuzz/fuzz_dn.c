// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Names: as text from recipes, as DER from requests. What was read and written as text must be the same name when it is
// read again.
#include "src/pki/dn.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 255, WRITTEN_MAX = 4096 };

static void check_text(const X509_NAME *name)
{
    char text[WRITTEN_MAX];
    ds_err e = DS_ERR_INIT;
    if (ds_dn_text(name, text, sizeof text, &e))
        return;
    X509_NAME *again = NULL;
    if (!ds_dn_parse(text, &again, &e) && !ds_dn_equal(name, again))
        __builtin_trap();
    X509_NAME_free(again);
}

static void from_text(const uint8_t *data, size_t size)
{
    DS_CLEANUP_FREE char *text = ds_alloc(size + 1);
    memcpy(text, data, size);
    X509_NAME *name = NULL;
    ds_err e = DS_ERR_INIT;
    if (!ds_dn_parse(text, &name, &e)) {
        char written[WRITTEN_MAX];
        X509_NAME *again = NULL;
        if (ds_dn_text(name, written, sizeof written, &e))
            __builtin_trap();
        // Escapes make it longer: only what is short enough must be accepted again.
        if (ds_dn_parse(written, &again, &e) ? strlen(written) <= TEXT_MAX : !ds_dn_equal(name, again))
            __builtin_trap();
        X509_NAME_free(again);
    }
    X509_NAME_free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    from_text(data, size);
    const unsigned char *p = data;
    X509_NAME *name = d2i_X509_NAME(NULL, &p, (long)size);
    if (name)
        check_text(name);
    X509_NAME_free(name);
    return 0;
}
