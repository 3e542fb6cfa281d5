// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Answers of a hostile EST server, as base64 text and as the bytes behind it.
#include "src/signer/est_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_text(ds_view text)
{
    ds_err e = DS_ERR_INIT;
    STACK_OF(X509) *all = NULL;
    if (!ds_est_read(text, &all, &e))
        sk_X509_pop_free(all, X509_free);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    DS_CLEANUP_BUF ds_buf text = {0};
    read_text((ds_view){data, size});
    if (size > 65536)
        return 0;
    ds_buf_resize(&text, 4 * ((size + 2) / 3) + 1, 0);
    text.len = (size_t)EVP_EncodeBlock(text.ptr, data, (int)size);
    read_text(ds_buf_view(&text));
    return 0;
}
