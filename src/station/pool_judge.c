// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Whether a stamp is what this station may give to a device: sealing one needs a public key alone, so that it says
// nothing of its maker. By whom and for whom its certificate is, is asked before any device is given it.
#include "src/station/pool.h"

#include "src/pki/cert.h"

#include <string.h>

static bool has(const STACK_OF(X509) * all, const ds_buf *der)
{
    bool found = false;
    for (int i = 0; i < sk_X509_num(all) && !found; i++) {
        DS_CLEANUP_BUF ds_buf one = {0};
        found = ds_cert_der(sk_X509_value(all, i), &one, NULL) == DS_OK && one.len == der->len &&
                memcmp(one.ptr, der->ptr, der->len) == 0;
    }
    return found;
}

enum ds_class ds_pool_judge_issuer(const ds_pool_stamp *s, const char *ca, ds_err *e)
{
    STACK_OF(X509) *all = NULL;
    if (ds_cert_read_all(ca, &all, e))
        return ds_wrap(e, "signer.pool_ca");
    bool known = has(all, &s->issuer);
    sk_X509_pop_free(all, X509_free);
    if (known)
        return DS_OK;
    return ds_hint(
        (ds_fail(e, DS_POLICY, "the certificate of the stamp %s is not by %s", s->serial, ca), e),
        "signer.pool_ca is the certificate of the Sub CA that signs for this pool; ask whoever made the stamp");
}

enum ds_class ds_pool_judge_words(const ds_pool_stamp *s, const ds_recipe *r, const uint8_t mac[6], ds_cert_info *ret,
                                  ds_err *e)
{
    char subject[256];
    DS_CLEANUP_X509 X509 *cert = NULL;
    if (strcmp(s->recipe, r->product) != 0 || s->key_type != r->key_type)
        return ds_fail(e, DS_POLICY, "the stamp %s is for %s, or for another type of key", s->serial, s->recipe);
    if (ds_recipe_subject(r, s->serial, mac, subject, e) || ds_cert_parse(ds_buf_view(&s->certificate), &cert, e) ||
        ds_cert_describe(cert, ret, e))
        return e->cls;
    if (ret->serial_len != 16)
        return ds_fail(e, DS_INPUT, "the serial number of its certificate has %zu bytes instead of 16",
                       ret->serial_len);
    if (strcmp(ret->subject, subject) == 0)
        return DS_OK;
    return ds_hint(
        (ds_fail(e, DS_POLICY, "the stamp %s is for %s, the recipe demands %s", s->serial, ret->subject, subject), e),
        "use the recipe that the pool was made with");
}
