// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Transports and resets: TCP, RFC 2217 byte by byte against its document, a real pseudo-terminal, the lock, the reset
// command.
#include "link_peer.h"

#include "src/link/reset.h"
#include "src/link/telnet.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

static void send_hi_and_close(peer *p)
{
    peer_send(p, "hi", 2);
}

static void test_tcp_reads_times_out_and_sees_the_end(void **state)
{
    (void)state;
    peer p;
    peer_start(&p, send_hi_and_close, NULL);
    ds_transport *t = peer_open(&p, "tcp");
    uint8_t buf[16];
    size_t n = 0;
    ds_err e = DS_ERR_INIT;
    assert_ok(t->read(t, buf, sizeof buf, 1000, &n, &e), e);
    assert_int_equal(n, 2);
    assert_int_equal(t->read(t, buf, sizeof buf, 1000, &n, &e), DS_DEVICE);
    assert_non_null(strstr(e.text, "closed"));
    assert_false(t->has_lines);
    assert_int_equal(t->set_lines(t, true, true, &e), DS_DEVICE);
    ds_transport_close(t);
    peer_join(&p);
}

static void refused(const char *address, enum ds_class cls, const char *text)
{
    ds_transport *t = NULL;
    ds_err e = DS_ERR_INIT;
    assert_int_equal(ds_transport_open(address, &t, &e), cls);
    if (!strstr(e.text, text) || !e.hint[0])
        fail_msg("%s: %s (%s)", address, e.text, e.hint);
    assert_null(t);
}

static void test_open_bad_addresses(void **state)
{
    (void)state;
    refused("ttyUSB0", DS_INPUT, "not an address");
    refused("tcp://localhost", DS_INPUT, "host:port");
    refused("tcp://127.0.0.1:1", DS_DEVICE, "refused");
    refused("/dev/null", DS_DEVICE, "not a serial port");
    refused("serial:/dev/no-such-port", DS_DEVICE, "No such file");
    ds_transport_close(NULL);
}

// A server that keeps what it is sent and answers as told.
typedef struct server {
    bool answers, agrees;
    uint32_t baud_answer; // 0: what was asked
    uint8_t got[1024];
    size_t len;
    bool device_speaks;
} server;

static bool has(const server *s, const char *bytes, size_t len)
{
    return memmem(s->got, s->len, bytes, len) != NULL;
}

static void answer_suboption(peer *p, const server *s, const uint8_t *sub, size_t len)
{
    uint8_t out[16] = {255, 250, 44, (uint8_t)(sub[3] + 100)};
    memcpy(out + 4, sub + 4, len - 4);
    if (sub[3] == 1 && s->baud_answer) {
        for (int i = 0; i < 4; i++)
            out[4 + i] = (uint8_t)(s->baud_answer >> (24 - 8 * i));
    }
    peer_send(p, out, len);
}

static void serve(peer *p)
{
    server *s = p->arg;
    size_t looked = 0;
    for (size_t n; (n = peer_recv(p, s->got + s->len, sizeof s->got - s->len)) > 0;) {
        s->len += n;
        static const char will_comport[] = {'\xFF', '\xFB', 44};
        static const char do_comport[] = {'\xFF', '\xFD', 44}, dont_comport[] = {'\xFF', '\xFE', 44};
        if (looked == 0 && has(s, will_comport, 3))
            peer_send(p, s->agrees ? do_comport : dont_comport, 3);
        for (; looked < s->len; looked++) {
            if (s->got[looked] != 250)
                continue;
            uint8_t *end = memchr(s->got + looked, 240, s->len - looked);
            if (!end)
                break;
            if (s->answers)
                answer_suboption(p, s, s->got + looked - 1, (size_t)(end + 2 - (s->got + looked)));
            if (s->device_speaks && s->got[looked + 2] == 12) // purge: after its answer comes data
                peer_send(p,
                          "a\xFF\xFF"
                          "b\xFF\xF1"
                          "c",
                          7);
        }
    }
}

