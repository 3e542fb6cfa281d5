// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// One slot's run: what is known of its device, and how steps reach it. Internal to src/station.
#ifndef DS_STATION_JOB_H
#define DS_STATION_JOB_H

#include "proto/stamp.pb-c.h"
#include "src/link/agent_client.h"
#include "src/link/rom.h"
#include "src/station/line.h"
#include "src/station/pool.h"

// HelloReply, copied within bounds.
typedef struct ds_hello {
    const ds_chip *chip;
    uint16_t revision;
    uint8_t mac[6];
    bool is_app;
    char project[33], version[33], app_version[33], serial[64], boot_partition[17];
    int stage;
    uint32_t self_test;
    int key_type;
    bool has_key, has_certificate;
    bool imports_keys, key_imported; // it can take a key; the one it holds may not have been made on it
    uint8_t key_digest[32], certificate_digest[32];
} ds_hello;

typedef struct ds_job {
    const ds_line_options *o;
    const ds_slot_config *slot;
    ds_slot_result *result;
    ds_reset reset;
    ds_transport *wire;
    ds_agent_client *agent;
    const ds_recipe *recipe; // NULL until the chip is known
    bool has_hello;
    ds_hello hello;
    ds_ledger_device device; // id 0 until known
    ds_ledger_cert cert;     // id 0 until reserved
    int64_t deadline_ms;     // of the current step
    // What the console said since the last reset, by the line.
    unsigned resets;          // that the console told of
    bool saw_refusal;         // the ROM or bootloader refuses what is in flash
    bool saw_encryption;      // in-place encryption is going on
    bool done[DS_STEP_COUNT]; // applied in this run, perhaps in an earlier walk
} ds_job;

// What the console said belongs to the past: before a reset that the station asks for, or to a wire that is closed.
static inline void ds_job_forget_console(ds_job *j)
{
    j->resets = 0;
    j->saw_refusal = j->saw_encryption = false;
}

// --- talk.c: messages to the agent
// One request within the step's deadline; the caller frees *ret with devstamp__response__free_unpacked(r, NULL).
enum ds_class ds_job_call(ds_job *j, Devstamp__Request *req, int try_ms, Devstamp__Response **ret, ds_err *e) DS_MUST;
// As above, where only success matters.
enum ds_class ds_job_do(ds_job *j, Devstamp__Request *req, int try_ms, ds_err *e) DS_MUST;
// Ask Hello within ms (and the step's deadline); fills j->hello.
enum ds_class ds_job_hello(ds_job *j, int64_t ms, ds_err *e) DS_MUST;
// Is it the device this run began with? (j->device is known)
bool ds_job_is_device(const ds_job *j, const ds_chip *chip, const uint8_t mac[6]);
// Send an image in verified chunks.
enum ds_class ds_job_send_image(ds_job *j, int target, ds_view data, const uint8_t sha256[32], ds_err *e) DS_MUST;

// --- reach.c: finding the device, whatever state it is in
// Reset and wait until a firmware answers Hello; while the console tells of encryption it waits on.
enum ds_class ds_job_restart(ds_job *j, ds_err *e) DS_MUST;
// Hello, or whatever it takes: reset, and from the ROM re-flash what a cut-off run left unbootable.
enum ds_class ds_job_reach(ds_job *j, ds_err *e) DS_MUST;
// Choose the recipe for a chip.
enum ds_class ds_job_choose_recipe(ds_job *j, const ds_chip *chip, ds_err *e) DS_MUST;
// Wait for Hello by the app, after a reboot, for as long as the first boot may take.
enum ds_class ds_job_await_app(ds_job *j, ds_err *e) DS_MUST;

// --- flashing.c: through the ROM
// Open the ROM's loader (resets into download mode); fast baud rate where the wire has one.
enum ds_class ds_job_rom(ds_job *j, int64_t ms, ds_rom **ret, ds_err *e) DS_MUST;
// Leave the ROM: close, console baud rate again.
void ds_job_leave_rom(ds_job *j, ds_rom *rom);
// Write what differs of the plain set (bootloader, table, otadata to mfg, mfg, app), each verified by digest.
enum ds_class ds_flash_plain(ds_job *j, ds_rom *rom, ds_err *e) DS_MUST;
// The signed set onto a device whose in-place encryption was cut off.
enum ds_class ds_flash_signed(ds_job *j, ds_rom *rom, ds_err *e) DS_MUST;

