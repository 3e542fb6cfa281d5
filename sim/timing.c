// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Timing; see timing.h. Figures: W25Q datasheet (flash), esp-idf#12576 (encryption in place), measured ESP32 key
// generation.
#include "sim/timing.h"

#include "proto/stamp.pb-c.h"
#include "sim/fault.h"

#include <errno.h>
#include <time.h>

#define SLEEP_FROM_US 4000u // shorter sleeps cost more than they are long

void ds_sim_timing_default(ds_sim_timing *t, uint64_t seed)
{
    *t = (ds_sim_timing){
        .on = true,
        .baud = 115200,
        .word_ns = 11000,
        .sector_us = 45000,
        .block_us = 150000,
        .encrypt_sector_us = 78000,
        .rsa2048_ms_min = 7000,
        .rsa2048_ms_max = 12000,
        .ecdsa_ms = 100,
        .rng = seed,
    };
}

static uint64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

// A sleep that was too long counts against the next ones only down to zero.
void ds_sim_timing_spend_us(ds_sim_timing *t, uint64_t us)
{
    if (!t->on)
        return;
    t->debt_us += us;
    if (t->debt_us < SLEEP_FROM_US)
        return;
    uint64_t start = now_us();
    struct timespec ts = {(time_t)(t->debt_us / 1000000u), (long)(t->debt_us % 1000000u) * 1000};
    while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
        ;
    uint64_t slept = now_us() - start;
    t->debt_us = slept >= t->debt_us ? 0 : t->debt_us - slept;
}

void ds_sim_timing_bytes(ds_sim_timing *t, uint64_t bytes)
{
    if (t->on && t->baud)
        ds_sim_timing_spend_us(t, (bytes * 10000000u + t->baud / 2) / t->baud);
}

// RSA key generation grows with about the fourth power of the length.
static uint64_t rsa_ms(ds_sim_timing *t, uint64_t bits)
{
    uint64_t span = t->rsa2048_ms_max > t->rsa2048_ms_min ? t->rsa2048_ms_max - t->rsa2048_ms_min : 0;
    uint64_t ms = t->rsa2048_ms_min + ds_sim_random(&t->rng) % (span + 1);
    uint64_t units = bits / 1024;
    return ms * units * units * units * units / 16;
}

void ds_sim_timing_key(ds_sim_timing *t, int key_type)
{
    uint64_t ms;
    if (!t->on)
        return;
    switch (key_type) {
    case DEVSTAMP__KEY_TYPE__KEY_RSA_2048:
        ms = rsa_ms(t, 2048);
        break;
    case DEVSTAMP__KEY_TYPE__KEY_RSA_3072:
        ms = rsa_ms(t, 3072);
        break;
    default:
        ms = t->ecdsa_ms;
        break;
    }
    ds_sim_timing_spend_us(t, ms * 1000);
}