static void test_rfc2217_speaks_as_the_document(void **state)
{
    (void)state;
    server s = {.answers = true, .agrees = true, .device_speaks = true};
    peer p;
    peer_start(&p, serve, &s);
    ds_transport *t = peer_open(&p, "rfc2217");
    ds_err e = DS_ERR_INIT;
    assert_true(t->has_lines && !t->tight_lines);
    assert_ok(t->set_baud(t, 921600, &e), e);
    assert_ok(t->set_lines(t, true, false, &e), e);
    assert_ok(t->set_lines(t, true, true, &e), e);
    assert_ok(t->flush_input(t, &e), e);
    assert_ok(t->write(t, (ds_view){(const uint8_t *)"x\xFFy", 3}, &e), e);
    uint8_t got[8];
    size_t len = 0, n;
    while (len < 4) {
        assert_ok(t->read(t, got + len, 1, 2000, &n, &e), e);
        assert_int_equal(n, 1);
        len += n;
    }
    assert_memory_equal(got,
                        "a\xFF"
                        "bc",
                        4);
    assert_ok(t->read(t, got, 1, 20, &n, &e), e);
    assert_int_equal(n, 0);
    ds_transport_close(t);
    peer_join(&p);
    assert_true(has(&s, "\xFF\xFA\x2C\x01\x00\x01\xC2\x00\xFF\xF0", 10)); // 115200
    assert_true(has(&s, "\xFF\xFA\x2C\x01\x00\x0E\x10\x00\xFF\xF0", 10)); // 921600
    assert_true(has(&s, "\xFF\xFA\x2C\x02\x08\xFF\xF0", 7));
    // only what changes is sent: DTR on, RTS off; then RTS on
    assert_true(has(&s,
                    "\xFF\xFA\x2C\x05\x08\xFF\xF0\xFF\xFA\x2C\x05\x0C\xFF\xF0\xFF\xFA\x2C\x05\x0B\xFF\xF0"
                    "\xFF\xFA\x2C\x0C\x01\xFF\xF0"
                    "x\xFF\xFFy",
                    32));
}

static void test_rfc2217_lives_with_a_server_that_never_answers(void **state)
{
    (void)state;
    server s = {.answers = false, .agrees = true};
    peer p;
    peer_start(&p, serve, &s);
    int64_t start_ms = ds_now_ms();
    ds_transport *t = peer_open(&p, "rfc2217");
    ds_err e = DS_ERR_INIT;
    for (int i = 0; i < 4; i++)
        assert_ok(t->set_lines(t, i & 1, i & 2, &e), e);
    assert_ok(t->set_baud(t, 460800, &e), e);
    assert_ok(t->flush_input(t, &e), e);
    assert_true(ds_now_ms() - start_ms < 15000); // waits for one answer only
    ds_transport_close(t);
    peer_join(&p);
}

static void test_rfc2217_refusals(void **state)
{
    (void)state;
    server deaf = {.agrees = false};
    peer p;
    char address[64];
    peer_start(&p, serve, &deaf);
    snprintf(address, sizeof address, "rfc2217://127.0.0.1:%u", p.port);
    refused(address, DS_DEVICE, "does not speak RFC 2217");
    peer_join(&p);

    server slow = {.agrees = true, .answers = true, .baud_answer = 9600};
    peer_start(&p, serve, &slow);
    snprintf(address, sizeof address, "rfc2217://127.0.0.1:%u", p.port);
    ds_transport *t = peer_open(&p, "rfc2217");
    ds_err e = DS_ERR_INIT;
    assert_int_equal(t->set_baud(t, 921600, &e), DS_DEVICE);
    assert_non_null(strstr(e.text, "9600 baud instead of 921600"));
    ds_transport_close(t);
    peer_join(&p);
}

static void feed(ds_telnet *t, const char *bytes, size_t len)
{
    ds_telnet_feed(t, (const uint8_t *)bytes, len);
}

static void test_telnet_options_do_not_loop(void **state)
{
    (void)state;
    ds_telnet t = {0};
    ds_telnet_start(&t);
    ds_buf_clear(&t.reply);
    feed(&t, "\xFF\xFD\x2C\xFF\xFD\x2C\xFF\xFB\x00\xFF\xFB\x00", 12); // agreements to what was asked
    assert_int_equal(t.reply.len, 0);
    assert_true(ds_telnet_comport(&t));
    feed(&t, "\xFF\xFB\x01", 3); // WILL ECHO: no
    assert_int_equal(t.reply.len, 3);
    assert_memory_equal(t.reply.ptr, "\xFF\xFE\x01", 3);
    feed(&t, "\xFF\xFE\x2C\xFF\xFE\x2C", 6); // DONT COM-PORT, twice: one WONT
    assert_int_equal(t.reply.len, 6);
    assert_false(ds_telnet_comport(&t));
    ds_telnet_deinit(&t);
}

