// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A pool: a folder of stamps (key and certificate) that were made before their devices were known, each in a file of
// its own, its key sealed to the key of the station's signer. What a file is called says what became of it:
//   SERIAL.stamp               free
//   SERIAL.for-CHIP-MAC        claimed by that device (4 and 12 hex digits)
//   SERIAL.sent-CHIP-MAC       its key is on its way to that device, or there: it is never opened again
//   SERIAL.of-CHIP-MAC         that device showed the key, its certificate is given out; empty once it is needed no
//   more SERIAL.spoiled-CHIP-MAC    its key was sent, and the device then showed none: nobody gets it again; empty
//   SERIAL.taken-by-STATION-ID moved to that station's pool, or on its way there (of the folder it was taken from); ID
//   is
//                              what the file .id of that pool says, 32 random hex digits
//   SERIAL.asked               on its way from the signer; where nothing follows, its certificate has no key any more
// Names change by rename alone, under a lock of the folder, so that a stamp has one owner whatever is killed or races.
#ifndef DS_STATION_POOL_H
#define DS_STATION_POOL_H

#include "src/pki/cert.h"
#include "src/signer/signer.h"
#include "src/station/recipe.h"

enum ds_pool_state { DS_POOL_CLAIMED, DS_POOL_SENT, DS_POOL_OWNED };

typedef struct ds_pool_stamp {
    char serial[64], recipe[64];
    int key_type;               // Devstamp__KeyType
    ds_buf certificate, issuer; // DER
    ds_sealed_key key;          // to the pool's key
    enum ds_pool_state state;   // of a claimed one
} ds_pool_stamp;
void ds_pool_stamp_free(ds_pool_stamp *s);

// The file's bytes; and read again, within bounds: certificate and issuer are certificates, and the one is by the
// other.
enum ds_class ds_pool_encode(const ds_pool_stamp *s, ds_buf *ret, ds_err *e) DS_MUST;
enum ds_class ds_pool_decode(ds_view bytes, ds_pool_stamp *ret, ds_err *e) DS_MUST;

// Is its issuer one of the certificates (PEM) in the file ca? DS_POLICY: no.
enum ds_class ds_pool_judge_issuer(const ds_pool_stamp *s, const char *ca, ds_err *e) DS_MUST;
// Is it for that recipe, with the words that it demands? DS_POLICY: no. *ret is what its certificate says.
enum ds_class ds_pool_judge_words(const ds_pool_stamp *s, const ds_recipe *r, const uint8_t mac[6], ds_cert_info *ret,
                                  ds_err *e) DS_MUST;

// The stamp of this device: what it claimed before, else a free one for the recipe and key type, claimed now and on
// disk. DS_STORE: none is free. DS_POLICY: its stamp was used up, or is by another CA than d->ca (a free one is passed
// by).
typedef struct ds_pool_device {
    uint16_t chip_id;
    const uint8_t *mac; // 6
    const char *recipe;
    int key_type;
    const char *ca; // path of signer.pool_ca
} ds_pool_device;
enum ds_class ds_pool_claim(const char *pool, const ds_pool_device *d, ds_pool_stamp *ret, ds_err *e) DS_MUST;
// Its key is about to be sent: on disk when this returns. Once alone for each stamp: DS_POLICY where another run did
// so.
enum ds_class ds_pool_send(const char *pool, const ds_pool_device *d, const char *serial, ds_err *e) DS_MUST;
// The device shows the key that was sent: its certificate is the device's. Idempotent.
enum ds_class ds_pool_own(const char *pool, const ds_pool_device *d, const char *serial, ds_err *e) DS_MUST;
// The key was sent and whoever shows the device's address does not have it: the stamp is erased, and the device may
// claim another. DS_POLICY where a device came to own it.
enum ds_class ds_pool_spoil(const char *pool, const ds_pool_device *d, const char *serial, ds_err *e) DS_MUST;
// The device is done with it: its sealed key is erased, its name stays. Idempotent; fine where it claimed none.
enum ds_class ds_pool_spend(const char *pool, const ds_pool_device *d, ds_err *e) DS_MUST;

// Before the signer is asked for a stamp of this serial number: *ret_new false where the pool has or had one already.
enum ds_class ds_pool_ask(const char *pool, const char *serial, bool *ret_new, ds_err *e) DS_MUST;
// The signer refused it, and signed nothing.
enum ds_class ds_pool_unask(const char *pool, const char *serial, ds_err *e) DS_MUST;
// The stamp that was asked for: on disk when it returns.
enum ds_class ds_pool_put(const char *pool, const ds_pool_stamp *s, ds_err *e) DS_MUST;

// Move up to max free stamps from one pool to another, which is station's; goes on with what was cut off. No stamp is
// ever taken by two. One that judge refuses is left where it is and told by the failure; the others are taken.
typedef struct ds_pool_taker {
    const char *pool, *station; // folder; name
    enum ds_class (*judge)(const void *arg, const ds_pool_stamp *s, ds_err *e);
    const void *arg;
    unsigned max;
} ds_pool_taker;
enum ds_class ds_pool_take(const char *from, const ds_pool_taker *to, unsigned *ret_taken, ds_err *e) DS_MUST;

typedef struct ds_pool_count {
    unsigned free, claimed, used, spoiled, taken, lost;
} ds_pool_count;
enum ds_class ds_pool_status(const char *pool, ds_pool_count *ret, ds_err *e) DS_MUST;

#endif
