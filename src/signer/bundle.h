// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A release bundle: one file with a recipe, the files it names, a manifest over all of them, and signatures over the
// manifest. docs/bundle.md fixes the bytes. It is read whole into memory, and used from there: what was verified is
// what is flashed.
#ifndef DS_SIGNER_BUNDLE_H
#define DS_SIGNER_BUNDLE_H

#include "src/pki/keytype.h"
#include "src/signer/manifest.h"

// Who signs. A release is signed by a release key; others approve it. Either signature covers its own words.
enum ds_bundle_role { DS_ROLE_RELEASE = 1, DS_ROLE_APPROVAL = 2 };
const char *ds_bundle_role_name(enum ds_bundle_role role); // "release", "approval"

enum { DS_BUNDLE_SIGNATURES = 16, DS_BUNDLE_SIGNATURE_MAX = 512, DS_BUNDLE_KEY_MAX = 600 };

typedef struct ds_bundle_signature {
    enum ds_bundle_role role;
    uint8_t key_id[32]; // SHA-256 of the SubjectPublicKeyInfo
    enum ds_key_type key_type;
    ds_view key, signature; // SubjectPublicKeyInfo in DER; borrowed
} ds_bundle_signature;

typedef struct ds_bundle {
    ds_buf bytes; // the whole file; what follows is borrowed from it
    ds_view text; // of the manifest
    ds_manifest manifest;
    uint8_t digest[32]; // SHA-256 of the manifest: the bundle's name
    ds_view parts[DS_BUNDLE_PARTS];
    ds_bundle_signature
        signatures[DS_BUNDLE_SIGNATURES]; // each holds with the key beside it; whose that is, is another
    size_t count;                         // question
} ds_bundle;

// Put a bundle without signatures together. The manifest's sizes and digests are filled in from parts; an empty view is
// no part.
enum ds_class ds_bundle_make(ds_manifest *m, const ds_view parts[DS_BUNDLE_PARTS], ds_buf *ret, ds_err *e) DS_MUST;

// Take bytes over (also on a failure) and parse them. DS_INPUT: not whole, a digest or a signature does not fit, the
// same key signed twice; DS_POLICY: signed with a key that it makes devices trust for secure boot.
enum ds_class ds_bundle_parse(ds_buf *bytes, ds_bundle *ret, ds_err *e) DS_MUST;
enum ds_class ds_bundle_read(const char *path, ds_bundle *ret, ds_err *e) DS_MUST;
void ds_bundle_free(ds_bundle *b);

// What a signature is over: "devstamp bundle release" or "devstamp bundle approval", NUL, the manifest.
void ds_bundle_message(enum ds_bundle_role role, ds_view manifest, ds_buf *ret);

// One more signature; b is parsed anew. As ds_bundle_parse; DS_POLICY: this key has signed in this role already.
typedef struct ds_bundle_new_signature {
    enum ds_bundle_role role;
    ds_view key, signature;
} ds_bundle_new_signature;
enum ds_class ds_bundle_add(ds_bundle *b, const ds_bundle_new_signature *s, ds_err *e) DS_MUST;

// A key may sign this manifest's bundle: one of our types, and none that its devices trust for secure boot, because
// such a key signs bare digests, and a digest may be a manifest's.
enum ds_class ds_bundle_check_key(EVP_PKEY *key, const ds_manifest *m, ds_err *e) DS_MUST;

// Whose signatures count: keys by their ids.
enum { DS_BUNDLE_KEYS = 16 };
typedef struct ds_bundle_policy {
    uint8_t release_keys[DS_BUNDLE_KEYS][32], approvers[DS_BUNDLE_KEYS][32];
    size_t release_count, approver_count;
    unsigned approvals; // of different approvers, none of whom is the release key that counts
} ds_bundle_policy;

// DS_POLICY: not signed by a release key, or not approved by enough.
enum ds_class ds_bundle_judge(const ds_bundle *b, const ds_bundle_policy *p, ds_err *e) DS_MUST;

// Add a key to a list, by "sha256:" and 64 hex digits, or by the path of its public key (or certificate) in PEM.
// DS_INPUT.
enum ds_class ds_bundle_key_id(const char *text, uint8_t ret[32], ds_err *e) DS_MUST;

#endif
