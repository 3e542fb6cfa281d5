// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A PIN the software cannot lock: rounds of unplugging, resets, wrong PINs, other programs and kills at any APDU, over
// the virtual YubiKey's card itself (piv_module.h) and devstamp's own way to a token: PIN file, note, login, signature.
// Each run of the signer is a process. After each: was a try spent that nobody asked for? A try is asked for by writing
// or touching the PIN file (one), and by devstamp token check-pin (one a run).
//
// DEVSTAMP_ROUNDS (default 60; script/fuzz: 10,000) and DEVSTAMP_SEED. The seed is printed.
#include "tests/unit/piv_module.h"

#include "src/base/file.h"
#include "src/base/secret.h"
#include "src/pki/cert.h"
#include "src/pki/dn.h"
#include "src/pki/key.h"
#include "src/pki/token.h"
#include "src/signer/issuer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SERIAL = 7654321, OTHER_SERIAL = 1234567, FULL = 3, APDUS = 14 };

typedef struct world {
    char folder[40], card[64], other[64], root[64], pin_file[64], log[64], note[80];
    piv_module_counts *counts; // shared with the children
    uint64_t chance;
    int64_t touched; // the file's time: each operator's action has one of its own
    bool right;      // what the PIN file holds
    bool asked;      // it was written or touched, and no try of it was counted since
    unsigned rounds, tries, refused, signatures, whole, died;
} world;

// What one run was about to meet.
typedef struct run {
    enum piv_module_fate fate;
    unsigned at, signs, left;
    bool check, other, in, written;
} run;

static unsigned next(world *w, unsigned below)
{
    w->chance = w->chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(w->chance >> 33) % below;
}

// --- the hand, and other people's programs

static int tell_card(world *w, const char *hex)
{
    ds_piv_card c;
    uint8_t command[64];
    DS_CLEANUP_BUF ds_buf out = {0};
    size_t len = strlen(hex) / 2;
    assert_true(ds_unhex(hex, command, len));
    assert_int_equal(ds_piv_card_open(w->card, SERIAL, w->root, &c, NULL), DS_OK);
    c.session.application = DS_PIV_PIV;
    c.session.administrator = true;
    ds_piv_card_run(&c, (ds_view){command, len}, &out);
    ds_piv_card_close(&c);
    return out.ptr[out.len - 2] << 8 | out.ptr[out.len - 1];
}

static unsigned tries_left(world *w)
{
    int status = tell_card(w, "00200080");
    return status == DS_PIV_BLOCKED ? 0 : (unsigned)status & 0xF;
}

static void touch_pin(world *w)
{
    struct timespec times[2] = {{.tv_sec = ++w->touched}, {.tv_sec = w->touched}};
    assert_int_equal(utimensat(AT_FDCWD, w->pin_file, times, 0), 0);
    w->asked = true;
}

static void write_pin(world *w, bool right)
{
    static const char *const wrong[] = {"999999", "123457", "12345678"};
    const char *text = right ? "123456" : wrong[next(w, 3)];
    assert_int_equal(ds_file_write(w->pin_file, (ds_view){(const uint8_t *)text, strlen(text)}, 0600, NULL), DS_OK);
    w->right = right;
    touch_pin(w);
}

// What people do between two runs.
static void let_people_act(world *w, run *r)
{
    unsigned what = next(w, 100);
    if (what < 14) {
        write_pin(w, next(w, 10) < 6);
        r->written = true;
    } else if (what < 20) {
        touch_pin(w);
    } else if (what < 27) {
        (void)tell_card(w, "0020008008393939393939FFFF");
    }
    r->left = tries_left(w);
    if (r->left == 0)
        (void)tell_card(w, "002C0080103132333435363738313233343536FFFF");
    else if (r->left < FULL && next(w, 10) < 4)
        (void)tell_card(w, "0020008008313233343536FFFF");
    r->left = tries_left(w);
}

// --- devstamp, in a process of its own

