// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The way of a device: device, station, signer and ledger, each of which may lose power or be killed between any two
// messages or writes. Steps carry the names of src/station/steps.c, as labels step_<name>. Durable things are globals; what a crash forgets is
// local to a process or reset by it.
//
// "calm" turns true at some moment of its own choosing; before it anything may crash any number of times, after it nothing
// does. Checked: no certificate is lost, no device gets a second identity, nothing irreversible happens without its
// preconditions, and from every reachable state a rerun that is not disturbed finishes.
//
// cc: -DNFAIR=4 -DNOREDUCE
// check: -a -m200000 -N certificate_known
// check: -a -m200000 -N one_identity
// check: -a -m200000 -N burned_only_whole
// check: -a -m200000 -N secrets_before_lock
// check: -a -m200000 -N stamp_never_lost
// check: -a -m200000 -N plain_erased_last
// check: -a -m200000 -N anchored_between
// check: -a -f -m2000000 -N rerun_finishes

mtype = { HELLO, MAKEKEY, CSR, CHAIN, STAMP, BOOTLOADER, SELECT, REBOOT, REPORT, FLASH_PLAIN, FLASH_SIGNED };
mtype = { OK, LOST, REFUSED };                   // answers; LOST: no answer within the deadline
mtype = { NOTHING, MFG, APP };                   // what runs
mtype = { PLAIN, TORN, SECURE };                 // bootloader in flash
mtype = { NONE, RESERVED, SIGNED, INSTALLED };   // ledger

// --- device, durable
byte key = 0;            // which key; 0 = none
byte keys_made = 0;
byte cert = 0;           // certificate's serial number; 0 = none
byte cert_key = 0;       // the key it is for
bool stamped = false;
byte secrets = 0;        // key blocks of the HMAC and DS peripherals: 0 blank, 1 burned and readable, 2 hidden
mtype boot = PLAIN;
bool select_app = false;
bool sb_burned = false;  // key digest and SECURE_BOOT_EN
bool key_burned = false; // flash-encryption key
byte ciphertext = 0;     // in place: 0 none, 1 part, 2 all
bool count_burned = false;
byte moved = 0;          // stamp in encrypted NVS: 0 none, 1 part, 2 whole
bool anchor = false;     // certificate's digest in eFuse
bool plain_stamp = true; // the plain partition still holds what was written to it
mtype runs = MFG;

// --- ledger, durable
mtype ledger = NONE;
byte ledger_serial = 0;
byte ledger_key = 0;
byte serials_used = 0;

// --- signer's log, durable
byte log_serial = 0;
byte log_key = 0;
byte log_entries = 0;

bool calm = false;
bool done = false;

chan to_device = [0] of { mtype, byte };
chan from_device = [0] of { mtype, byte };
chan to_signer = [0] of { byte, byte };   // serial, key
chan from_signer = [0] of { mtype, byte };

// The power may go here: what follows in this run does not happen.
#define CUT(label) if :: !calm -> goto label :: skip fi

// --- the device

