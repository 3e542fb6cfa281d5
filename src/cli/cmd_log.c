// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// devstamp log: the head of an issuance log, verifying it against heads known from elsewhere, proofs, and converting a
// log of the first format. The log is only read, and not locked: all but convert work while a utility runs.
#include "src/cli/cmd_log.h"
#include "src/cli/cli.h"

#include "src/base/file.h"
#include "src/ledger/ledger.h"
#include "src/pki/keytype.h"
#include "src/signer/log.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: devstamp log head --log FILE [--log-key PEM] [--json]\n"
    "       devstamp log verify --log FILE [--head FILE] [--size N --root HEX] [--ledger FILE] [--log-key PEM] "
    "[--json]\n"
    "       devstamp log prove inclusion --log FILE --entry N|--serial HEX|--certificate FILE [--size N] [-o FILE]\n"
    "       devstamp log prove consistency --log FILE --from N [--size N] [-o FILE]\n"
    "       devstamp log convert --log OLD -o NEW\n"
    "       devstamp log mirror --station FILE -o FILE\n"
    "\n"
    "  head      size and root hash of the log, and the head beside it (FILE.head) with its signature\n"
    "  verify    read every entry; what was edited, removed or cut off is found by its hash, or by a head: the one "
    "beside\n"
    "            the log, and those given; exit 0 when all is whole, 6 when not\n"
    "  prove     a proof as JSON that others check by themselves (docs/issuance-log.md): that a certificate is in the "
    "log,\n"
    "            or that a log of N entries is the beginning of this one\n"
    "  convert   make a Merkle log of one of the first format, a hash chain\n"
    "  mirror    fetch what is new in the log of the signer elsewhere that the station file names; it must prove that "
    "its\n"
    "            log goes on from what FILE holds\n"
    "\n"
    "  --log FILE          the issuance log, as the station file names it\n"
    "  --head FILE         verify: a head that was put away earlier (a copy of FILE.head)\n"
    "  --size N --root HEX verify: the same, as two figures; prove: --size is the size of the log to prove for\n"
    "  --ledger FILE       verify: what this ledger recorded of the log\n"
    "  --log-key PEM       public key: heads must be signed by it\n"
    "  --entry N           number of the entry, from 1\n"
    "  --serial HEX        serial number of the certificate, 32 digits\n"
    "  --certificate FILE  the certificate, PEM or DER\n"
    "  -o FILE             prove: where the proof goes, else standard output; convert: the new log\n"
    "  --json              for machines\n";