static void sign(ds_key *key, unsigned signs)
{
    const uint8_t serial[16] = {1};
    ds_err e = DS_ERR_INIT;
    DS_CLEANUP_NAME X509_NAME *name = NULL;
    if (ds_dn_parse("CN=Round", &name, &e))
        _exit(1);
    const ds_cert_spec spec = {DS_CERT_ROOT, name, ds_key_public(key), serial, 0, DS_NO_EXPIRY, NULL, 0, NULL, 0};
    for (unsigned i = 0; i < signs; i++) {
        DS_CLEANUP_X509 X509 *cert = NULL;
        if (ds_key_ready(key, &e) || ds_cert_make(&spec, NULL, ds_key_private(key), ds_key_public(key), &cert, &e)) {
            (void)ds_key_failed(key, &e);
            return;
        }
    }
}

static void be_signer(const world *w, const run *r)
{
    const ds_signer_config cfg = {.pin = DS_PIN_FILE, .pin_file = w->pin_file};
    ds_pin pin = {0};
    ds_key *key = NULL;
    if (!ds_issuer_read_pin(&cfg, w->log, &pin, NULL)) {
        const ds_key_source src = {"pkcs11:id=%02", PIV_MODULE_PATH, &pin.secret, &pin.note, "7654321"};
        if (!ds_key_open(&src, &key, NULL))
            sign(key, r->signs);
    }
    ds_key_free(key);
    ds_pin_free(&pin);
}

static void be_check_pin(const world *w)
{
    ds_secret pin = {0};
    ds_token *t = NULL;
    if (!ds_secret_read_file(w->pin_file, 255, &pin, NULL)) {
        const ds_token_access access = {
            .uri = "pkcs11:id=%02", .module = PIV_MODULE_PATH, .pin = &pin, .serial = "7654321", .spend = true};
        if (!ds_token_open(&access, &t, NULL))
            ds_token_close(t);
    }
    ds_secret_free(&pin);
}

static void be_devstamp(const world *w, const run *r)
{
    ds_piv_card c;
    (void)alarm(60);
    int nothing = open("/dev/null", O_WRONLY);
    if (nothing >= 0)
        (void)dup2(nothing, STDERR_FILENO);
    if (ds_piv_card_open(r->other ? w->other : w->card, r->other ? OTHER_SERIAL : SERIAL, w->root, &c, NULL))
        _exit(1);
    piv_module_plug(r->in ? &c : NULL, w->counts, r->fate, r->at);
    if (r->check)
        be_check_pin(w);
    else
        be_signer(w, r);
    _exit(0);
}

// --- the judge

static void judge(world *w, const run *r, const char *where)
{
    const piv_module_counts *c = w->counts;
    bool may = r->check ? r->left >= 2 : r->left >= FULL && w->asked;
    unsigned left = tries_left(w);
    if (r->other && c->verifies)
        fail_msg("%s: a PIN was sent to another token", where);
    if (c->wrong > (w->right || !may ? 0 : 1))
        fail_msg("%s: %u wrong PINs were sent, with %u tries left", where, (unsigned)c->wrong, r->left);
    if (c->verifies && (r->check ? r->left < 2 : r->left < FULL))
        fail_msg("%s: a PIN was sent with %u tries left", where, r->left);
    if (c->verifies && !w->right && !r->check && !w->asked)
        fail_msg("%s: a PIN that was refused was sent again", where);
    if (left == 0 || (left < r->left && left + c->wrong < r->left))
        fail_msg("%s: %u tries are left of %u", where, left, r->left);
    bool calm = r->fate == PIV_MODULE_FINE && r->in && !r->other;
    if (calm && !r->check && w->right && r->left == FULL && r->written && c->signatures != r->signs)
        fail_msg("%s: nothing was in the way, and %u of %u signatures were made", where, (unsigned)c->signatures,
                 r->signs);
    if (c->wrong && !r->check)
        w->asked = false;
    w->tries += (unsigned)c->wrong;
    w->refused += !c->verifies;
    w->signatures += (unsigned)c->signatures;
    w->whole += calm && c->signatures == r->signs && !r->check;
}

