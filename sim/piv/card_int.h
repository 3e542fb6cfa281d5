// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Inside the card: commands by theme. Each takes the command whole (chaining is dealt with in card.c), appends to ret
// and returns the status word.
#ifndef DS_PIV_CARD_INT_H
#define DS_PIV_CARD_INT_H

#include "sim/piv/card.h"
#include "sim/piv/tlv.h"

typedef struct ds_piv_command {
    uint8_t ins, p1, p2;
    ds_view data;
} ds_piv_command;

// store.c
ds_piv_key *ds_piv_key_of(ds_piv_card *c, uint8_t slot); // NULL: no such slot; an empty one has no key
ds_piv_object *ds_piv_object_of(ds_piv_card *c, uint32_t tag);
// Replace; empty data removes. False where the card is full.
bool ds_piv_object_set(ds_piv_card *c, uint32_t tag, ds_view data);
enum ds_class ds_piv_store_load(ds_piv_card *c, ds_err *e) DS_MUST;
enum ds_class ds_piv_store_save(const ds_piv_card *c, ds_err *e) DS_MUST;
void ds_piv_state_free(ds_piv_state *s);
void ds_piv_state_init(ds_piv_state *s, uint32_t serial); // as the factory leaves it, without attestation

// pin.c
int ds_piv_verify(ds_piv_card *c, const ds_piv_command *cmd);
int ds_piv_change(ds_piv_card *c, const ds_piv_command *cmd);  // CHANGE REFERENCE DATA
int ds_piv_unblock(ds_piv_card *c, const ds_piv_command *cmd); // RESET RETRY COUNTER
int ds_piv_set_tries(ds_piv_card *c, const ds_piv_command *cmd);
int ds_piv_reset_application(ds_piv_card *c);
int ds_piv_management(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret); // GENERAL AUTHENTICATE, slot 9b
int ds_piv_set_management(ds_piv_card *c, const ds_piv_command *cmd);

// key.c
int ds_piv_generate(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret);
int ds_piv_import(ds_piv_card *c, const ds_piv_command *cmd);
int ds_piv_sign(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret); // GENERAL AUTHENTICATE, any other slot
int ds_piv_metadata(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret);

// attest.c
int ds_piv_attest(ds_piv_card *c, const ds_piv_command *cmd, ds_buf *ret);
// Make the attestation key and its certificate, signed by a root that is written to the file.
enum ds_class ds_piv_attest_init(ds_piv_card *c, const char *maker_root, ds_err *e) DS_MUST;

#define DS_PIV_ATTESTATION_OBJECT 0x5FFF01
extern const uint8_t ds_piv_version[3];

#endif
