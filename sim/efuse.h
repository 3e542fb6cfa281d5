// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Virtual eFuse controller in a file: one-way bits, read and write protection, Reed-Solomon-coded blocks written once.
//
// The file (mapped shared, owner only, for it holds keys) has two regions:
//   window  288 bytes (ESP32) or 512 (ESP32-C3): the registers as software reads them, read-protected words 0. Stored
//   as
//           espefuse --path-efuse-file keeps it: back to front (the word at offset 0 is the file's last, big-endian),
//           so that espefuse --virt shows the file of a stopped device.
//   fuses   what is really burned: "DSFUSE1" and a zero byte; u32 journal (0, or 1 + the block being burned), its row;
//           then a row of 11 words for each of 11 blocks: 8 data, 3 check bytes' words (coded blocks). All
//           little-endian.
// Fuses are the truth; the window is made from them. A burn passes the fault plan once, before it, and is whole or not
// at all: one cut off by a kill is finished from the journal at the next open. A file of the window alone (espefuse
// --virt made or wrote it) is taken over as burned; what it hides is lost.
#ifndef DS_SIM_EFUSE_H
#define DS_SIM_EFUSE_H

#include "sim/fault.h"
#include "src/base/buf.h"
#include "src/esp/efuse.h"

typedef struct ds_sim_efuse ds_sim_efuse;

// Open path; where it does not exist make a fresh chip's eFuses: this MAC, this revision (major*100+minor).
enum ds_class ds_sim_efuse_open(const char *path, const ds_chip *chip, const uint8_t mac[6], uint16_t revision,
                                ds_sim_fault *fault, ds_sim_efuse **ret, ds_err *e) DS_MUST;
void ds_sim_efuse_close(ds_sim_efuse *f);

// What software sees: read-protected words are 0.
void ds_sim_efuse_read(const ds_sim_efuse *f, ds_efuse_words *ret);
// What the hardware sees (flash encryption engine, HMAC): protected words too.
void ds_sim_efuse_read_hw(const ds_sim_efuse *f, ds_efuse_words *ret);

// Burn bits of one block (OR; bits of bits->w[block]). False, and nothing burned, where the block (or, BLOCK0, every
// field touched) is write-protected, or an RS-coded block already holds something else. Bits burned before are no
// change.
bool ds_sim_efuse_burn(ds_sim_efuse *f, unsigned block, const ds_efuse_words *bits);

// The register window, for READ_REG/WRITE_REG; off from the chip's eFuse base, a multiple of 4. Programming through
// PGM/CONF/CMD registers works as on the chip: protected bits stay, read registers change at the next read command, and
// a coded block burned with wrong check bytes, or twice with different data, reads with errors (RD_RS_ERR) ever after.
uint32_t ds_sim_efuse_reg_read(ds_sim_efuse *f, uint32_t off);
void ds_sim_efuse_reg_write(ds_sim_efuse *f, uint32_t off, uint32_t value);

#endif
