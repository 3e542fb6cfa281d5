// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Randomness for keys, without radio. The chip's generator is fed by noise only while a source is on: Wi-Fi or
// Bluetooth, or the SAR ADC that ESP-IDF's own bootloader uses for the keys it makes (bootloader_random_enable(): the
// noise of an internal reference voltage; ESP-IDF, "Random Number Generation"). The mfg firmware has no radio, so it
// holds the ADC source for all of its life; nothing else in it uses ADC, I2S or radio, which that source would disturb.
// The app holds it only until devstamp_app_start() has made what it makes.
//
// The ADC adds less than a radio does. ESP-IDF's bootloader counts one bit in 40 cycles of the 80 MHz bus, 16 us for 32
// bits, and waits twice that; esp_random() alone is paced for a radio. So while the source is held a word is collected
// for WORD_US. On top of this the agent watches every draw (core/rng.c: NIST SP 800-90B repetition count test).
#include "agent/port/esp-idf/esp_port.h"

#include "bootloader_random.h"
#include "esp_random.h"
#include "esp_timer.h"

#include <mbedtls/platform_util.h>

#include <string.h>

enum { WORD_US = 32 };

static bool held;

void ds_esp_entropy_begin(void)
{
    if (!held)
        bootloader_random_enable();
    held = true;
}

void ds_esp_entropy_end(void)
{
    if (held)
        bootloader_random_disable();
    held = false;
}

static uint32_t draw_word(void)
{
    int64_t start = esp_timer_get_time();
    uint32_t word = esp_random();
    while (held && esp_timer_get_time() - start < WORD_US)
        word ^= esp_random();
    return word;
}

int ds_esp_random(void *ctx, unsigned char *buf, size_t len)
{
    (void)ctx;
    uint32_t word = 0;
    while (len > 0) {
        size_t piece = len < sizeof word ? len : sizeof word;
        word = draw_word();
        memcpy(buf, &word, piece);
        buf += piece;
        len -= piece;
    }
    mbedtls_platform_zeroize(&word, sizeof word);
    return 0;
}
