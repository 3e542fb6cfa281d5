// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A release bundle in plain words, by its manifest: all texts in that are printable ASCII, parsing saw to it. What the
// recipe says of devices is in bundle_devices.c.
#include "src/cli/cmd_bundle.h"

#include "src/base/clock.h"

#include <stdio.h>
#include <string.h>

static void print_hex(const uint8_t digest[32])
{
    char hex[65];
    ds_hex(digest, 32, hex);
    printf("%s\n", hex);
}

static void tell_files(const ds_manifest *m)
{
    printf("\nWhat it holds:\n");
    for (int i = 0; i < DS_BUNDLE_PARTS; i++) {
        if (!m->parts[i].size)
            continue;
        printf("  %-17s %8u bytes  sha-256 ", ds_bundle_part_name((enum ds_bundle_part)i), m->parts[i].size);
        print_hex(m->parts[i].sha256);
    }
    if (!m->app_version[0])
        return;
    printf("\n  mfg app  version %s; devices with an older one than %s are flashed\n", m->mfg_version,
           m->mfg_min_version);
    printf("  app      version %s; devices with an older one than %s are flashed; secure version %u\n", m->app_version,
           m->app_min_version, m->secure_version);
}

static void tell_trust(const ds_manifest *m)
{
    printf("\nDevices will trust, for ever, firmware signed with %s and no other, by its digest:\n",
           m->trusted_count == 1 ? "this key" : "one of these keys");
    for (unsigned i = 0; i < m->trusted_count; i++) {
        printf("  ");
        print_hex(m->trusted[i]);
    }
}

static void tell_burns(const ds_manifest *m)
{
    static const char *const when[DS_BURN_WHENS] = {"when its stamp is complete, by the mfg firmware",
                                                    "at its first boot, by the secure bootloader",
                                                    "when it has moved its stamp and runs, by the app"};
    int last = -1;
    printf("\nThis will be BURNED FOR EVER into every device; nobody can take it back:\n");
    for (unsigned i = 0; i < m->burns.count; i++) {
        const ds_burn *b = &m->burns.list[i];
        if ((int)b->when != last)
            printf("  %s:\n", when[b->when]);
        last = (int)b->when;
        printf("    %-27s %s\n", b->field, ds_burn_words(b));
        if (strlen(b->value) == 64 || (strncmp(b->value, "0x", 2) == 0 && strcmp(b->value, "0x1") != 0))
            printf("    %-27s = %s\n", "", b->value);
    }
}

static void tell_lock(const ds_manifest *m)
{
    if (strcmp(m->lock, "none") == 0)
        printf("\nThis platform has no lock: NOTHING IS BURNED, and whoever has a device can change its firmware.\n");
    else if (strcmp(m->lock, "development") == 0)
        printf("\nDEVELOPMENT mode: flash can be written in the clear again. Not for devices that leave the house.\n");
}

void ds_bundle_tell_name(const ds_manifest *m, const uint8_t digest[32])
{
    char created[21];
    const ds_chip *chip = ds_platform_by_name(m->chip);
    ds_utc_format(m->created_utc, created);
    printf("%s for %s, release %llu, made %s\nbundle ", m->product, chip ? chip->title : m->chip,
           (unsigned long long)m->release, created);
    print_hex(digest);
}

void ds_bundle_tell(const ds_manifest *m, const uint8_t digest[32], const ds_recipe *r)
{
    ds_bundle_tell_name(m, digest);
    tell_files(m);
    if (r)
        ds_bundle_tell_devices(r);
    else
        printf(
            "\nWhat devices become (endpoint, subject, key, ...) is in the recipe, and not in an order: look at the\n"
            "bundle itself with devstamp bundle show, and sign where its digest is this one.\n");
    if (m->trusted_count)
        tell_trust(m);
    if (m->burns.count)
        tell_burns(m);
    tell_lock(m);
}

void ds_bundle_tell_signatures(const ds_bundle *b)
{
    printf("\nSigned by (whose keys these are, verify tells and your papers):\n");
    for (size_t i = 0; i < b->count; i++) {
        const ds_bundle_signature *s = &b->signatures[i];
        const ds_key_kind *kind = ds_key_kind_of(s->key_type);
        printf("  %-8s  %-11s  sha256:", ds_bundle_role_name(s->role), kind ? kind->label : "");
        print_hex(s->key_id);
    }
    if (!b->count)
        printf("  nobody\n");
}
