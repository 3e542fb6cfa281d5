// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp seal create: the officer ties the PIN to a station. A process that does nothing else: it gives up core dumps
// and being traced before it reads a secret.
#include "src/cli/cli.h"
#include "src/cli/seal_setup.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/signer/sandbox.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: devstamp seal create --station FILE (--recipe FILE | --bundle FILE) ... --by UNLOCKER [--by ...] "
    "[options]\n"
    "\n"
    "Encrypts the token's PIN, tied to this station: its name, this computer, the recipes with all they name, the Sub "
    "CA's\n"
    "certificate, key, module and quota of the station file, and the token. Change one, and the seal does not open.\n"
    "The token is asked for its serial number, and sent no PIN.\n"
    "\n"
    "  --by passphrase[=NAME]  opened by a passphrase (of NAME); asked for twice, or as below\n"
    "  --by key-file=FILE      opened by a file of at least 32 random bytes (signer.seal_key)\n"
    "  --by credential=NAME    opened by a systemd credential, in $CREDENTIALS_DIRECTORY\n"
    "  --by tpm                opened by this computer's TPM 2.0 (signer.seal_tpm)\n"
    "  --all                   all of them are needed; else any one opens it\n"
    "  --pin-file FILE, --pin-fd N                the PIN, else asked for twice\n"
    "  --passphrase-file FILE, --passphrase-fd N  the passphrases, a line each\n"
    "  --kdf-passes N, --kdf-memory MIB           what trying a passphrase costs: 3 passes over 256 MiB\n"
    "  --tpm-pcrs LIST         only while these PCRs are as now: 0,7\n"
    "  --token-serial N        the token, where it is not here\n"
    "  --computer HEX          the station, where this is another computer: what devstamp seal computer prints there\n"
    "  -o FILE                 where the seal goes, else the station file's signer.seal; never over an old one\n";

typedef struct making {
    ds_secret pin, secrets[DS_SEAL_UNLOCKERS];
    ds_seal_new unlockers[DS_SEAL_UNLOCKERS];
    int passphrase_fd;
    bool passphrase_fd_ours;
} making;

// Typed blind, so typed twice.
static enum ds_class ask_twice(const char *what, size_t max, ds_secret *ret, ds_err *e)
{
    DS_CLEANUP_FREE char *first = ds_asprintf("%s: ", what);
    DS_CLEANUP_FREE char *again = ds_asprintf("%s, once more: ", what);
    DS_CLEANUP_SECRET ds_secret twice = {0};
    enum ds_class rc = ds_secret_prompt(first, max, ret, e);
    if (!rc)
        rc = ds_secret_prompt(again, max, &twice, e);
    if (!rc && (twice.len != ret->len || sodium_memcmp(twice.ptr, ret->ptr, ret->len) != 0))
        rc = ds_hint((ds_fail(e, DS_INPUT, "the two are not the same"), e), "run again");
    return rc;
}

static enum ds_class read_pin(const ds_seal_options *o, ds_secret *ret, ds_err *e)
{
    enum ds_class rc = o->pin_file      ? ds_secret_read_file(o->pin_file, 255, ret, e)
                       : o->pin_fd >= 0 ? ds_secret_read_line(o->pin_fd, 255, ret, e)
                                        : ask_twice("PIN of the token", 255, ret, e);
    return rc ? ds_wrap(e, "PIN") : DS_OK;
}

static enum ds_class read_passphrase(const ds_seal_options *o, making *m, const char *name, ds_secret *ret, ds_err *e)
{
    enum ds_class rc = DS_OK;
    DS_CLEANUP_FREE char *what =
        ds_asprintf(name[0] ? "New passphrase of the seal (%s)" : "New passphrase of the seal%s", name);
    if (o->passphrase_file && m->passphrase_fd < 0) {
        rc = ds_secret_open_file(o->passphrase_file, &m->passphrase_fd, e);
        m->passphrase_fd_ours = !rc;
    }
    if (!rc)
        rc = m->passphrase_fd >= 0 ? ds_secret_read_line(m->passphrase_fd, DS_SEAL_PASSPHRASE_MAX, ret, e)
                                   : ask_twice(what, DS_SEAL_PASSPHRASE_MAX, ret, e);
    return rc ? ds_wrap(e, "passphrase") : DS_OK;
}