// --- line.c
// Tell the observer what the slot waits for; "" takes it back.
void ds_job_say(ds_job *j, const char *text);
// This slot works on this device; DS_POLICY where another slot does already. Given up when the slot's run ends.
enum ds_class ds_job_claim(ds_job *j, const ds_chip *chip, const uint8_t mac[6], ds_err *e) DS_MUST;

// --- steps.c, step_*.c
enum ds_ready { DS_READY, DS_ALREADY }; // must be applied / holds already
typedef struct ds_step {
    const char *name;
    int64_t deadline_ms;
    // May the step be taken, and must it? A failure says why it may not.
    enum ds_class (*precondition)(ds_job *j, enum ds_ready *ret, ds_err *e);
    enum ds_class (*apply)(ds_job *j, ds_err *e);
    // Is it so? Asked of the device or the ledger, after apply and after a skip.
    enum ds_class (*check)(ds_job *j, ds_err *e);
    bool locks; // of chips that lock themselves: not for a platform of one's own
} ds_step;
extern const ds_step ds_steps[DS_STEP_COUNT];

// The step's own time and what the amount of flash to move or encrypt adds.
int64_t ds_step_deadline(const ds_step *s, const ds_job *j);

// --- origin.c: keys that the device does not make
// Can the device be given the key of the recipe? DS_POLICY: not by its firmware.
enum ds_class ds_origin_possible(const ds_job *j, ds_err *e) DS_MUST;
// Is the key that the device holds one of the recipe's origin, by the device's word and the ledger's?
enum ds_class ds_origin_holds(const ds_job *j, bool *ret, ds_err *e) DS_MUST;
// Have a key made elsewhere and given to the device; replace: whatever key is there.
enum ds_class ds_origin_import(ds_job *j, bool replace, ds_err *e) DS_MUST;
// The device's stamp of the pool, claimed for it. ds_pool_stamp_free.
enum ds_class ds_origin_claim(const ds_job *j, ds_pool_stamp *ret, ds_err *e) DS_MUST;
// Take the certificate of its stamp into the ledger: j->cert.
enum ds_class ds_origin_adopt(ds_job *j, ds_err *e) DS_MUST;
// The device has all it needs of its stamp: what the pool keeps of it is erased.
enum ds_class ds_origin_spend(const ds_job *j, ds_err *e) DS_MUST;

enum ds_class ds_step_certificate_apply(ds_job *j, ds_err *e) DS_MUST; // step_certificate.c
enum ds_class ds_step_certificate_precondition(ds_job *j, enum ds_ready *ret, ds_err *e) DS_MUST;
enum ds_class ds_step_certificate_check(ds_job *j, ds_err *e) DS_MUST;
enum ds_class ds_step_csr_precondition(ds_job *j, enum ds_ready *ret, ds_err *e) DS_MUST;
enum ds_class ds_step_csr_apply(ds_job *j, ds_err *e) DS_MUST;
enum ds_class ds_step_csr_check(ds_job *j, ds_err *e) DS_MUST;
enum ds_class ds_step_stamp_precondition(ds_job *j, enum ds_ready *ret, ds_err *e) DS_MUST; // step_stamp.c
enum ds_class ds_step_stamp_apply(ds_job *j, ds_err *e) DS_MUST;
enum ds_class ds_step_stamp_check(ds_job *j, ds_err *e) DS_MUST;
enum ds_class ds_step_proof_precondition(ds_job *j, enum ds_ready *ret, ds_err *e) DS_MUST; // proof.c
enum ds_class ds_step_proof_apply(ds_job *j, ds_err *e) DS_MUST;
enum ds_class ds_step_proof_check(ds_job *j, ds_err *e) DS_MUST;

// An image that is whole but signed by a key made for this run and thrown away: the device must refuse it. Borrowed.
enum ds_class ds_proof_impostor(const ds_recipe *r, ds_view *ret, ds_err *e) DS_MUST; // impostor.c

#endif