static void play_round(world *w, unsigned number)
{
    char where[64];
    run r = {.signs = 1 + next(w, 4)};
    let_people_act(w, &r);
    r.check = next(w, 10) == 0;
    r.other = next(w, 20) == 0;
    r.in = next(w, 30) != 0;
    r.fate = next(w, 10) < 4 ? PIV_MODULE_FINE : (enum piv_module_fate)next(w, PIV_MODULE_FATES);
    r.at = 1 + next(w, APDUS);
    *w->counts = (piv_module_counts){0};
    snprintf(where, sizeof where, "round %u (fate %d at %u)", number, (int)r.fate, r.at);
    pid_t child = fork();
    if (child == 0)
        be_devstamp(w, &r);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("%s: the process ended with %#x", where, (unsigned)status);
    judge(w, &r, where);
}

static unsigned long number_of(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text ? strtoul(text, NULL, 0) : otherwise;
}

static void make_cards(world *w)
{
    ds_piv_card c;
    assert_int_equal(ds_piv_card_open(w->card, SERIAL, w->root, &c, NULL), DS_OK);
    ds_piv_card_close(&c);
    assert_int_equal(tell_card(w, "0047009C05AC03800111"), DS_PIV_OK);
    // The other card holds a key of the same name.
    DS_CLEANUP_BUF ds_buf copy = {0};
    assert_int_equal(ds_file_read(w->card, 1 << 20, &copy, NULL), DS_OK);
    assert_int_equal(ds_file_write(w->other, ds_buf_view(&copy), 0600, NULL), DS_OK);
    assert_int_equal(ds_piv_card_open(w->other, OTHER_SERIAL, w->root, &c, NULL), DS_OK);
    c.state.serial = OTHER_SERIAL;
    DS_CLEANUP_BUF ds_buf out = {0};
    const uint8_t any[] = {0, 0xA4, 4, 0, 5, 0xA0, 0, 0, 3, 8},
                  right[] = {0, 0x20, 0, 0x80, 8, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0xFF, 0xFF};
    ds_piv_card_run(&c, (ds_view){any, sizeof any}, &out);
    ds_piv_card_run(&c, (ds_view){right, sizeof right}, &out); // which saves it
    ds_piv_card_close(&c);
}

static void test_no_try_is_spent_that_nobody_asked_for(void **state)
{
    (void)state;
    world w = {.chance = number_of("DEVSTAMP_SEED", 20), .touched = 1000000000};
    bool memory = access("/dev/shm", W_OK) == 0;
    snprintf(w.folder, sizeof w.folder, "%s/ds-rounds.XXXXXX", memory ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w.folder));
    snprintf(w.card, sizeof w.card, "%s/card", w.folder);
    snprintf(w.other, sizeof w.other, "%s/other", w.folder);
    snprintf(w.root, sizeof w.root, "%s/root.pem", w.folder);
    snprintf(w.pin_file, sizeof w.pin_file, "%s/pin", w.folder);
    snprintf(w.log, sizeof w.log, "%s/issued.log", w.folder);
    snprintf(w.note, sizeof w.note, "%s.pin-refused", w.log);
    w.counts = mmap(NULL, sizeof *w.counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(w.counts != MAP_FAILED);
    make_cards(&w);
    write_pin(&w, true);
    w.rounds = (unsigned)number_of("DEVSTAMP_ROUNDS", 60);
    printf("seed %llu, %u rounds\n", (unsigned long long)w.chance, w.rounds);
    for (unsigned i = 0; i < w.rounds; i++)
        play_round(&w, i);
    printf("%u tries, all asked for; %u runs sent no PIN; %u signatures, %u runs without mishap\n", w.tries, w.refused,
           w.signatures, w.whole);
    // Else the rounds would prove nothing.
    assert_true(w.signatures > w.rounds / 5);
    assert_true(w.tries > w.rounds / 60);
    assert_true(w.whole > w.rounds / 20);
    const char *const files[] = {w.card, w.other, w.root, w.pin_file, w.note};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        (void)unlink(files[i]);
    assert_int_equal(rmdir(w.folder), 0);
    munmap(w.counts, sizeof *w.counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_try_is_spent_that_nobody_asked_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
