// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The agent's requests from the station's side, against a peer that plays a script of answers, text and damage.
#include "link_peer.h"

#include "src/base/crc.h"
#include "src/base/slip.h"
#include "src/link/agent_client.h"
#include "src/link/agent_wire.h"

#include <errno.h>

enum { ID_SAME = 0, ID_OLD, ID_ZERO };

typedef enum step_kind {
    END_SCRIPT = 0,
    SAY,         // text
    ANSWER,      // HelloReply
    ANSWER_BARE, // status alone
    PROGRESS,
    PAUSE,   // number of milliseconds
    NOISE,   // an answer with a changed byte
    CUT,     // the first half of an answer
    ENDLESS, // 64 KiB that begin as a frame
    AWAIT,   // the next request
    HANG_UP,
} step_kind;

typedef struct step {
    step_kind kind;
    const char *text;
    uint32_t number; // status, milliseconds
    int id;
} step;

typedef struct script {
    const step *steps;
    unsigned requests;
    uint32_t ids[64];
    ds_slip slip;
    uint8_t rx[2048];
    size_t rx_len, rx_pos;
} script;

// Next request's id; false when the station has closed.
static bool await_request(peer *p, script *s, uint32_t *ret_id)
{
    for (;;) {
        while (s->rx_pos < s->rx_len) {
            if (ds_slip_push(&s->slip, s->rx[s->rx_pos++]) != DS_SLIP_FRAME)
                continue;
            ds_view f = ds_buf_view(&s->slip.frame);
            if (f.len < 7 || memcmp(f.ptr, "DS\x01", 3) != 0 ||
                ds_le32(f.ptr + f.len - 4) != ds_crc32(f.ptr, f.len - 4))
                return false;
            Devstamp__Request *q = devstamp__request__unpack(NULL, f.len - 7, f.ptr + 3);
            if (!q)
                return false;
            *ret_id = q->id;
            if (s->requests < 64)
                s->ids[s->requests++] = q->id;
            devstamp__request__free_unpacked(q, NULL);
            return true;
        }
        s->rx_pos = 0;
        s->rx_len = peer_recv(p, s->rx, sizeof s->rx);
        if (!s->rx_len)
            return false;
    }
}

static void make_answer(const step *st, uint32_t id, ds_buf *wire)
{
    Devstamp__Response r = DEVSTAMP__RESPONSE__INIT;
    Devstamp__HelloReply hello;
    devstamp__hello_reply__init(&hello);
    Devstamp__Progress progress = DEVSTAMP__PROGRESS__INIT;
    char project[] = "mfg\xC3\xA4", version[] = "1.2.3";
    hello.project = project;
    hello.version = version;
    hello.flash_size = 0xC0DBC0DB; // bytes that SLIP escapes
    progress.step = 1;
    r.id = st->id == ID_OLD ? id - 1 : st->id == ID_ZERO ? 0 : id;
    r.status = st->number;
    if (st->kind == PROGRESS) {
        r.body_case = DEVSTAMP__RESPONSE__BODY_PROGRESS;
        r.progress = &progress;
    } else if (st->kind != ANSWER_BARE) {
        r.body_case = DEVSTAMP__RESPONSE__BODY_HELLO;
        r.hello = &hello;
    }
    uint8_t message[256];
    size_t len = devstamp__response__pack(&r, message);
    ds_agent_wire_encode(wire, (ds_view){message, len});
}

static bool play_step(peer *p, script *s, const step *st, uint32_t *id)
{
    DS_CLEANUP_BUF ds_buf wire = {0};
    switch (st->kind) {
    case SAY:
        return peer_send(p, st->text, strlen(st->text));
    case PAUSE:
        ds_sleep_ms(st->number);
        return true;
    case AWAIT:
        return await_request(p, s, id);
    case ENDLESS:
        ds_buf_add(&wire,
                   "\xC0"
                   "DS\x01",
                   4);
        ds_buf_add_fill(&wire, 'z', 65536);
        break;
    case HANG_UP:
    case END_SCRIPT:
        return false;
    default:
        make_answer(st, *id, &wire);
        break;
    }
    if (st->kind == NOISE)
        wire.ptr[wire.len / 2] ^= 0x01;
    if (st->kind == CUT)
        wire.len /= 2;
    return peer_send(p, wire.ptr, wire.len);
}

static void play(peer *p)
{
    script *s = p->arg;
    ds_slip_init(&s->slip, 8192 + 7);
    uint32_t id = 0;
    for (const step *st = s->steps; play_step(p, s, st, &id); st++)
        ;
    ds_slip_deinit(&s->slip);
}

