// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The eFuses of the ESP32-C3 as tables: blocks and fields. Source: ESP-IDF
// components/efuse/esp32c3/esp_efuse_table.csv; esptool espefuse/efuse_defs/esp32c3.yaml (v5.2).
#include "src/esp/efuse_table.h"

const ds_efuse_block ds_efuse_esp32c3_blocks[] = {
    // name, words, read, write, write protection bit, read protection bit, RS-coded
    {"BLOCK0", 6, 0x02C, 0, -1, -1, false},        {"MAC_SPI_8M_0", 6, 0x044, 0, 20, -1, true},
    {"BLOCK_SYS_DATA", 8, 0x05C, 0, 21, -1, true}, {"BLOCK_USR_DATA", 8, 0x07C, 0, 22, -1, true},
    {"BLOCK_KEY0", 8, 0x09C, 0, 23, 0, true},      {"BLOCK_KEY1", 8, 0x0BC, 0, 24, 1, true},
    {"BLOCK_KEY2", 8, 0x0DC, 0, 25, 2, true},      {"BLOCK_KEY3", 8, 0x0FC, 0, 26, 3, true},
    {"BLOCK_KEY4", 8, 0x11C, 0, 27, 4, true},      {"BLOCK_KEY5", 8, 0x13C, 0, 28, 5, true},
    {"BLOCK_SYS_DATA2", 8, 0x15C, 0, 29, 6, true},
};

const ds_efuse_field ds_efuse_esp32c3_fields[] = {
    // name, block, first bit, bits, write protection bit, read protection bit
    {"WR_DIS", 0, 0, 32, -1, -1},
    {"RD_DIS", 0, 32, 7, 0, -1},
    {"DIS_ICACHE", 0, 40, 1, 2, -1},
    {"DIS_USB_JTAG", 0, 41, 1, 2, -1},
    {"DIS_DOWNLOAD_ICACHE", 0, 42, 1, 2, -1},
    {"DIS_USB_SERIAL_JTAG", 0, 43, 1, 2, -1},
    {"DIS_FORCE_DOWNLOAD", 0, 44, 1, 2, -1},
    {"DIS_TWAI", 0, 46, 1, 2, -1},
    {"JTAG_SEL_ENABLE", 0, 47, 1, 2, -1},
    {"SOFT_DIS_JTAG", 0, 48, 3, 31, -1},
    {"DIS_PAD_JTAG", 0, 51, 1, 2, -1},
    {"DIS_DOWNLOAD_MANUAL_ENCRYPT", 0, 52, 1, 2, -1},
    {"USB_EXCHG_PINS", 0, 57, 1, 30, -1},
    {"VDD_SPI_AS_GPIO", 0, 58, 1, 30, -1},
    {"WDT_DELAY_SEL", 0, 80, 2, 3, -1},
    {"SPI_BOOT_CRYPT_CNT", 0, 82, 3, 4, -1},
    {"SECURE_BOOT_KEY_REVOKE0", 0, 85, 1, 5, -1},
    {"SECURE_BOOT_KEY_REVOKE1", 0, 86, 1, 6, -1},
    {"SECURE_BOOT_KEY_REVOKE2", 0, 87, 1, 7, -1},
    {"KEY_PURPOSE_0", 0, 88, 4, 8, -1},
    {"KEY_PURPOSE_1", 0, 92, 4, 9, -1},
    {"KEY_PURPOSE_2", 0, 96, 4, 10, -1},
    {"KEY_PURPOSE_3", 0, 100, 4, 11, -1},
    {"KEY_PURPOSE_4", 0, 104, 4, 12, -1},
    {"KEY_PURPOSE_5", 0, 108, 4, 13, -1},
    {"SECURE_BOOT_EN", 0, 116, 1, 15, -1},
    {"SECURE_BOOT_AGGRESSIVE_REVOKE", 0, 117, 1, 16, -1},
    {"FLASH_TPUW", 0, 124, 4, 18, -1},
    {"DIS_DOWNLOAD_MODE", 0, 128, 1, 18, -1},
    {"DIS_DIRECT_BOOT", 0, 129, 1, 18, -1},
    {"DIS_USB_SERIAL_JTAG_ROM_PRINT", 0, 130, 1, 18, -1},
    {"DIS_USB_SERIAL_JTAG_DOWNLOAD_MODE", 0, 132, 1, 18, -1},
    {"ENABLE_SECURITY_DOWNLOAD", 0, 133, 1, 18, -1},
    {"UART_PRINT_CONTROL", 0, 134, 2, 18, -1},
    {"FORCE_SEND_RESUME", 0, 141, 1, 18, -1},
    {"SECURE_VERSION", 0, 142, 16, 18, -1},
    {"ERR_RST_ENABLE", 0, 159, 1, 19, -1},
    {"DISABLE_WAFER_VERSION_MAJOR", 0, 160, 1, 19, -1},
    {"DISABLE_BLK_VERSION_MAJOR", 0, 161, 1, 19, -1},
    {"MAC", 1, 0, 48, 20, -1},
    {"WAFER_VERSION_MINOR_LO", 1, 114, 3, 20, -1},
    {"PKG_VERSION", 1, 117, 3, 20, -1},
    {"BLK_VERSION_MINOR", 1, 120, 3, 20, -1},
    {"FLASH_CAP", 1, 123, 3, 20, -1},
    {"FLASH_TEMP", 1, 126, 2, 20, -1},
    {"FLASH_VENDOR", 1, 128, 3, 20, -1},
    {"WAFER_VERSION_MINOR_HI", 1, 183, 1, 20, -1},
    {"WAFER_VERSION_MAJOR", 1, 184, 2, 20, -1},
    {"OPTIONAL_UNIQUE_ID", 2, 0, 128, 21, -1},
    {"BLK_VERSION_MAJOR", 2, 128, 2, 21, -1},
    {"BLOCK_USR_DATA", 3, 0, 192, 22, -1},
    {"CUSTOM_MAC", 3, 200, 48, 22, -1},
    {"BLOCK_KEY0", 4, 0, 256, 23, 0},
    {"BLOCK_KEY1", 5, 0, 256, 24, 1},
    {"BLOCK_KEY2", 6, 0, 256, 25, 2},
    {"BLOCK_KEY3", 7, 0, 256, 26, 3},
    {"BLOCK_KEY4", 8, 0, 256, 27, 4},
    {"BLOCK_KEY5", 9, 0, 256, 28, 5},
};

const unsigned ds_efuse_esp32c3_block_count = sizeof ds_efuse_esp32c3_blocks / sizeof *ds_efuse_esp32c3_blocks;
const unsigned ds_efuse_esp32c3_field_count = sizeof ds_efuse_esp32c3_fields / sizeof *ds_efuse_esp32c3_fields;
