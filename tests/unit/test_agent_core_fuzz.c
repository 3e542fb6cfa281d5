// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Seeded damage: to the wire (bits flipped, bytes dropped, doubled or cut) and to messages inside valid frames. The
// agent must stay within bounds (the sanitizers watch), stay in step, and keep its key to itself. The seed is printed
// on failure.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/core/internal.h"
#include "tests/unit/fake_port.c"
#include "tests/unit/fake_station.c"

enum { SEEDS = 3000, MAX_REQUESTS = 16 };

static fake_port f;
static fake_station st;
static struct {
    uint8_t bytes[9000];
    size_t len;
} messages[MAX_REQUESTS];
static size_t message_count;

static uint64_t random_state;

static uint32_t roll(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

static void keep(Devstamp__Request *q)
{
    q->id = (uint32_t)message_count + 1;
    messages[message_count].len = devstamp__request__pack(q, messages[message_count].bytes);
    message_count++;
}

#define KEEP(Type, type, TYPE, ...)                    \
    do {                                               \
        Devstamp__##Type body;                         \
        devstamp__##type##__init(&body);               \
        __VA_ARGS__;                                   \
        Devstamp__Request q = DEVSTAMP__REQUEST__INIT; \
        q.body_case = DEVSTAMP__REQUEST__BODY_##TYPE;  \
        q.type = &body;                                \
        keep(&q);                                      \
    } while (0)

// Every request, as a station sends them.
static int setup(void **state)
{
    (void)state;
    fake_init(&f, 6);
    fake_station_init(&st);
    message_count = 0;
    assert_int_equal(fake_make_key(&f, &st, DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256, false, NULL), 0);
    fake_issue(&st, st.public_key, st.public_key_len, &st.device);
    static char subject[] = "CN=SN0042,O=Example", name[] = "cfg", key[] = "rate", label[] = "ota_0";
    static uint8_t digest[32], sector[4096] = {0xE9};
    sector[12] = 5;
    ProtobufCBinaryData chain[] = {{st.device.len, st.device.der}, {st.sub.len, st.sub.der}};
    KEEP(Hello, hello, HELLO, (void)0);
    KEEP(MakeKey, make_key, MAKE_KEY, body.type = DEVSTAMP__KEY_TYPE__KEY_ECDSA_P256);
    KEEP(MakeCsr, make_csr, MAKE_CSR, body.subject = subject);
    KEEP(WriteChain, write_chain, WRITE_CHAIN, body.certificate = chain; body.n_certificate = 2);
    KEEP(ReadChain, read_chain, READ_CHAIN, (void)0);
    KEEP(WriteValue, write_value, WRITE_VALUE, body.name_space = name; body.key = key; body.type = 4;
         body.data = ((ProtobufCBinaryData){4, digest}));
    KEEP(FinishStamp, finish_stamp, FINISH_STAMP, body.count = 1; body.digest = ((ProtobufCBinaryData){32, digest}));
    KEEP(ImageBegin, image_begin, IMAGE_BEGIN, body.target = 1; body.size = 8192;
         body.sha256 = ((ProtobufCBinaryData){32, digest}));
    KEEP(ImageData, image_data, IMAGE_DATA, body.data = ((ProtobufCBinaryData){4096, sector}));
    KEEP(ImageEnd, image_end, IMAGE_END, (void)0);
    KEEP(SelectBoot, select_boot, SELECT_BOOT, body.partition = label);
    KEEP(Report, report, REPORT, body.nonce = ((ProtobufCBinaryData){32, digest}));
    return 0;
}

// Changes a few bytes; to has room for len + 16. Never makes an RSA key of a MakeKey: that is slow, and no news.
static size_t damage(const uint8_t *from, size_t len, uint8_t *to)
{
    memcpy(to, from, len);
    for (uint32_t n = 1 + roll(4); n > 0 && len > 1; n--) {
        size_t at = roll((uint32_t)len);
        switch (roll(5)) {
        case 0:
            to[at] ^= (uint8_t)(1u << roll(8));
            break;
        case 1:
            to[at] = (uint8_t)roll(256);
            break;
        case 2:
            memmove(to + at, to + at + 1, len - at - 1);
            len--;
            break;
        case 3:
            memmove(to + at + 1, to + at, len - at);
            len++;
            break;
        default:
            len = at + 1;
        }
    }
    return len;
}

static void check_in_step(uint64_t seed, const uint8_t scalar[32])
{
    static const uint8_t end = 0xC0;
    fake_send_raw(&f, &end, 1); // whatever was cut off ends here
    if (fake_stage(&f, &st) < 0)
        fail_msg("no answer to hello, seed %llu", (unsigned long long)seed);
    if (fake_leaks(&f, scalar, 12))
        fail_msg("private key on the console, seed %llu", (unsigned long long)seed);
    if (f.key_sets != 1)
        fail_msg("second key, seed %llu", (unsigned long long)seed);
}

static void test_damaged_wire(void **state)
{
    (void)state;
    static uint8_t frame[20000], bad[20016];
    uint8_t scalar[32];
    memcpy(scalar, fake_find(&f, DS_AREA_PLAIN, "stamp", "key")->data + 7, 32);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        random_state = seed;
        size_t which = roll((uint32_t)message_count);
        size_t len = fake_frame(messages[which].bytes, messages[which].len, frame);
        fake_send_raw(&f, bad, damage(frame, len, bad));
        check_in_step(seed, scalar);
    }
}