typedef struct bench {
    script script;
    peer peer;
    ds_transport *t;
    ds_agent_client *c;
    Devstamp__Response *r;
    ds_err e;
    char log[2048];
} bench;

static void keep_line(void *arg, const char *line)
{
    bench *b = arg;
    size_t len = strlen(b->log);
    snprintf(b->log + len, sizeof b->log - len, "%s|", line);
}

static void start(bench *b, const step *steps)
{
    *b = (bench){.script.steps = steps};
    peer_start(&b->peer, play, &b->script);
    b->t = peer_open(&b->peer, "tcp");
    b->c = ds_agent_client_new(b->t, keep_line, b);
}

static enum ds_class hello(bench *b, int deadline_ms, int try_ms)
{
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    Devstamp__Hello body = DEVSTAMP__HELLO__INIT;
    q.body_case = DEVSTAMP__REQUEST__BODY_HELLO;
    q.hello = &body;
    return ds_agent_call(b->c, &q, ds_now_ms() + deadline_ms, try_ms, &b->r, &b->e);
}

static void end(bench *b)
{
    if (b->r)
        devstamp__response__free_unpacked(b->r, NULL);
    ds_agent_client_free(b->c);
    ds_transport_close(b->t);
    peer_join(&b->peer);
}

// A hello that succeeds with the given number of tries, and what is logged meanwhile.
static void succeeds(const step *steps, int deadline_ms, int try_ms, unsigned tries, const char *log)
{
    bench b;
    start(&b, steps);
    assert_ok(hello(&b, deadline_ms, try_ms), b.e);
    assert_int_equal(b.r->body_case, DEVSTAMP__RESPONSE__BODY_HELLO);
    assert_string_equal(b.r->hello->version, "1.2.3");
    assert_int_equal(b.r->hello->flash_size, 0xC0DBC0DB);
    end(&b);
    assert_int_equal(b.script.requests, tries);
    for (unsigned i = 1; i < tries; i++)
        assert_int_equal(b.script.ids[i], b.script.ids[0]); // the same request
    assert_string_equal(b.log, log);
}

static void test_call_plain(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT}, {.kind = ANSWER}, {.kind = AWAIT}, {0}};
    succeeds(s, 5000, 2000, 1, "");
}

static void test_call_amid_text(void **state)
{
    (void)state;
    static const step s[] = {
        {SAY, "\x1b[0;32mI (1) boot: hi\x1b[0m\r\n\xC0\x01 stray end\r\n", 0, 0},
        {.kind = AWAIT},
        {SAY, "tail\twithout \xFF\x07 end", 0, 0},
        {.kind = ANSWER},
        {.kind = AWAIT},
        {0},
    };
    succeeds(s, 5000, 2000, 1, "I (1) boot: hi| stray end|");
}

static void test_call_repeats_after_lost_answer(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT}, {.kind = AWAIT}, {.kind = AWAIT}, {.kind = ANSWER}, {.kind = AWAIT}, {0}};
    succeeds(s, 5000, 100, 3, "");
}

static void test_call_repeats_after_damaged_and_cut_answers(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT}, {.kind = NOISE},  {.kind = AWAIT}, {.kind = CUT},
                             {.kind = AWAIT}, {.kind = ANSWER}, {.kind = AWAIT}, {0}};
    bench b;
    start(&b, s);
    assert_ok(hello(&b, 5000, 150), b.e);
    end(&b);
    assert_int_equal(b.script.requests, 3);
}

static void test_call_ignores_old_and_doubled_answers(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT},
                             {.kind = ANSWER_BARE, .number = 0x03080001, .id = ID_OLD},
                             {.kind = PROGRESS, .id = ID_OLD},
                             {.kind = ANSWER},
                             {.kind = ANSWER},
                             {.kind = AWAIT},
                             {.kind = ANSWER},
                             {.kind = AWAIT},
                             {0}};
    bench b;
    start(&b, s);
    assert_ok(hello(&b, 5000, 2000), b.e);
    devstamp__response__free_unpacked(b.r, NULL);
    b.r = NULL;
    assert_ok(hello(&b, 5000, 2000), b.e); // the doubled answer to the first is none to the second
    uint32_t second = b.r->id;
    end(&b);
    assert_int_equal(b.script.requests, 2);
    assert_int_equal(second, b.script.ids[1]);
    assert_int_not_equal(b.script.ids[0], b.script.ids[1]);
}

