// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The eFuses of the ESP32 as tables: blocks and fields. Source: ESP-IDF components/efuse/esp32/esp_efuse_table.csv;
// esptool espefuse/efuse_defs/esp32.yaml (v5.2).
#include "src/esp/efuse_table.h"

const ds_efuse_block ds_efuse_esp32_blocks[] = {
    // name, words, read, write, write protection bit, read protection bit, RS-coded
    {"BLOCK0", 7, 0x000, 0x01C, -1, -1, false},
    {"BLOCK1", 8, 0x038, 0x098, 7, 0, false},
    {"BLOCK2", 8, 0x058, 0x0B8, 8, 1, false},
    {"BLOCK3", 8, 0x078, 0x0D8, 9, 2, false},
};

const ds_efuse_field ds_efuse_esp32_fields[] = {
    // name, block, first bit, bits, write protection bit, read protection bit
    {"WR_DIS", 0, 0, 16, 1, -1},
    {"RD_DIS", 0, 16, 4, 0, -1},
    {"FLASH_CRYPT_CNT", 0, 20, 7, 2, -1},
    {"UART_DOWNLOAD_DIS", 0, 27, 1, 2, -1},
    {"MAC", 0, 32, 48, 3, -1},
    {"MAC_CRC", 0, 80, 8, 3, -1},
    {"DISABLE_APP_CPU", 0, 96, 1, 3, -1},
    {"DISABLE_BT", 0, 97, 1, 3, -1},
    {"CHIP_PACKAGE_4BIT", 0, 98, 1, -1, -1},
    {"DIS_CACHE", 0, 99, 1, 3, -1},
    {"SPI_PAD_CONFIG_HD", 0, 100, 5, -1, -1},
    {"CHIP_PACKAGE", 0, 105, 3, -1, -1},
    {"CHIP_CPU_FREQ_LOW", 0, 108, 1, -1, -1},
    {"CHIP_CPU_FREQ_RATED", 0, 109, 1, -1, -1},
    {"BLK3_PART_RESERVE", 0, 110, 1, 10, 3},
    {"CHIP_VER_REV1", 0, 111, 1, -1, -1},
    {"CLK8M_FREQ", 0, 128, 8, 4, -1},
    {"ADC_VREF", 0, 136, 5, 4, -1},
    {"XPD_SDIO_REG", 0, 142, 1, 5, -1},
    {"XPD_SDIO_TIEH", 0, 143, 1, 5, -1},
    {"XPD_SDIO_FORCE", 0, 144, 1, 5, -1},
    {"SPI_PAD_CONFIG_CLK", 0, 160, 5, 6, -1},
    {"SPI_PAD_CONFIG_Q", 0, 165, 5, 6, -1},
    {"SPI_PAD_CONFIG_D", 0, 170, 5, 6, -1},
    {"SPI_PAD_CONFIG_CS0", 0, 175, 5, 6, -1},
    {"CHIP_VER_REV2", 0, 180, 1, -1, -1},
    {"VOL_LEVEL_HP_INV", 0, 182, 2, 3, -1},
    {"WAFER_VERSION_MINOR", 0, 184, 2, -1, -1},
    {"FLASH_CRYPT_CONFIG", 0, 188, 4, 10, 3},
    {"CODING_SCHEME", 0, 192, 2, 10, 3},
    {"CONSOLE_DEBUG_DISABLE", 0, 194, 1, 15, -1},
    {"DISABLE_SDIO_HOST", 0, 195, 1, -1, -1},
    {"ABS_DONE_0", 0, 196, 1, 12, -1},
    {"ABS_DONE_1", 0, 197, 1, 13, -1},
    {"JTAG_DISABLE", 0, 198, 1, 14, -1},
    {"DISABLE_DL_ENCRYPT", 0, 199, 1, 15, -1},
    {"DISABLE_DL_DECRYPT", 0, 200, 1, 15, -1},
    {"DISABLE_DL_CACHE", 0, 201, 1, 15, -1},
    {"KEY_STATUS", 0, 202, 1, 10, 3},
    {"BLOCK1", 1, 0, 256, 7, 0},
    {"BLOCK2", 2, 0, 256, 8, 1},
    {"CUSTOM_MAC_CRC", 3, 0, 8, 9, 2},
    {"CUSTOM_MAC", 3, 8, 48, 9, 2},
    {"ADC1_TP_LOW", 3, 96, 7, 9, 2},
    {"ADC1_TP_HIGH", 3, 103, 9, 9, 2},
    {"ADC2_TP_LOW", 3, 112, 7, 9, 2},
    {"ADC2_TP_HIGH", 3, 119, 9, 9, 2},
    {"SECURE_VERSION", 3, 128, 32, 9, 2},
    {"MAC_VERSION", 3, 184, 8, 9, 2},
};

const unsigned ds_efuse_esp32_block_count = sizeof ds_efuse_esp32_blocks / sizeof *ds_efuse_esp32_blocks;
const unsigned ds_efuse_esp32_field_count = sizeof ds_efuse_esp32_fields / sizeof *ds_efuse_esp32_fields;
