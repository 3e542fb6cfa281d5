// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// OpenSSL's habits and ours; see ossl.h.
#include "src/pki/ossl.h"

#include <libp11.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

// Where it began: the oldest entry, but what a PKCS#11 module said before all, since libp11 and OpenSSL may try another
// way first. Empties the queue.
static unsigned long innermost(void)
{
    unsigned long first = ERR_get_error();
    for (unsigned long code = first; code; code = ERR_get_error()) {
        if (ERR_GET_LIB(code) != ERR_get_CKR_code())
            continue;
        ERR_clear_error();
        return code;
    }
    return first;
}

enum ds_class ds_ossl_fail(ds_err *e, enum ds_class cls, const char *fmt, ...)
{
    unsigned long code = innermost();
    if (!e)
        return cls;
    char text[sizeof e->text];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    (void)ds_fail(e, cls, "%s%s%s", text, reason ? ": " : "", reason ? reason : "");
    if (code && ERR_GET_LIB(code) == ERR_get_CKR_code())
        e->code = (uint32_t)ERR_GET_REASON(code);
    return cls;
}

void ds_cleanup_pkey(EVP_PKEY **p)
{
    EVP_PKEY_free(*p);
}

void ds_cleanup_x509(X509 **p)
{
    X509_free(*p);
}

void ds_cleanup_req(X509_REQ **p)
{
    X509_REQ_free(*p);
}

void ds_cleanup_name(X509_NAME **p)
{
    X509_NAME_free(*p);
}

void ds_cleanup_bio(BIO **p)
{
    BIO_free(*p);
}