static bool read_number(const char *text, uint64_t *ret, bool *ret_has)
{
    char *end = NULL;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    *ret_has = true;
    return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

static const char **text_option(ds_log_options *o, int opt)
{
    switch (opt) {
    case 'l':
        return &o->log;
    case 'H':
        return &o->head;
    case 'r':
        return &o->root;
    case 'L':
        return &o->ledger;
    case 'k':
        return &o->log_key;
    case 'S':
        return &o->serial;
    case 'c':
        return &o->certificate;
    case 'o':
        return &o->output;
    case 't':
        return &o->station;
    default:
        return NULL;
    }
}

static bool parse(int argc, char **argv, ds_log_options *o, bool *ret_help)
{
    static const struct option options[] = {
        {"log", required_argument, NULL, 'l'},
        {"head", required_argument, NULL, 'H'},
        {"size", required_argument, NULL, 's'},
        {"root", required_argument, NULL, 'r'},
        {"ledger", required_argument, NULL, 'L'},
        {"log-key", required_argument, NULL, 'k'},
        {"entry", required_argument, NULL, 'e'},
        {"serial", required_argument, NULL, 'S'},
        {"from", required_argument, NULL, 'f'},
        {"certificate", required_argument, NULL, 'c'},
        {"output", required_argument, NULL, 'o'},
        {"json", no_argument, NULL, 'j'},
        {"station", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    optind = 1;
    for (int opt; (opt = getopt_long(argc, argv, "ho:", options, NULL)) != -1;) {
        const char **text = text_option(o, opt);
        bool ok = true;
        if (text)
            *text = optarg;
        else if (opt == 's')
            ok = read_number(optarg, &o->size, &o->has_size);
        else if (opt == 'e')
            ok = read_number(optarg, &o->entry, &o->has_entry);
        else if (opt == 'f')
            ok = read_number(optarg, &o->from, &o->has_from);
        else if (opt == 'j')
            o->json = true;
        else if (opt == 'h')
            *ret_help = true;
        else
            ok = false;
        if (!ok)
            return false;
    }
    return true;
}

// A head must be signed by this key, where one was named.
static enum ds_class check_key(const ds_log_options *o, const ds_log_head *head, const char *path, ds_err *e)
{
    uint8_t digest[32];
    if (!o->log_key)
        return DS_OK;
    FILE *f = fopen(o->log_key, "re");
    if (!f)
        return ds_fail_errno(e, DS_INPUT, errno, "%s", o->log_key);
    EVP_PKEY *key = PEM_read_PUBKEY(f, NULL, NULL, NULL);
    fclose(f);
    enum ds_class rc = key ? ds_public_key_digest(key, digest, e)
                           : ds_ossl_fail(e, DS_INPUT, "%s holds no public key in PEM", o->log_key);
    EVP_PKEY_free(key);
    if (!rc && (!head->is_signed || memcmp(digest, head->key_digest, 32) != 0))
        rc = ds_hint((ds_fail(e, DS_STORE, "head %s is not signed by %s", path, o->log_key), e),
                     "trust only a head that the log key signed");
    return rc;
}

// What is known of the log, and where it is known from.
typedef struct knowledge {
    ds_log_known known[4];
    size_t count;
    ds_log_head beside;
    bool has_beside;
    char *beside_path;
} knowledge;

static enum ds_class add_head(const ds_log_options *o, const char *path, const uint8_t ca[32], bool must, knowledge *k,
                              ds_log_head *ret, bool *ret_found, ds_err *e)
{
    enum ds_class rc = ds_log_head_read(path, ret, ret_found, e);
    if (!rc && !*ret_found && must)
        rc = ds_fail(e, DS_INPUT, "head %s: there is no such file", path);
    if (rc || !*ret_found)
        return rc;
    if (memcmp(ret->ca, ca, 32) != 0)
        return ds_fail(e, DS_STORE, "head %s is of the log of another CA", path);
    rc = check_key(o, ret, path, e);
    if (rc)
        return rc;
    ds_log_known *known = &k->known[k->count++];
    known->from = path;
    known->size = ret->size;
    memcpy(known->root, ret->root, 32);
    return DS_OK;
}

static enum ds_class add_ledger(const ds_log_options *o, const uint8_t ca[32], knowledge *k, ds_err *e)
{
    ds_ledger *l = NULL;
    bool has_root = false;
    ds_log_known *known = &k->known[k->count];
    enum ds_class rc = ds_ledger_open(o->ledger, true, &l, e);
    if (!rc)
        rc = ds_ledger_signer_known(l, ca, &known->size, known->root, &has_root, e);
    ds_ledger_close(l);
    if (!rc && !has_root)
        rc = ds_hint((ds_fail(e, DS_INPUT, "ledger %s has no record of this log", o->ledger), e),
                     "provision writes one before and after each run");
    known->from = o->ledger;
    k->count += !rc;
    return rc;
}

static enum ds_class gather(const ds_log_options *o, const uint8_t ca[32], knowledge *k, ds_err *e)
{
    ds_log_head other;
    bool found = false;
    k->beside_path = ds_asprintf("%s.head", o->log);
    enum ds_class rc = add_head(o, k->beside_path, ca, false, k, &k->beside, &k->has_beside, e);
    if (!rc && o->head)
        rc = add_head(o, o->head, ca, true, k, &other, &found, e);
    if (!rc && o->root) {
        ds_log_known *known = &k->known[k->count++];
        known->from = "the head on the command line";
        known->size = o->size;
        if (!o->has_size || !ds_unhex(o->root, known->root, 32))
            rc = ds_fail(e, DS_USAGE, "--size takes a number and --root 64 hexadecimal digits, both or none");
    }
    return rc || !o->ledger ? rc : add_ledger(o, ca, k, e);
}

static void print_json(const ds_log_options *o, const ds_log_report *r, const knowledge *k)
{
    char ca[65], root[65], key[65];
    ds_hex(r->ca, 32, ca);
    ds_hex(r->root, 32, root);
    ds_hex(k->beside.key_digest, 32, key);
    json_t *doc =
        json_pack("{s:s, s:s, s:I, s:s, s:I, s:I}", "log", o->log, "ca", ca, "size", (json_int_t)r->entries, "root",
                  root, "unfinished_bytes", (json_int_t)r->torn, "heads_compared", (json_int_t)k->count);
    if (k->has_beside)
        json_object_set_new(doc, "head",
                            json_pack("{s:I, s:s, s:o, s:o}", "size", (json_int_t)k->beside.size, "time",
                                      k->beside.time, "key", k->beside.is_signed ? json_string(key) : json_null(),
                                      "signature",
                                      k->beside.is_signed ? json_string(k->beside.signature) : json_null()));
    json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
    putchar('\n');
    json_decref(doc);
}

static void print_head(const ds_log_report *r, const knowledge *k)
{
    char hex[65];
    ds_hex(r->ca, 32, hex);
    printf("ca         %s\n", hex);
    ds_hex(r->root, 32, hex);
    printf("size       %" PRIu64 "\nroot       %s\n", r->entries, hex);
    if (!k->has_beside) {
        puts("head       none is beside the log");
        return;
    }
    printf("head       %s: size %" PRIu64 ", %s\n", k->beside_path, k->beside.size, k->beside.time);
    ds_hex(k->beside.key_digest, 32, hex);
    if (k->beside.is_signed)
        printf("key        %s\nsignature  %s\n", hex, k->beside.signature);
    else
        puts("signature  none: no log key is configured");
}

static void print_verified(const ds_log_report *r, const knowledge *k)
{
    char hex[65];
    ds_hex(r->root, 32, hex);
    printf("%" PRIu64 " entr%s, root %s: whole\n", r->entries, r->entries == 1 ? "y" : "ies", hex);
    for (size_t i = 0; i < k->count; i++)
        printf("goes on from %s: %" PRIu64 " entr%s\n", k->known[i].from, k->known[i].size,
               k->known[i].size == 1 ? "y" : "ies");
    if (k->count == 0)
        puts("compared with no head: that its end was not cut off, nothing shows");
    if (r->torn)
        printf("%lld bytes behind the last entry are a write that is under way or was cut off by a crash\n",
               (long long)r->torn);
}

static int cmd_read(const ds_log_options *o, bool verify)
{
    ds_err e = DS_ERR_INIT;
    knowledge k = {0};
    ds_log_report report = {0};
    uint8_t ca[32];
    enum ds_class rc = ds_log_ca_of(o->log, ca, &e);
    if (!rc)
        rc = gather(o, ca, &k, &e);
    const ds_log_reading reading = {.path = o->log, .known = k.known, .known_count = k.count};
    if (!rc)
        rc = ds_log_verify(&reading, &report, &e);
    if (!rc && o->json)
        print_json(o, &report, &k);
    else if (!rc && verify)
        print_verified(&report, &k);
    else if (!rc)
        print_head(&report, &k);
    free(k.beside_path);
    return rc ? ds_cli_fail(&e) : DS_EXIT_OK;
}

static int cmd_convert(const ds_log_options *o)
{
    ds_err e = DS_ERR_INIT;
    uint64_t entries = 0;
    uint8_t chain[32];
    char hex[65];
    if (ds_log_convert(o->log, o->output, &entries, chain, &e))
        return ds_cli_fail(&e);
    ds_hex(chain, 32, hex);
    printf("%" PRIu64 " entries; the old log ended with %s: compare that with what the ledger recorded\n"
           "then put the new log in the old one's place: mv %s %s\n",
           entries, hex, o->output, o->log);
    return DS_EXIT_OK;
}

int ds_cmd_log(int argc, char **argv)
{
    ds_log_options o = {0};
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (help || argc < 2)
        return ds_cli_usage(usage, help);
    const char *verb = argv[1];
    if (!parse(argc - 1, argv + 1, &o, &help))
        return ds_cli_usage(usage, false);
    if (help)
        return ds_cli_usage(usage, true);
    int operands = argc - 1 - optind;
    if (strcmp(verb, "mirror") == 0 && o.station && o.output && operands == 0 && !o.log)
        return ds_log_cmd_mirror(&o);
    bool prove = strcmp(verb, "prove") == 0, convert = strcmp(verb, "convert") == 0;
    if (!o.log || operands != (prove ? 1 : 0) || (convert && !o.output))
        return ds_cli_usage(usage, false);
    if (prove)
        return ds_log_cmd_prove(&o, argv[1 + optind]);
    if (convert)
        return cmd_convert(&o);
    bool verify = strcmp(verb, "verify") == 0;
    return verify || strcmp(verb, "head") == 0 ? cmd_read(&o, verify) : ds_cli_usage(usage, false);
}