// A device that takes longer than a call waits: without repeating, each answer would come too late for its call.
static void test_call_repeated_takes_the_late_answer(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT}, {.kind = PAUSE, .number = 300}, {.kind = ANSWER}, {.kind = AWAIT}, {0}};
    bench b;
    start(&b, s);
    assert_int_equal(hello(&b, 100, 100), DS_DEVICE);
    ds_agent_client_repeat(b.c);
    assert_ok(hello(&b, 5000, 5000), b.e);
    uint32_t id = b.r->id;
    end(&b);
    assert_int_equal(id, b.script.ids[0]);
}

// The pauses together are longer than a try, each alone far shorter.
static void test_call_progress_keeps_alive(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT},
                             {.kind = PAUSE, .number = 700},
                             {.kind = PROGRESS},
                             {.kind = PAUSE, .number = 700},
                             {.kind = PROGRESS},
                             {.kind = PAUSE, .number = 700},
                             {.kind = ANSWER},
                             {.kind = AWAIT},
                             {0}};
    succeeds(s, 30000, 2000, 1, "");
}

// Hellos that were asked while a device started wait in its queue: it answers them one by one, and then this.
static void test_call_waits_while_earlier_ones_are_answered(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT},
                             {.kind = PAUSE, .number = 700},
                             {.kind = ANSWER, .id = ID_OLD},
                             {.kind = PAUSE, .number = 700},
                             {.kind = ANSWER, .id = ID_OLD},
                             {.kind = PAUSE, .number = 700},
                             {.kind = ANSWER},
                             {.kind = AWAIT},
                             {0}};
    succeeds(s, 30000, 2000, 1, "");
}

static void test_call_sends_again_what_was_not_understood(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT}, {.kind = ANSWER_BARE, .number = 0x02010063, .id = ID_ZERO},
                             {.kind = AWAIT}, {.kind = ANSWER},
                             {.kind = AWAIT}, {0}};
    int64_t start_ms = ds_now_ms();
    succeeds(s, 5000, 4000, 2, "");
    assert_true(ds_now_ms() - start_ms < 20000);
}

static void test_call_endless_frame_costs_a_try(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT},  {.kind = ENDLESS}, {.kind = AWAIT},
                             {.kind = ANSWER}, {.kind = AWAIT},   {0}};
    bench b;
    start(&b, s);
    assert_ok(hello(&b, 5000, 300), b.e);
    end(&b);
    assert_int_equal(b.script.requests, 2);
}

static void fails(const step *steps, int deadline_ms, const char *text, const char *hint, uint32_t code)
{
    bench b;
    start(&b, steps);
    int64_t start_ms = ds_now_ms();
    assert_int_equal(hello(&b, deadline_ms, 100), DS_DEVICE);
    assert_true(ds_now_ms() - start_ms <= deadline_ms + 20000);
    if (!strstr(b.e.text, text) || !strstr(b.e.hint, hint) || (code && b.e.code != code))
        fail_msg("%s (%s) %x", b.e.text, b.e.hint, b.e.code);
    assert_null(b.r);
    end(&b);
}

static void test_call_failures_are_told_apart(void **state)
{
    (void)state;
    static const step silent[] = {{.kind = AWAIT}, {.kind = AWAIT}, {.kind = AWAIT}, {.kind = AWAIT}, {0}};
    fails(silent, 250, "no answer from the agent within", "power and cable", ETIMEDOUT);
    static const step chatter[] = {
        {.kind = SAY, .text = "hello world\r\n"}, {.kind = AWAIT}, {.kind = PAUSE, .number = 400}, {0}};
    fails(chatter, 250, "bytes came that are none", "runs no agent", ETIMEDOUT);
    static const step gone[] = {{.kind = AWAIT}, {.kind = HANG_UP}};
    fails(gone, 2000, "the connection was closed", "power", 0);
    static const step refused[] = {{.kind = AWAIT}, {.kind = ANSWER_BARE, .number = 0x070A0123}, {.kind = AWAIT}, {0}};
    fails(refused, 2000, "the device answers image: bad signature (0x070a0123)", "sign the image", 0x070A0123);
    static const step other[] = {{.kind = AWAIT}, {.kind = ANSWER_BARE}, {.kind = AWAIT}, {0}};
    fails(other, 2000, "another message", "another version", 0);
}