// "kind" or "kind=value"; NULL where it is another kind.
static const char *value_of(const char *by, const char *kind)
{
    size_t len = strlen(kind);
    if (strncmp(by, kind, len) != 0 || (by[len] && by[len] != '='))
        return NULL;
    return by[len] ? by + len + 1 : "";
}

static enum ds_class take_unlocker(const ds_seal_options *o, const ds_seal_setup *s, making *m, unsigned i, ds_err *e)
{
    ds_seal_new *n = &m->unlockers[i];
    ds_secret *secret = &m->secrets[i];
    const char *by = o->by[i], *value = NULL;
    *n = (ds_seal_new){.label = "", .secret = secret, .passes = o->passes, .memory_kib = o->memory_mib * 1024};
    if ((value = value_of(by, "passphrase"))) {
        n->by = DS_SEAL_PASSPHRASE;
        n->label = value;
        return read_passphrase(o, m, value, secret, e);
    }
    if ((value = value_of(by, "key-file")) && value[0]) {
        const char *slash = strrchr(value, '/');
        n->by = DS_SEAL_KEY_FILE;
        n->label = slash ? slash + 1 : value;
        return ds_seal_read_key(value, secret, e);
    }
    if ((value = value_of(by, "credential")) && value[0]) {
        n->by = DS_SEAL_CREDENTIAL;
        n->label = value;
        return ds_seal_read_credential(value, secret, e);
    }
    if ((value = value_of(by, "tpm")) && !value[0]) {
        n->by = DS_SEAL_TPM;
        n->pcrs = o->pcrs;
        n->tpm = s->station->seal_tpm;
        return DS_OK;
    }
    return ds_hint((ds_fail(e, DS_USAGE, "--by %.60s is not known", by), e),
                   "passphrase[=NAME], key-file=FILE, credential=NAME or tpm");
}

static enum ds_class make(const ds_seal_options *o, const ds_seal_setup *s, making *m, ds_buf *ret, ds_err *e)
{
    const ds_seal_plan plan = {
        .created_utc = ds_utc_now(),
        .parts = s->parts,
        .part_count = s->part_count,
        .unlockers = m->unlockers,
        .unlocker_count = o->by_count,
        .all = o->all,
        .pin = &m->pin,
    };
    enum ds_class rc = read_pin(o, &m->pin, e);
    for (unsigned i = 0; !rc && i < o->by_count; i++)
        rc = take_unlocker(o, s, m, i, e);
    return rc ? rc : ds_seal_make(&plan, ret, e);
}

// Everything that can be wrong without a secret is found before one is asked for.
static enum ds_class check_output(const char *path, ds_err *e)
{
    if (!path)
        return ds_hint((ds_fail(e, DS_USAGE, "the station file names no seal"), e),
                       "write signer.seal there, or add -o FILE");
    if (access(path, F_OK) == 0)
        return ds_hint((ds_fail(e, DS_POLICY, "%s exists already", path), e),
                       "a seal is never overwritten: move the old one away");
    return DS_OK;
}

int ds_seal_create(int argc, char **argv)
{
    ds_err e = DS_ERR_INIT;
    ds_seal_options o;
    ds_seal_setup s = {.part_count = 0};
    making m = {.passphrase_fd = -1};
    DS_CLEANUP_BUF ds_buf bytes = {0};
    bool good = ds_seal_options_parse(argc, argv, &o);
    if (!good || o.help || o.file || o.ask || !o.station || !(o.files.recipe_count + o.files.bundle_count) ||
        !o.by_count)
        return ds_cli_usage(usage, good && o.help);
    m.passphrase_fd = o.passphrase_fd;
    enum ds_class rc = ds_sandbox_harden(&e);
    if (!rc)
        rc = ds_seal_setup_open(&o, true, &s, &e);
    const char *output = o.output || rc ? o.output : s.station->seal;
    if (!rc)
        rc = check_output(output, &e);
    if (!rc)
        rc = make(&o, &s, &m, &bytes, &e);
    if (!rc)
        rc = ds_file_write(output, ds_buf_view(&bytes), 0600, &e);
    if (!rc)
        printf("sealed for station %s and token %s: %s\n", s.station->name, s.serial, output);
    for (unsigned i = 0; i < DS_SEAL_UNLOCKERS; i++)
        ds_secret_free(&m.secrets[i]);
    ds_secret_free(&m.pin);
    if (m.passphrase_fd_ours)
        close(m.passphrase_fd);
    ds_seal_setup_close(&s);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}
