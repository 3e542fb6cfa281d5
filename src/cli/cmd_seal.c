// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp seal: make one (cmd_seal_create.c), look at one, and try whether it opens on this station.
#include "src/cli/cli.h"
#include "src/cli/seal_setup.h"

#include "src/base/clock.h"
#include "src/signer/sandbox.h"

#include <stdio.h>

static const char show_usage[] =
    "usage: devstamp seal show FILE\n"
    "\n"
    "Prints who can open a seal and what it is tied to. Nothing is opened, so that none of it is proved: check does.\n";

static const char check_usage[] =
    "usage: devstamp seal check --station FILE (--recipe FILE | --bundle FILE) ... [options]\n"
    "\n"
    "Compares the station with what its seal is tied to, and opens the seal. The token is not asked and sent no PIN.\n"
    "\n"
    "  --passphrase-file FILE, --passphrase-fd N, --passphrase\n"
    "                   the seal's passphrase; asked for by itself where nothing else opens the seal\n";

static const char computer_usage[] = "usage: devstamp seal computer\n"
                                     "\n"
                                     "Prints what a seal is tied to as this computer, for devstamp seal create "
                                     "--computer elsewhere.\n";

static void print_hex(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        printf("%02x", bytes[i]);
}

static void print_unlocker(const ds_seal_unlocker *u)
{
    printf("  %s", ds_seal_by_name(u->by));
    if (u->label[0])
        printf(" \"%s\"", u->label);
    if (u->by == DS_SEAL_PASSPHRASE)
        printf(", Argon2id, %u passes over %u MiB", u->passes, u->memory_kib / 1024);
    for (unsigned n = 0, shown = 0; u->pcrs && n < DS_SEAL_PCRS; n++)
        if (u->pcrs >> n & 1)
            printf("%s%u", shown++ ? "," : ", only with PCRs ", n);
    putchar('\n');
}

static void print_part(const ds_seal_part *p, const char *remark)
{
    printf("  %-8s  %s%s\n            ", ds_seal_kind_name(p->kind), p->text, remark);
    print_hex(p->digest, sizeof p->digest);
    putchar('\n');
}

static int cmd_show(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_seal_options o;
    ds_seal s = {.all = false};
    bool good = ds_seal_options_parse(argc, argv, &o);
    if (!good || o.help || !o.file)
        return ds_cli_usage(show_usage, good && o.help);
    if (ds_seal_read(o.file, &s, &e))
        return ds_cli_fail(&e);
    char made[21];
    ds_utc_format(s.created_utc, made);
    printf("seal of format 1, made %s\nopened by %s:\n", made,
           s.unlocker_count == 1 ? "this"
           : s.all               ? "all of these together"
                                 : "any one of these");
    for (size_t i = 0; i < s.unlocker_count; i++)
        print_unlocker(&s.unlockers[i]);
    puts("tied to:");
    for (size_t i = 0; i < s.part_count; i++)
        print_part(&s.parts[i], "");
    ds_seal_free(&s);
    return DS_EXIT_OK;
}

static enum ds_class check(const ds_seal_options *o, const ds_seal_setup *setup, const ds_seal *s, ds_err *e)
{
    DS_CLEANUP_SECRET ds_secret pin = {0};
    bool ask = o->ask || ds_seal_wants_passphrase(s);
    const ds_seal_access access = {
        .passphrase = o->passphrase_file      ? DS_PIN_FILE
                      : o->passphrase_fd >= 0 ? DS_PIN_FD
                      : ask                   ? DS_PIN_PROMPT
                                              : DS_PIN_NONE,
        .passphrase_file = o->passphrase_file,
        .passphrase_fd = o->passphrase_fd,
        .key_file = setup->station->seal_key,
        .tpm = setup->station->seal_tpm,
    };
    for (size_t i = 0; i < setup->part_count; i++)
        print_part(&setup->parts[i], ds_seal_holds(s, &setup->parts[i]) ? "" : "   DIFFERENT FROM THE SEAL");
    (void)fflush(stdout);
    enum ds_class rc = ds_seal_compare(s, setup->parts, setup->part_count, e);
    if (!rc)
        rc = ds_seal_open(s, &access, &pin, e);
    return rc ? ds_wrap(e, "seal %s", setup->station->seal) : DS_OK;
}

static int cmd_check(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_seal_options o;
    ds_seal_setup setup = {.part_count = 0};
    ds_seal s = {.all = false};
    bool good = ds_seal_options_parse(argc, argv, &o);
    if (!good || o.help || o.file || !o.station || !(o.files.recipe_count + o.files.bundle_count))
        return ds_cli_usage(check_usage, good && o.help);
    enum ds_class rc = ds_sandbox_harden(&e);
    if (!rc)
        rc = ds_seal_setup_open(&o, false, &setup, &e);
    if (!rc && !setup.station->seal)
        rc = ds_fail(&e, DS_USAGE, "%s: the station file names no seal", o.station);
    if (!rc)
        rc = ds_seal_read(setup.station->seal, &s, &e);
    if (!rc)
        rc = check(&o, &setup, &s, &e);
    if (!rc)
        printf("the seal opens here, for token %s\n", ds_seal_token(&s));
    ds_seal_free(&s);
    ds_seal_setup_close(&setup);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static int cmd_computer(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_seal_options o;
    uint8_t machine[32];
    bool good = ds_seal_options_parse(argc, argv, &o);
    if (!good || o.help || o.file)
        return ds_cli_usage(computer_usage, good && o.help);
    if (ds_seal_machine(NULL, machine, &e))
        return ds_cli_fail(&e);
    print_hex(machine, sizeof machine);
    putchar('\n');
    return DS_EXIT_OK;
}

int ds_cmd_seal(int argc, char **argv)
{
    static const ds_verb verbs[] = {
        {"create", "encrypt the PIN for one station", ds_seal_create},
        {"show", "who can open a seal, and what it is tied to", cmd_show},
        {"check", "compare a station with its seal, and open it", cmd_check},
        {"computer", "print this computer's identity, for create", cmd_computer},
        {NULL, NULL, NULL},
    };
    return ds_cli_dispatch("devstamp seal", verbs, argc, argv);
}
