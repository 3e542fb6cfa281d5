// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The ROM's normal boot: its log, loading the bootloader, and Secure Boot V2's check of it. The words are those of the
// mask ROMs of ESP32 (Jul 29 2019) and ESP32-C3 (api1-20210207).
#include "sim/boot.h"

#include <string.h>

static void banner_esp32(ds_sim_stage *b, bool watchdog)
{
    const char *cause = b->c->reset == DS_SIM_RESET_SW ? "0xc (SW_CPU_RESET)" : "0x1 (POWERON_RESET)";
    ds_sim_print(b->c, "ets Jul 29 2019 12:21:46\n\nrst:%s,boot:0x13 (SPI_FAST_FLASH_BOOT)\n",
                 watchdog ? "0x10 (RTCWDT_RTC_RESET)" : cause);
    ds_sim_print(b->c, "configsip: 0, SPIWP:0xee\n"
                       "clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00\n");
}

static void banner_c3(ds_sim_stage *b, bool watchdog)
{
    const char *cause = b->c->reset == DS_SIM_RESET_SW ? "0x3 (RTC_SW_SYS_RST)" : "0x1 (POWERON)";
    ds_sim_print(b->c,
                 "ESP-ROM:esp32c3-api1-20210207\nBuild:Feb  7 2021\nrst:%s,boot:0x8 (SPI_FAST_FLASH_BOOT)\n"
                 "SPIWP:0xee\n",
                 watchdog ? "0x7 (TG0WDT_SYS_RST)" : cause);
}

static bool is_esp32(const ds_sim_stage *b)
{
    return b->c->chip->id == DS_CHIP_ESP32;
}

// The word where an image's header should be; anything but its magic byte is refused.
static bool header_ok(ds_sim_stage *b)
{
    uint8_t word[4] = {0};
    uint32_t addr = b->c->chip->bootloader_offset;
    if (ds_sim_cache_read(b->c, addr, word, sizeof word) && word[0] == 0xE9)
        return true;
    ds_sim_print(b->c, "invalid header: 0x%08x\n", ds_le32(word));
    return false;
}

static void print_refusal(ds_sim_stage *b)
{
    ds_sim_print(b->c, "secure boot verification failed\nets_main.c 333\n");
}

static void print_key_blocks(ds_sim_stage *b)
{
    if (is_esp32(b)) {
        ds_sim_print(b->c, "secure boot v2 enabled\n");
        return;
    }
    ds_sim_print(b->c, "Valid secure boot key blocks:");
    for (unsigned i = 0; i < b->security.digest_count; i++)
        ds_sim_print(b->c, " %u", i);
    ds_sim_print(b->c, "\n");
}

static bool secure_boot_ok(ds_sim_stage *b, const ds_sim_loaded *boot)
{
    ds_sim_digests trusted;
    ds_sim_boot_trusted(b, &trusted);
    print_key_blocks(b);
    // Without any digest the ROM trusts nobody.
    enum ds_sbv2_verdict v = trusted.count ? ds_sim_boot_verify(b, boot, &trusted, NULL) : DS_SBV2_UNTRUSTED_KEY;
    switch (v) {
    case DS_SBV2_OK:
        ds_sim_print(b->c, "secure boot verification succeeded\n");
        return true;
    case DS_SBV2_DIGEST_MISMATCH:
        ds_sim_print(b->c, "SHA-256 simple hash comparison failed.\n");
        break;
    case DS_SBV2_UNTRUSTED_KEY:
        ds_sim_print(b->c, "Sig block 0 signed with untrusted key\n");
        break;
    case DS_SBV2_BAD_SIGNATURE:
        ds_sim_print(b->c, "Sig block 0 invalid: signature verification failed\n");
        break;
    case DS_SBV2_UNSIGNED:
        ds_sim_print(b->c, "No valid signature blocks found\n");
        break;
    }
    print_refusal(b);
    return false;
}

static void print_segments(ds_sim_stage *b, const ds_image_info *info)
{
    for (unsigned i = 0; i < info->segment_count; i++)
        if (info->segments[i].load_addr)
            ds_sim_print(b->c, is_esp32(b) ? "load:0x%08x,len:%zu\n" : "load:0x%08x,len:0x%zx\n",
                         info->segments[i].load_addr, info->segments[i].data.len);
    ds_sim_print(b->c, "entry 0x%08x\n", info->entry);
}

// Is there native code for what was loaded? The real ROM would jump into whatever it is.
static bool runnable(ds_sim_stage *b, const ds_image_info *info)
{
    if (info->chip_id == b->c->chip->id && ds_sim_image_boot_kind(info, &b->kind))
        return true;
    ds_sim_print(b->c, "virtual device: no native code for this bootloader (chip id %u, '%s')\n", info->chip_id,
                 info->boot.idf_version);
    return false;
}

// A changed image is seen by its signature first where secure boot is on, and by its checksum where it is not.
static bool print_damaged(ds_sim_stage *b)
{
    if (b->security.secure_boot) {
        print_key_blocks(b);
        ds_sim_print(b->c, "SHA-256 simple hash comparison failed.\n");
        print_refusal(b);
    } else {
        ds_sim_print(b->c, "csum err\nets_main.c 333\n");
    }
    return false;
}

bool ds_sim_boot_rom(ds_sim_stage *b, bool watchdog)
{
    if (is_esp32(b))
        banner_esp32(b, watchdog);
    else
        banner_c3(b, watchdog);
    if (!header_ok(b))
        return false;
    ds_sim_print(b->c, is_esp32(b) ? "mode:DIO, clock div:2\n" : "mode:DIO, clock div:1\n");
    ds_sim_loaded boot;
    if (ds_sim_boot_load(b, b->c->chip->bootloader_offset, UINT32_MAX, &boot, NULL))
        return print_damaged(b);
    bool ok = !b->security.secure_boot || secure_boot_ok(b, &boot);
    if (ok) {
        print_segments(b, &boot.info);
        ok = runnable(b, &boot.info);
    }
    ds_sim_loaded_free(&boot);
    return ok;
}