proctype device()
{
    mtype m;
    byte arg;
    mtype answer;
    byte value;

power_on:
    // Boot chain: ROM, bootloader; a first boot of the secure bootloader goes on where it was cut off.
    if
    :: boot == TORN -> runs = NOTHING
    :: boot == PLAIN && !sb_burned -> if :: select_app -> runs = APP :: else -> runs = MFG fi
    :: boot == PLAIN && sb_burned -> runs = NOTHING      // the ROM refuses an unsigned bootloader
    :: boot == SECURE && count_burned -> runs = APP
    :: boot == SECURE && !count_burned && ciphertext > 0 -> runs = NOTHING // ciphertext, and nothing decrypts
    :: boot == SECURE && !count_burned && ciphertext == 0 ->
        runs = NOTHING;
        CUT(power_on);
        sb_burned = true;
        CUT(power_on);
        key_burned = true;
        CUT(power_on);
        ciphertext = 1;
        CUT(power_on);
        ciphertext = 2;
        CUT(power_on);
        count_burned = true;
        goto power_on
    fi;

    // The app's own first act.
    if
    :: runs == APP && count_burned && plain_stamp ->
        CUT(power_on);
        if :: moved < 2 -> moved = 1; CUT(power_on); moved = 2 :: else -> skip fi;
        CUT(power_on);
        anchor = true;
        CUT(power_on);
        plain_stamp = false;
    :: else -> skip
    fi;

end_serve:
    do
    :: to_device ? m, arg ->
        answer = REFUSED;
        value = 0;
        if
        :: m == HELLO && runs != NOTHING -> answer = OK
        :: m == HELLO && runs == NOTHING -> answer = LOST
        :: m == MAKEKEY && runs == MFG ->
            if
            :: key == 0 ->
                CUT(lost);
                d_step { keys_made++; key = keys_made }
            :: else -> skip
            fi;
            answer = OK
        :: m == CSR && runs == MFG && key != 0 -> answer = OK; value = key
        :: m == CHAIN && runs == MFG ->
            if
            :: cert == 0 || cert == arg ->
                CUT(lost);
                d_step { cert = arg; cert_key = key };
                answer = OK
            :: else -> skip
            fi
        :: m == STAMP && runs == MFG && cert != 0 ->
            if
            :: secrets == 0 -> CUT(lost); secrets = 1
            :: else -> skip
            fi;
            if
            :: secrets == 1 ->
                CUT(lost);
                if
                :: !key_burned -> secrets = 2 // else RD_DIS is write-protected, and nothing can be hidden any more
                :: else -> from_device ! REFUSED, 0; goto end_serve
                fi
            :: else -> skip
            fi;
            CUT(lost);
            stamped = true;
            answer = OK
        :: m == BOOTLOADER && runs == MFG && stamped ->
            boot = TORN;
            CUT(lost);
            boot = SECURE;
            answer = OK
        :: m == SELECT && runs == MFG ->
            CUT(lost);
            select_app = true;
            answer = OK
        :: m == REBOOT && runs != NOTHING -> from_device ! OK, 0; goto power_on
        :: m == REPORT && runs == APP ->
            if :: count_burned && !plain_stamp && moved == 2 && anchor -> answer = OK :: else -> skip fi
        // The ROM's download mode: open until encryption is complete.
        :: m == FLASH_PLAIN && !sb_burned ->
            boot = TORN;
            CUT(lost);
            select_app = false;
            CUT(lost);
            boot = PLAIN;
            from_device ! OK, 0;
            goto power_on
        :: m == FLASH_SIGNED && sb_burned && !count_burned ->
            boot = TORN;
            ciphertext = 0;
            select_app = true;
            CUT(lost);
            boot = SECURE;
            from_device ! OK, 0;
            goto power_on
        :: else -> skip
        fi;
        // The answer, or the whole device, may be lost after the act.
        if
        :: from_device ! answer, value
        :: !calm -> goto lost
        fi
    od;

lost:
    from_device ! LOST, 0;
    goto power_on
}

// --- the signer: the certificate is in its log, on disk, before it is handed out

proctype signer()
{
    byte serial, k;

end_start:
    do
    :: to_signer ? serial, k ->
        if
        :: log_serial == serial && log_key == k -> skip // signed before: the same bytes again
        :: log_serial != 0 && (log_serial != serial || log_key != k) ->
            from_signer ! REFUSED, 0;
            goto end_start
        :: else ->
            CUT(killed); // C_Sign was done, the signature is forgotten with the process
            d_step { log_serial = serial; log_key = k; log_entries++ };
            CUT(killed)
        fi;
        from_signer ! OK, serial
    od;

killed:
    from_signer ! LOST, 0;
    goto end_start
}

// --- the station: a run; killed or failed, it is started again and asks the device what it has

#define KILLED if :: !calm -> goto step_connect :: skip fi
#define ASK(m, arg) KILLED; to_device ! m, arg; from_device ? answer, value; if :: answer != OK -> goto step_connect :: else -> skip fi; KILLED

