// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The ledger's tables. Constraints and triggers say a second time what the code promises, so that a defect of ours, or
// a hand with a database tool, cannot take a state back, give a device two live certificates, or remove a row unseen.
#include "src/ledger/internal.h"

#define DEVICE                                                                                          \
    "CREATE TABLE device("                                                                              \
    "id INTEGER PRIMARY KEY,"                                                                           \
    "chip INTEGER NOT NULL CHECK(chip BETWEEN 0 AND 65535),"                                            \
    "mac BLOB NOT NULL CHECK(length(mac) = 6),"                                                         \
    "product TEXT NOT NULL,"                                                                            \
    "serial TEXT UNIQUE CHECK(serial <> ''),"                                                           \
    "pop TEXT CHECK(pop <> ''),"                                                                        \
    "stage TEXT NOT NULL DEFAULT '',"                                                                   \
    "locked INTEGER NOT NULL DEFAULT 0 CHECK(locked IN (0, 1)),"                                        \
    "first_seen INTEGER NOT NULL,"                                                                      \
    "last_seen INTEGER NOT NULL,"                                                                       \
    "UNIQUE(chip, mac)) STRICT;"                                                                        \
    "CREATE TABLE counter(product TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;"      \
    "CREATE TRIGGER device_fixed BEFORE UPDATE ON device WHEN NEW.id <> OLD.id OR NEW.chip <> OLD.chip" \
    " OR NEW.mac <> OLD.mac OR (OLD.serial IS NOT NULL AND NEW.serial IS NOT OLD.serial)"               \
    " OR (OLD.pop IS NOT NULL AND NEW.pop IS NOT OLD.pop) OR NEW.locked < OLD.locked"                   \
    " BEGIN SELECT RAISE(ABORT, 'a device keeps its identity, serial number, secret and lock'); END;"   \
    "CREATE TRIGGER device_kept BEFORE DELETE ON device"                                                \
    " BEGIN SELECT RAISE(ABORT, 'a device is never removed'); END;"

#define CERTIFICATE                                                                                  \
    "CREATE TABLE certificate("                                                                      \
    "id INTEGER PRIMARY KEY,"                                                                        \
    "device INTEGER NOT NULL REFERENCES device(id),"                                                 \
    "state INTEGER NOT NULL CHECK(state BETWEEN 1 AND 4),"                                           \
    "serial BLOB NOT NULL UNIQUE CHECK(length(serial) = 16),"                                        \
    "key_digest BLOB NOT NULL UNIQUE CHECK(length(key_digest) = 32),"                                \
    "csr BLOB NOT NULL,"                                                                             \
    "subject TEXT NOT NULL,"                                                                         \
    "not_before INTEGER NOT NULL,"                                                                   \
    "not_after INTEGER NOT NULL,"                                                                    \
    "der BLOB,"                                                                                      \
    "fingerprint BLOB UNIQUE CHECK(length(fingerprint) = 32),"                                       \
    "reserved_at INTEGER NOT NULL,"                                                                  \
    "signed_at INTEGER,"                                                                             \
    "installed_at INTEGER,"                                                                          \
    "registered_at INTEGER,"                                                                         \
    "revoked_at INTEGER,"                                                                            \
    "CHECK((state >= 2) = (der IS NOT NULL AND fingerprint IS NOT NULL AND signed_at IS NOT NULL))," \
    "CHECK((state >= 3) = (installed_at IS NOT NULL)),"                                              \
    "CHECK((state >= 4) = (registered_at IS NOT NULL))) STRICT;"                                     \
    "CREATE UNIQUE INDEX certificate_one_live ON certificate(device) WHERE revoked_at IS NULL;"      \
    "CREATE INDEX certificate_device ON certificate(device);"                                        \
    "CREATE TRIGGER certificate_forward BEFORE UPDATE ON certificate WHEN NEW.id <> OLD.id"          \
    " OR NEW.device <> OLD.device OR NEW.state < OLD.state OR NEW.serial <> OLD.serial"              \
    " OR NEW.key_digest <> OLD.key_digest OR ((NEW.state > 1 OR OLD.revoked_at IS NOT NULL)"         \
    " AND (NEW.csr <> OLD.csr OR NEW.subject <> OLD.subject"                                         \
    " OR NEW.not_before <> OLD.not_before OR NEW.not_after <> OLD.not_after))"                       \
    " OR (OLD.der IS NOT NULL AND NEW.der IS NOT OLD.der)"                                           \
    " OR (OLD.fingerprint IS NOT NULL AND NEW.fingerprint IS NOT OLD.fingerprint)"                   \
    " OR (OLD.registered_at IS NOT NULL AND NEW.registered_at IS NOT OLD.registered_at)"             \
    " OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS NOT OLD.revoked_at)"                      \
    " BEGIN SELECT RAISE(ABORT, 'a certificate only goes forward'); END;"                            \
    "CREATE TRIGGER certificate_kept BEFORE DELETE ON certificate"                                   \
    " BEGIN SELECT RAISE(ABORT, 'a certificate is never removed'); END;"

#define EVENT                                                       \
    "CREATE TABLE event("                                           \
    "id INTEGER PRIMARY KEY,"                                       \
    "at INTEGER NOT NULL,"                                          \
    "device INTEGER REFERENCES device(id),"                         \
    "kind TEXT NOT NULL,"                                           \
    "text TEXT NOT NULL,"                                           \
    "hash BLOB NOT NULL UNIQUE CHECK(length(hash) = 32)) STRICT;"   \
    "CREATE INDEX event_device ON event(device);"                   \
    "CREATE TABLE chain("                                           \
    "one INTEGER PRIMARY KEY CHECK(one = 1),"                       \
    "count INTEGER NOT NULL,"                                       \
    "head BLOB NOT NULL CHECK(length(head) = 32)) STRICT;"          \
    "INSERT INTO chain VALUES(1, 0, zeroblob(32));"                 \
    "CREATE TRIGGER event_fixed BEFORE UPDATE ON event"             \
    " BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END;" \
    "CREATE TRIGGER event_kept BEFORE DELETE ON event"              \
    " BEGIN SELECT RAISE(ABORT, 'an event is never removed'); END;" \
    "CREATE TABLE proof("                                           \
    "id INTEGER PRIMARY KEY,"                                       \
    "device INTEGER NOT NULL REFERENCES device(id),"                \
    "at INTEGER NOT NULL,"                                          \
    "whole INTEGER NOT NULL CHECK(whole IN (0, 1)),"                \
    "json TEXT NOT NULL) STRICT;"                                   \
    "CREATE INDEX proof_device ON proof(device);"                   \
    "CREATE TRIGGER proof_fixed BEFORE UPDATE ON proof"             \
    " BEGIN SELECT RAISE(ABORT, 'a proof is never changed'); END;"  \
    "CREATE TRIGGER proof_kept BEFORE DELETE ON proof"              \
    " BEGIN SELECT RAISE(ABORT, 'a proof is never removed'); END;"

const ds_sql_schema ds_ledger_schema = {
    .what = "ledger",
    .application_id = 0x64734c47, // "dsLG"
    .version = 1,
    .script = DEVICE CERTIFICATE EVENT,
};