static void test_wait_text(void **state)
{
    (void)state;
    static const step s[] = {{.kind = SAY, .text = "one\r\ntw"},
                             {.kind = CUT},
                             {.kind = PAUSE, .number = 400},
                             {.kind = SAY, .text = "\r\nboot: re"},
                             {.kind = PAUSE, .number = 50},
                             {.kind = SAY, .text = "ady> and more\r\nlast\r\n"},
                             {.kind = AWAIT},
                             {0}};
    bench b;
    start(&b, s);
    assert_true(ds_agent_wait_text(b.c, "boot: ready>", ds_now_ms() + 3000));
    assert_true(ds_agent_wait_text(b.c, "last", ds_now_ms() + 1000));
    assert_false(ds_agent_wait_text(b.c, "never", ds_now_ms() + 150));
    end(&b);
    assert_non_null(strstr(b.log, "boot: ready> and more|last|"));
}

static void test_request_too_long_is_refused(void **state)
{
    (void)state;
    static const step s[] = {{.kind = AWAIT}, {0}};
    static uint8_t bytes[9000];
    bench b;
    start(&b, s);
    Devstamp__Request q = DEVSTAMP__REQUEST__INIT;
    Devstamp__ImageData body = DEVSTAMP__IMAGE_DATA__INIT;
    body.data = (ProtobufCBinaryData){sizeof bytes, bytes};
    q.body_case = DEVSTAMP__REQUEST__BODY_IMAGE_DATA;
    q.image_data = &body;
    assert_int_equal(ds_agent_call(b.c, &q, ds_now_ms() + 1000, 100, &b.r, &b.e), DS_INPUT);
    end(&b);
    assert_int_equal(b.script.requests, 0);
}

// Frame of a Hello with id 5 ("08 05 12 00"), its CRC-32 computed with another tool.
static void test_frame_bytes(void **state)
{
    (void)state;
    static const uint8_t message[] = {0x08, 0x05, 0x12, 0x00};
    static const uint8_t expected[] = {0xC0, 'D', 'S', 0x01, 0x08, 0x05, 0x12, 0x00, 0x2A, 0x47, 0xD9, 0x21, 0xC0};
    DS_CLEANUP_BUF ds_buf wire = {0};
    ds_agent_wire_encode(&wire, (ds_view){message, sizeof message});
    assert_int_equal(wire.len, sizeof expected);
    assert_memory_equal(wire.ptr, expected, sizeof expected);
}

static void test_status_text(void **state)
{
    (void)state;
    char words[96];
    ds_status_text(0x070A0123, words, sizeof words);
    assert_string_equal(words, "image: bad signature (0x070a0123)");
    ds_status_text(0x03040010, words, sizeof words);
    assert_string_equal(words, "key: exists already and must not be replaced (0x03040010)");
    assert_non_null(strstr(ds_status_hint(0x03040010), "ledger"));
    assert_non_null(
        strstr(ds_status_hint(DEVSTAMP__STATUS_MODULE__MODULE_KEY << 24 | DEVSTAMP__STATUS_CODE__CODE_NO_SPACE << 16),
               "key block"));
    assert_non_null(
        strstr(ds_status_hint(DEVSTAMP__STATUS_MODULE__MODULE_VALUE << 24 | DEVSTAMP__STATUS_CODE__CODE_NO_SPACE << 16),
               "partition"));
    ds_status_text(0, words, sizeof words);
    assert_string_equal(words, "success");
    ds_status_text(0xFFEE0001, words, sizeof words);
    assert_string_equal(words, "a status unknown here (0xffee0001)");
    assert_null(ds_status_hint(0xFFEE0001));
    ds_status_text(0x070A0123, words, 8);
    assert_string_equal(words, "image: ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_plain),
        cmocka_unit_test(test_call_amid_text),
        cmocka_unit_test(test_call_repeats_after_lost_answer),
        cmocka_unit_test(test_call_repeats_after_damaged_and_cut_answers),
        cmocka_unit_test(test_call_ignores_old_and_doubled_answers),
        cmocka_unit_test(test_call_repeated_takes_the_late_answer),
        cmocka_unit_test(test_call_progress_keeps_alive),
        cmocka_unit_test(test_call_waits_while_earlier_ones_are_answered),
        cmocka_unit_test(test_call_sends_again_what_was_not_understood),
        cmocka_unit_test(test_call_endless_frame_costs_a_try),
        cmocka_unit_test(test_call_failures_are_told_apart),
        cmocka_unit_test(test_wait_text),
        cmocka_unit_test(test_request_too_long_is_refused),
        cmocka_unit_test(test_frame_bytes),
        cmocka_unit_test(test_status_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
