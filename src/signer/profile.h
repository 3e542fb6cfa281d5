// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the recipes say of certificates, as the signer holds it and judges requests by it: what a profile does not name
// is not signed. Profiles come once, before anything is signed.
#ifndef DS_SIGNER_PROFILE_H
#define DS_SIGNER_PROFILE_H

#include "proto/signer.pb-c.h"
#include "src/pki/cert.h"
#include "src/pki/plain.h"
#include "src/signer/signer.h"

typedef struct ds_profiles {
    ds_signer_profile *profile; // strings owned
    size_t count;
} ds_profiles;
void ds_profiles_free(ds_profiles *p);

// Take them over from the wire. DS_POLICY: there are some already. DS_INPUT: too many, or one that cannot be.
enum ds_class ds_profiles_take(ds_profiles *p, Devstamp__Signer__Profile *const *wire, size_t count, ds_err *e) DS_MUST;

// Is the request what a profile of the recipe it names says: key, device serial number, subject, alternative name, and
// no extension asked for that such a certificate does not get? *ret: that profile, borrowed. DS_POLICY: why not.
enum ds_class ds_profile_check(const ds_profiles *p, const Devstamp__Signer__Sign *sign, const ds_request *csr,
                               const ds_signer_profile **ret, ds_err *e) DS_MUST;

// Does the validity last as long as the profile says?
enum ds_class ds_profile_check_validity(const ds_signer_profile *p, int64_t not_before_utc, int64_t not_after_utc,
                                        ds_err *e) DS_MUST;

// Does a device's serial number fit the format ({mac}, {counter}, {counter:N} in plain text, or {list}: any)? mac: 12
// hex digits.
bool ds_profile_serial_fits(const char *format, const char *serial, const char *mac);

#endif
