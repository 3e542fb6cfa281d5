// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What an EST server answers (RFC 7030, 4.1.3 and 4.2.3; base64 as RFC 8951 has it): read within bounds, and judged
// before anything of it is taken. The server is a CA of somebody else's, and its word counts for nothing here.
#ifndef DS_SIGNER_EST_ANSWER_H
#define DS_SIGNER_EST_ANSWER_H

#include "src/pki/ossl.h"
#include "src/signer/signer.h"

// Base64 with white space anywhere; false: it is none. ret is replaced.
bool ds_est_decode(ds_view text, ds_buf *ret);

// The certificates of a "certs-only" message in base64, 1 to 16, in its order. Free with sk_X509_pop_free. DS_NETWORK:
// it is no such message.
enum ds_class ds_est_read(ds_view text, STACK_OF(X509) * *ret, ds_err *e) DS_MUST;

// Whom certificates may be by. Threads may share it.
typedef struct ds_est_trust ds_est_trust;
// device_ca: PEM file of roots, or of CAs below one, which are believed as they are. DS_INPUT: no such file.
enum ds_class ds_est_trust_new(const char *device_ca, ds_est_trust **ret, ds_err *e) DS_MUST;
void ds_est_trust_free(ds_est_trust *t);
// Take what the server shows of its CAs (/cacerts): only what chains to device_ca counts. *ret_ca, the lowest of them,
// is borrowed. DS_POLICY: none does. Not while others use t.
enum ds_class ds_est_trust_learn(ds_est_trust *t, STACK_OF(X509) * shown, X509 **ret_ca, ds_err *e) DS_MUST;
// The certificates above cert, its issuer first and without the root that ends a longer chain.
enum ds_class ds_est_trust_chain(const ds_est_trust *t, X509 *cert, ds_signer_chain *ret, ds_err *e) DS_MUST;

// Is cert what was asked? Its key is the request's; its subject is what was asked, in the same order and spelling; no
// CA; a device's certificate without an error by the lint; no alternative name but the one asked; valid now, and as
// long as was asked, less a day; by one of those who are trusted; and with its chain not more than a device holds.
// DS_POLICY names the first that does not hold, and the certificate's serial number, so that its CA can revoke it.
enum ds_class ds_est_judge(const ds_est_trust *t, X509 *cert, const ds_sign_request *asked, ds_err *e) DS_MUST;

#endif