static void test_telnet_hostile_suboptions(void **state)
{
    (void)state;
    ds_telnet t = {0};
    char big[4096];
    memset(big, 'A', sizeof big);
    feed(&t, "\xFF\xFA\x2C\x65", 4);
    for (int i = 0; i < 64; i++)
        feed(&t, big, sizeof big);
    static const char rest[] = "\xFF\xF0ok\xFF\xFA\xFF\xF0\xFF\xFA\x2C\x65\0\0\xFF\xF0\xFF\xFA\x2C\x69\xFE\xFF\xF0";
    feed(&t, rest, sizeof rest - 1);
    assert_int_equal(t.data.len, 2);
    assert_int_equal(t.baud, 0);
    assert_int_equal(t.acked_control, 0);
    feed(&t, "\xFF\xFA\x2C\x65\x00\x00\xFF\xFF\x01\xFF\xF0", 11); // an escaped FF in a number
    assert_int_equal(t.baud, 0xFF01);
    ds_telnet_deinit(&t);
}

static int open_pty(char *path, size_t cap)
{
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(grantpt(fd) | unlockpt(fd) | ptsname_r(fd, path, cap), 0);
    return fd;
}

static void test_pty_carries_all_bytes_and_vanishes(void **state)
{
    (void)state;
    char path[128];
    uint8_t all[256], got[512];
    size_t n = 0, len = 0;
    ds_err e = DS_ERR_INIT;
    int master = open_pty(path, sizeof path);
    ds_transport *t = NULL;
    assert_ok(ds_transport_open(path, &t, &e), e);
    assert_false(t->has_lines);
    assert_ok(t->set_baud(t, 2000000, &e), e);
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    assert_int_equal(write(master, all, sizeof all), 256);
    for (; len < 256; len += n)
        assert_ok(t->read(t, got + len, sizeof got - len, 1000, &n, &e), e);
    assert_memory_equal(got, all, 256);
    assert_ok(t->write(t, (ds_view){all, 256}, &e), e);
    for (len = 0; len < 256; len += n) {
        ssize_t some = read(master, got + len, sizeof got - len);
        assert_true(some > 0);
        n = (size_t)some;
    }
    assert_memory_equal(got, all, 256);
    assert_int_equal(write(master, "old", 3), 3);
    assert_ok(t->flush_input(t, &e), e);
    assert_ok(t->read(t, got, sizeof got, 20, &n, &e), e);
    assert_int_equal(n, 0);
    close(master);
    assert_int_equal(t->read(t, got, sizeof got, 1000, &n, &e), DS_DEVICE);
    assert_non_null(strstr(e.text, "the port vanished"));
    assert_non_null(strstr(e.hint, "cable"));
    ds_transport_close(t);
}

static void test_second_user_of_a_port_is_told(void **state)
{
    (void)state;
    char path[128];
    ds_err e = DS_ERR_INIT;
    int master = open_pty(path, sizeof path);
    ds_transport *t = NULL, *second = NULL;
    assert_ok(ds_transport_open(path, &t, &e), e);
    assert_int_equal(ds_transport_open(path, &second, &e), DS_DEVICE);
    assert_non_null(strstr(e.text, "in use by another program"));
    assert_non_null(strstr(e.hint, "another devstamp"));
    ds_transport_close(t);
    assert_ok(ds_transport_open(path, &second, &e), e);
    ds_transport_close(second);
    close(master);
}

// A wire that keeps how its lines were driven.
typedef struct lines {
    ds_transport base;
    char log[64];
    uint32_t baud;
} lines;

static enum ds_class keep_lines(ds_transport *t, bool dtr, bool rts, ds_err *e)
{
    (void)e;
    lines *l = (lines *)(void *)t;
    size_t len = strlen(l->log);
    snprintf(l->log + len, sizeof l->log - len, "%d%d ", dtr, rts);
    return DS_OK;
}

static enum ds_class keep_baud(ds_transport *t, uint32_t baud, ds_err *e)
{
    (void)e;
    ((lines *)(void *)t)->baud = baud;
    return DS_OK;
}

static void sequence(bool tight, uint16_t pid, bool download, unsigned attempt, const char *expected, int min_ms)
{
    lines l = {.base = {.set_lines = keep_lines,
                        .set_baud = keep_baud,
                        .has_lines = true,
                        .tight_lines = tight,
                        .usb_vid = pid ? 0x303A : 0,
                        .usb_pid = pid}};
    ds_reset r = {.kind = DS_RESET_LINES};
    ds_err e = DS_ERR_INIT;
    int64_t start_ms = ds_now_ms();
    assert_ok(ds_reset_attempt(&r, &l.base, download, attempt, &e), e);
    assert_string_equal(l.log, expected);
    assert_true(ds_now_ms() - start_ms >= min_ms);
    assert_int_equal(l.baud, 115200);
}