proctype station()
{
    mtype answer;
    byte value;

step_connect:
    to_device ! HELLO, 0;
    from_device ? answer, value;
    if
    :: answer == OK -> skip
    :: else ->
        KILLED;
        if
        :: !sb_burned -> to_device ! FLASH_PLAIN, 0
        :: sb_burned && !count_burned -> to_device ! FLASH_SIGNED, 0
        :: sb_burned && count_burned -> to_device ! HELLO, 0 // an answer was lost: ask again
        fi;
        from_device ? answer, value;
        goto step_connect
    fi;
    if :: runs == APP -> goto step_proof :: else -> skip fi;

step_key:
    ASK(MAKEKEY, 0);

step_csr:
    ASK(CSR, 0);
    // reserve: one serial number for this key, whatever was asked before
    if
    :: ledger == NONE -> d_step { serials_used++; ledger_serial = serials_used; ledger_key = value; ledger = RESERVED }
    :: ledger != NONE && ledger_key == value -> skip
    :: ledger != NONE && ledger_key != value -> assert(false) // a second identity was shown
    fi;
    KILLED;

step_certificate:
    if
    :: ledger == RESERVED ->
        to_signer ! ledger_serial, ledger_key;
        from_signer ? answer, value;
        if :: answer != OK -> goto step_connect :: else -> skip fi;
        KILLED;
        ledger = SIGNED;
        KILLED
    :: else -> skip
    fi;
    ASK(CHAIN, ledger_serial);
    if :: ledger == SIGNED -> ledger = INSTALLED :: else -> skip fi;
    KILLED;

step_stamp:
    ASK(STAMP, 0);

step_bootloader:
    ASK(BOOTLOADER, 0);

step_select:
    ASK(SELECT, 0);

step_firstboot:
    ASK(REBOOT, 0);
    goto step_connect;

step_proof:
    ASK(REPORT, 0);
    done = true
}

// Disturbances stop at some moment.
proctype world()
{
    calm = true
}

init {
    atomic { run device(); run signer(); run station(); run world() }
}

// Whatever is on a device or in the signer's log is in the ledger, by its serial number and key.
ltl certificate_known { [] ((log_entries > 0 -> (ledger != NONE && log_serial == ledger_serial && log_key == ledger_key)) && (cert != 0 -> (cert == ledger_serial && cert == log_serial && (ledger == SIGNED || ledger == INSTALLED)))) }

// One key, one serial number, one log entry; and the certificate is for the device's own key.
ltl one_identity { [] (keys_made <= 1 && serials_used <= 1 && log_entries <= 1 && (cert != 0 -> cert_key == key)) }

// eFuses are burned only on a device whose identity is whole, here and in the ledger; the count only after all of flash.
ltl burned_only_whole { [] (((sb_burned || key_burned) -> (cert != 0 && stamped && ledger == INSTALLED)) && (key_burned -> sb_burned) && (count_burned -> (key_burned && (ciphertext == 2)))) }

// What the chip's peripherals are keyed with is burned for a certified identity only, and hidden before the flash key's
// burn ends all read protection.
ltl secrets_before_lock { [] ((secrets > 0 -> (cert != 0 && ledger == INSTALLED)) && ((stamped || key_burned) -> secrets == 2)) }

// The stamp is whole in at least one place from the moment it was complete.
ltl stamp_never_lost { [] (stamped -> (plain_stamp || moved == 2)) }

// The plain stamp goes only when the encrypted one is whole and encryption is on.
ltl plain_erased_last { [] (!plain_stamp -> (moved == 2 && count_burned)) }

// The anchor names only what is whole in encrypted NVS, and without it the plain stamp stays.
ltl anchored_between { [] ((anchor -> (moved == 2 && count_burned && cert != 0)) && (!plain_stamp -> anchor)) }

// From every reachable state, once nothing disturbs it any more, a rerun finishes.
ltl rerun_finishes { [] (calm -> <> done) }
