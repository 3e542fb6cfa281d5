// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What devices become by a bundle's recipe, in plain words: what an approver answers for beside images and burns. Texts
// of a recipe may hold anything, and are printed by ds_print_shown.
#include "src/cli/cmd_bundle.h"
#include "src/cli/shown.h"

#include <stdio.h>

static void say(const char *name, const char *text)
{
    printf("  %-17s ", name);
    ds_print_shown(text);
    printf("\n");
}

static const char *words_of_origin(enum ds_origin origin)
{
    switch (origin) {
    case DS_ORIGIN_DEVICE:
        return "made by the device";
    case DS_ORIGIN_STATION:
        return "made by the station's signer: who plays the device gets it";
    case DS_ORIGIN_REMOTE:
        return "made ahead, in a pool: the station has it until it is used";
    }
    return "made by nobody that is known here";
}

static const char *words_of_place(const ds_recipe *r)
{
    if (!ds_chip_can_lock(r->chip))
        return "where the platform's firmware keeps it";
    if (r->key_in_ds)
        return "in the digital-signature peripheral: no software can read it";
    return r->nvs_by_hmac ? "in encrypted NVS, whose keys the HMAC peripheral makes"
                          : "in encrypted NVS, whose keys are in encrypted flash";
}

static void tell_key(const ds_recipe *r)
{
    const ds_key_kind *kind = ds_key_kind_of((enum ds_key_type)r->key_type);
    printf("  %-17s %s, %s\n", "key", kind ? kind->label : "", words_of_origin(r->origin));
    say("key kept", words_of_place(r));
    if (r->key_in_ds)
        say("other secrets", r->nvs_by_hmac ? "in encrypted NVS, whose keys the HMAC peripheral makes"
                                            : "in encrypted NVS, whose keys are in encrypted flash");
    if (r->certificate_days)
        printf("  %-17s holds for %u days\n", "certificate", r->certificate_days);
    else
        say("certificate", "has no end");
}

static void tell_lock(const ds_recipe *r)
{
    if (!ds_chip_can_lock(r->chip)) {
        say("lock", "NONE: whoever has a device can change its firmware");
        return;
    }
    say("lock", r->release
                    ? "release: flash cannot be written in the clear again"
                    : "DEVELOPMENT: flash can be written in the clear again; not for devices that leave the house");
    say("download mode", r->close_download ? "closed for good by the app: no flashing by wire, not by you either"
                                           : "stays open, for what the lock still allows");
    say("proof", r->full_proof ? "full: the chip's ROM must be seen to refuse what the lock forbids"
                               : "report: the device's signed word alone; nobody sees the ROM refuse");
}

static void tell_values(const ds_recipe *r)
{
    for (unsigned i = 0; i < r->value_count; i++) {
        const ds_recipe_value *v = &r->values[i];
        printf("  %-17s ", i ? "" : "further values");
        ds_print_shown(v->name_space);
        printf("/");
        ds_print_shown(v->key);
        printf(" = \"");
        ds_print_shown(v->value);
        printf("\"\n");
    }
}

void ds_bundle_tell_devices(const ds_recipe *r)
{
    printf("\nWhat devices become:\n");
    say("endpoint", r->endpoint);
    say("endpoint known by", r->endpoint_ca.len ? "the certificate in endpoint_ca: compare its sha-256, above"
                                                : "what the app knows itself");
    say("serial number", r->serial_format);
    say("subject", r->subject);
    tell_key(r);
    printf("  %-17s %u signs\n", "secret on label", r->pop_length);
    tell_values(r);
    tell_lock(r);
}
