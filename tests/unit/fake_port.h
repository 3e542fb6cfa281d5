// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// A platform in memory for tests of the agent: values, two flash places with NOR semantics, a console, and faults.
// Faults are parameters: the Nth port call fails once, or power is lost at the Nth write. A lost device is "dead":
// every call fails without effect until fake_power_on(), as nothing a processor does without power has one. Tests
// include fake_port.c, as they link the agent's rooms alone.
#ifndef DS_TEST_FAKE_PORT_H
#define DS_TEST_FAKE_PORT_H

#include "agent/core/agent.h"

enum { FAKE_BLOCKS = 3, FAKE_VALUES = 40, FAKE_VALUE_MAX = 4200, FAKE_PLACE = 256 * 1024, FAKE_CONSOLE = 64 * 1024 };

typedef struct fake_value {
    bool used;
    char name_space[16], key[16];
    enum ds_value_type type;
    size_t len;
    uint8_t data[FAKE_VALUE_MAX];
} fake_value;

typedef struct fake_area {
    fake_value values[FAKE_VALUES];
    bool touched; // some byte is not erased
} fake_area;

typedef struct fake_port {
    ds_port port;
    ds_agent agent;
    uint8_t frame[DS_AGENT_FRAME_MAX + 16], scratch[DS_AGENT_FRAME_MAX + 16];

    fake_area areas[2];
    uint8_t places[2][FAKE_PLACE];
    ds_identity identity;
    ds_security security;
    uint8_t anchor[32];
    size_t anchor_len, anchor_cap; // burned; what the chip can hold
    struct fake_block {
        uint8_t bytes[32];
        bool burned, bad, whole; // some bits are there; not the right ones; protected, with its purpose
        enum ds_key_use use;
    } blocks[FAKE_BLOCKS]; // key blocks, taken in this order
    bool read_protection_locked;
    uint64_t seed;
    char boot[17];

    // Faults. 0 = none; counted from 1.
    long fail_call;       // this port call fails ...
    bool fail_after;      // ... after it had its effect (else instead of it)
    long power_write;     // power is lost at this write ...
    bool power_after;     // ... after its effect
    long lose_set;        // this value_set says OK and stores nothing
    bool spoil_write;     // the next image write clears a bit too many
    bool stuck_random;    // random gives the same byte for ever
    bool stuck_flash;     // one bit of flash cannot be cleared
    int publish_failures; // this many publish calls fail
    uint32_t self_test;   // bits as in HelloReply
    int spoil_burns;      // this many key blocks take their bits badly

    // What happened.
    long calls, writes, sets;
    bool dead;
    int key_sets, key_delays, reboots, publishes, alives, closes, burns, key_burns, dsigs, trials_good, trials_bad;
    bool encrypted_opened_in_plain; // the encrypted area was used without flash encryption
    char endpoint[256], client_id[64], topic[128], payload[512], log[4096];

    // Console: what the agent reads, and what it wrote.
    uint8_t in[FAKE_CONSOLE], out[FAKE_CONSOLE];
    size_t in_len, in_at, out_len;
    int idle_polls; // empty reads before the console is gone; 0 = never gone
} fake_port;

// What the digital-signature peripheral opens: the parameters of an RSA key, written apart from the agent's code.
enum { FAKE_DSIG_BITS = 3072, FAKE_DSIG_LEN = 4 + 16 + 3 * FAKE_DSIG_BITS / 8 + 48 };
typedef struct fake_dsig {
    uint8_t p[FAKE_DSIG_LEN - 20]; // Y M Rb MD M' L padding
} fake_dsig;
bool fake_dsig_open(const uint8_t *data, size_t data_len, const uint8_t key[32], fake_dsig *ret);

// An ESP32-C3 out of the box, running the mfg agent.
void fake_init(fake_port *f, uint64_t seed);
// Power returns: RAM is lost, what was stored stays. role: DS_AGENT_MFG or DS_AGENT_APP.
void fake_power_on(fake_port *f, int role);
const fake_value *fake_find(const fake_port *f, enum ds_area area, const char *name_space, const char *key);
// Do these bytes occur in what the device sent or logged?
bool fake_leaks(const fake_port *f, const void *secret, size_t len);
bool fake_contains(const void *hay, size_t hay_len, const void *needle, size_t len);

#endif