static void test_reset_sequences(void **state)
{
    (void)state;
    sequence(true, 0, true, 0, "00 11 01 10 00 ", 150);
    sequence(true, 0, true, 1, "00 11 01 10 00 ", 650);
    sequence(true, 0, true, 2, "01 11 10 00 ", 150);
    sequence(false, 0, true, 0, "01 11 10 00 ", 150);
    sequence(false, 0, true, 3, "01 11 10 00 ", 650);
    sequence(true, 0x1001, true, 0, "00 10 11 01 00 ", 300);
    sequence(true, 0x1001, false, 0, "01 00 ", 400);
    sequence(false, 0, false, 0, "01 00 ", 100);
}

static void test_reset_without_means(void **state)
{
    (void)state;
    lines l = {.base = {.set_lines = keep_lines, .set_baud = keep_baud}};
    ds_err e = DS_ERR_INIT;
    ds_reset none = {.kind = DS_RESET_NONE}, wired = {.kind = DS_RESET_LINES};
    assert_int_equal(ds_reset_device(&none, &l.base, true, &e), DS_DEVICE);
    assert_non_null(strstr(e.hint, "by hand"));
    assert_int_equal(ds_reset_device(&wired, &l.base, true, &e), DS_DEVICE);
    assert_non_null(strstr(e.text, "no control lines"));
}

static void test_reset_command_environment_and_exit_code(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    setenv("DEVSTAMP_SLOT", "wrong", 1);
    const char *check = "test \"$DEVSTAMP_RESET\" = download && test \"$DEVSTAMP_SLOT\" = 'slot 3'";
    assert_ok(ds_reset_run_command(check, "slot 3", true, 5000, &e), e);
    assert_int_equal(ds_reset_run_command(check, "slot 3", false, 5000, &e), DS_DEVICE);
    assert_string_equal(e.text, "the reset command ended with exit code 1");
    assert_int_equal(ds_reset_run_command("echo relay; echo 'is\tstuck' >&2; exit 7", "s", true, 5000, &e), DS_DEVICE);
    assert_string_equal(e.text, "the reset command ended with exit code 7: relay is stuck");
    assert_int_equal(ds_reset_run_command("", "s", true, 5000, &e), DS_INPUT);
    unsetenv("DEVSTAMP_SLOT");
}

static void test_reset_command_inherits_no_descriptor(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    int stray = dup(STDIN_FILENO); // as one that was given to the utility, or a library's: without close-on-exec
    assert_true(stray > STDERR_FILENO);
    DS_CLEANUP_FREE char *check = ds_asprintf("test ! -e /proc/self/fd/%d", stray);
    assert_ok(ds_reset_run_command(check, "s", true, 5000, &e), e);
    close(stray);
}

static void test_reset_command_is_killed_when_its_time_is_over(void **state)
{
    (void)state;
    ds_err e = DS_ERR_INIT;
    int64_t start_ms = ds_now_ms();
    assert_int_equal(ds_reset_run_command("yes & echo $! > /dev/null; sleep 60; true", "s", true, 300, &e), DS_DEVICE);
    assert_true(ds_now_ms() - start_ms < 20000);
    assert_non_null(strstr(e.text, "did not end within 300 ms and was killed"));
    // what goes on in the background does not hold it up
    start_ms = ds_now_ms();
    assert_ok(ds_reset_run_command("sleep 1 & exit 0", "s", true, 5000, &e), e);
    assert_true(ds_now_ms() - start_ms < 9000);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_reads_times_out_and_sees_the_end),
        cmocka_unit_test(test_open_bad_addresses),
        cmocka_unit_test(test_rfc2217_speaks_as_the_document),
        cmocka_unit_test(test_rfc2217_lives_with_a_server_that_never_answers),
        cmocka_unit_test(test_rfc2217_refusals),
        cmocka_unit_test(test_telnet_options_do_not_loop),
        cmocka_unit_test(test_telnet_hostile_suboptions),
        cmocka_unit_test(test_pty_carries_all_bytes_and_vanishes),
        cmocka_unit_test(test_second_user_of_a_port_is_told),
        cmocka_unit_test(test_reset_sequences),
        cmocka_unit_test(test_reset_without_means),
        cmocka_unit_test(test_reset_command_environment_and_exit_code),
        cmocka_unit_test(test_reset_command_inherits_no_descriptor),
        cmocka_unit_test(test_reset_command_is_killed_when_its_time_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
