// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A utility killed at any moment, and 16 slots at once: never two live certificates for a device, never a state taken
// back, nothing torn. The seed of the kill times is printed; DS_SEED repeats them.
#include "ledger_support.h"

#include "src/base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum { DEVICES = 24, ROUNDS = 25 };

static stamp keys[DEVICES];

static int make_keys(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEVICES; i++)
        keys[i] = stamp_new("lamp");
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    for (unsigned i = 0; i < DEVICES; i++)
        stamp_free(&keys[i]);
    return 0;
}

// A test's assertions jump to its main thread: in others and in children a failure ends the process.
static void must(enum ds_class rc, const ds_err *e)
{
    if (rc) {
        fprintf(stderr, "%s\n", e->text);
        abort();
    }
}

// Reserve and have it signed; where another slot was quicker, its certificate is the one.
static ds_ledger_cert obtain(ds_ledger *l, int64_t device, const stamp *key)
{
    ds_err e = DS_ERR_INIT;
    ds_ledger_cert c = {0};
    must(reserve(l, device, key, &c, &e), &e);
    if (c.state >= DS_LEDGER_SIGNED)
        return c;
    ds_buf der = certify(c.serial, key->key);
    enum ds_class rc = ds_ledger_cert_signed(l, c.id, ds_buf_view(&der), &e);
    must(rc == DS_POLICY ? DS_OK : rc, &e);
    ds_buf_free(&der);
    ds_ledger_cert_free(&c);
    must(reserve(l, device, key, &c, &e), &e);
    must(c.state >= DS_LEDGER_SIGNED ? DS_OK : DS_INTERNAL, &e);
    return c;
}

static void tell(int fd, unsigned n, enum ds_ledger_state done)
{
    uint8_t told[2] = {(uint8_t)n, (uint8_t)done};
    if (fd >= 0 && write(fd, told, 2) != 2)
        abort();
}

// What a slot does with one device; every durable step is told to fd once the ledger has said so.
static void carry_on(ds_ledger *l, unsigned n, int fd)
{
    ds_err e = DS_ERR_INIT;
    ds_ledger_device d = device_n(l, n);
    char serial[64];
    must(ds_ledger_device_serial(l, d.id, "K{counter:5}", serial, &e), &e);
    ds_ledger_cert c = obtain(l, d.id, &keys[n]);
    tell(fd, n, DS_LEDGER_SIGNED);
    must(ds_ledger_cert_installed(l, c.id, c.fingerprint, &e), &e);
    tell(fd, n, DS_LEDGER_INSTALLED);
    must(ds_ledger_cert_registered(l, c.fingerprint, 1750000000, &e), &e);
    tell(fd, n, DS_LEDGER_REGISTERED);
    if (!d.locked)
        must(ds_ledger_device_proof(l, d.id, true, "{}", &e), &e);
    ds_ledger_cert_free(&c);
}

static void child(const char *path, int fd)
{
    ds_ledger *l;
    ds_err e = DS_ERR_INIT;
    if (ds_ledger_open(path, false, &l, &e))
        _exit(1);
    for (unsigned n = 0; n < DEVICES; n++)
        carry_on(l, n, fd);
    ds_ledger_close(l);
    _exit(0);
}

typedef struct history {
    uint8_t promised[DEVICES];        // the furthest state a dead process saw returned as done
    uint8_t certificate[DEVICES][32]; // fingerprint once one was seen
} history;

static void verify_after_kill(world *w, history *h)
{
    static const uint8_t zero[32];
    lines out;
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_OK);
    check(w->l, &out);
    static const char *const torn[] = {"chain", "file:", "occurs", "fingerprint", "evidence"};
    for (size_t i = 0; i < sizeof torn / sizeof *torn; i++)
        if (strstr(out.text, torn[i]))
            fail_msg("%s", out.text);
    for (unsigned n = 0; n < DEVICES; n++) {
        char mac[13];
        ds_ledger_device d;
        ds_ledger_cert c = {0};
        snprintf(mac, sizeof mac, "02000000%04x", n);
        if (ds_ledger_find(w->l, mac, &d, &w->e))
            continue;
        assert_int_equal(ds_ledger_cert_newest(w->l, d.id, &c, &w->e), DS_OK);
        assert_true(c.state >= h->promised[n]);
        if (memcmp(h->certificate[n], zero, 32) != 0)
            assert_memory_equal(h->certificate[n], c.fingerprint, 32);
        memcpy(h->certificate[n], c.fingerprint, 32);
        ds_ledger_cert_free(&c);
    }
    ds_ledger_close(w->l);
    w->l = NULL;
}

static bool run_and_kill(world *w, unsigned after_us, history *h)
{
    int fds[2], status;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        child(w->path, fds[1]);
    }
    close(fds[1]);
    usleep(after_us);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    uint8_t told[2];
    while (read(fds[0], told, 2) == 2)
        if (told[1] > h->promised[told[0]])
            h->promised[told[0]] = told[1];
    close(fds[0]);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_killed_anywhere_is_taken_up_again(void **state)
{
    world *w = *state;
    const char *given = getenv("DS_SEED");
    unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)ds_utc_now();
    print_message("DS_SEED=%u\n", seed);
    history h = {0};
    ds_ledger_close(w->l);
    w->l = NULL;
    for (unsigned round = 0; round < ROUNDS; round++) {
        run_and_kill(w, (unsigned)rand_r(&seed) % 30000, &h);
        verify_after_kill(w, &h);
    }
    assert_int_equal(ds_ledger_open(w->path, false, &w->l, &w->e), DS_OK);
    for (unsigned n = 0; n < DEVICES; n++)
        carry_on(w->l, n, -1);
    lines out;
    if (check(w->l, &out))
        fail_msg("%s", out.text);
}

typedef struct slot {
    ds_ledger *l;
    unsigned first;
} slot;

static void *slot_main(void *arg)
{
    slot *s = arg;
    for (unsigned n = s->first; n < DEVICES; n += 4) {
        carry_on(s->l, n, -1);
        carry_on(s->l, (n + 1) % DEVICES, -1); // two slots at one device
    }
    return NULL;
}

static void test_slots_at_once_leave_a_whole_record(void **state)
{
    world *w = *state;
    pthread_t threads[16];
    slot slots[16];
    for (unsigned i = 0; i < 16; i++) {
        slots[i] = (slot){w->l, i % 4};
        assert_int_equal(pthread_create(&threads[i], NULL, slot_main, &slots[i]), 0);
    }
    lines out;
    for (unsigned i = 0; i < 10; i++)
        check(w->l, &out);
    for (unsigned i = 0; i < 16; i++)
        pthread_join(threads[i], NULL);
    if (check(w->l, &out))
        fail_msg("%s", out.text);
    char last[64];
    ds_ledger_device d;
    snprintf(last, sizeof last, "K%05d", DEVICES); // as many numbers as devices, none skipped
    assert_int_equal(ds_ledger_find(w->l, last, &d, &w->e), DS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_killed_anywhere_is_taken_up_again),
        TEST(test_slots_at_once_leave_a_whole_record),
    };
    return cmocka_run_group_tests_name("ledger: crashes and threads", tests, make_keys, free_keys);
}