static bool asks_for_another_key(const uint8_t *message, size_t len)
{
    Devstamp__Request *q = devstamp__request__unpack(NULL, len, message);
    bool yes = q != NULL && q->body_case == DEVSTAMP__REQUEST__BODY_MAKE_KEY && q->make_key->replace;
    if (q != NULL)
        devstamp__request__free_unpacked(q, NULL);
    return yes;
}

static void test_damaged_messages_in_valid_frames(void **state)
{
    (void)state;
    static uint8_t frame[20000], bad[9016];
    uint8_t scalar[32];
    memcpy(scalar, fake_find(&f, DS_AREA_PLAIN, "stamp", "key")->data + 7, 32);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        random_state = seed ^ 0xABCDEF;
        size_t which = roll((uint32_t)message_count);
        size_t len = damage(messages[which].bytes, messages[which].len, bad);
        if (asks_for_another_key(bad, len))
            continue;
        fake_send_raw(&f, frame, fake_frame(bad, len, frame));
        check_in_step(seed, scalar);
        if (f.areas[DS_AREA_PLAIN].values[FAKE_VALUES - 1].used) // damaged names fill the storage; begin anew
            for (int i = 2; i < FAKE_VALUES; i++)
                memset(&f.areas[DS_AREA_PLAIN].values[i], 0, sizeof(fake_value));
    }
}

// Deep nesting, huge length claims, floods of fields: the arena is the limit.
static void test_hostile_messages(void **state)
{
    (void)state;
    static uint8_t message[DS_AGENT_FRAME_MAX], frame[20000];
    uint8_t scalar[32];
    memcpy(scalar, fake_find(&f, DS_AREA_PLAIN, "stamp", "key")->data + 7, 32);
    static const uint8_t claim[] = {0x08, 1, 0x2A, 0xFF, 0xFF, 0xFF, 0xFF, 0x03}; // write_chain of 1 GiB
    fake_send_raw(&f, frame, fake_frame(claim, sizeof claim, frame));
    check_in_step(1, scalar);
    for (int fill = 0; fill < 4; fill++) {
        static const uint8_t pairs[4][2] = {{0x2A, 0x00}, {0x7A, 0x00}, {0x08, 0x01}, {0x12, 0x00}};
        for (size_t i = 0; i < sizeof message; i++)
            message[i] = pairs[fill][i % 2]; // thousands of empty fields, known and unknown
        fake_send_raw(&f, frame, fake_frame(message, sizeof message, frame));
        check_in_step(2, scalar);
    }
    memset(message, 0, sizeof message);
    static const uint8_t chain[] = {0x2A, 0xFC, 0x3F}; // a WriteChain full of empty certificates
    memcpy(message, chain, sizeof chain);
    for (size_t i = sizeof chain; i < sizeof message; i++)
        message[i] = (i - sizeof chain) % 2 == 0 ? 0x0A : 0x00;
    fake_send_raw(&f, frame, fake_frame(message, sizeof chain + 0x1FFC, frame));
    check_in_step(3, scalar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_damaged_wire, setup),
        cmocka_unit_test_setup(test_damaged_messages_in_valid_frames, setup),
        cmocka_unit_test_setup(test_hostile_messages, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
