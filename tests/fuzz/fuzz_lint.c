// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The lint of certificates, and the list of what is revoked. What the lint finds no error in is a certificate to
// OpenSSL too.
#include "src/pki/crl.h"
#include "src/pki/lint.h"

#include <openssl/err.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_list(const uint8_t *data, size_t size)
{
    static const uint8_t ca[32];
    DS_CLEANUP_BUF ds_buf list = {0}, entries = {0};
    ds_crl_list_begin(&list, ca);
    ds_buf_add(&list, data, size);
    if (ds_crl_list_read(ds_buf_view(&list), ca, &entries, NULL) == DS_OK && entries.len % sizeof(ds_crl_entry))
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ds_lint lint;
    ds_lint_certificate((ds_view){data, size}, &lint);
    if (lint.count > DS_LINT_MAX)
        __builtin_trap();
    as_list(data, size);
    if (lint.by_level[DS_LINT_ERROR])
        return 0;
    const unsigned char *p = data;
    X509 *cert = d2i_X509(NULL, &p, (long)size);
    if (!cert || p != data + size)
        __builtin_trap();
    X509_free(cert);
    ERR_clear_error();
    return 0;
}
