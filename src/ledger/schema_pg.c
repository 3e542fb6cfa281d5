// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The ledger's tables in a database, for PostgreSQL and for engines that speak its protocol (docs/ledger.md): no
// sequences, no advisory locks, no extensions; ids come from the stations. Triggers are a second line of defence, where
// the engine has them; nothing relies on them.
#include "src/ledger/internal.h"
#include "src/ledger/lists.h"

static const char *const first[] = {
    ("CREATE TABLE IF NOT EXISTS chain("
     "station BIGINT PRIMARY KEY CHECK(station BETWEEN 1 AND 4095),"
     "name TEXT NOT NULL UNIQUE CHECK(name <> ''),"
     "count BIGINT NOT NULL,"
     "head BYTEA NOT NULL CHECK(length(head) = 32),"
     "last_id BIGINT NOT NULL)"),
    ("CREATE TABLE IF NOT EXISTS counter(product TEXT PRIMARY KEY, last BIGINT NOT NULL)"),
    ("CREATE TABLE IF NOT EXISTS counter_block("
     "product TEXT NOT NULL,"
     "station BIGINT NOT NULL,"
     "next BIGINT NOT NULL,"
     "last BIGINT NOT NULL,"
     "PRIMARY KEY(product, station))"),
    ("CREATE TABLE IF NOT EXISTS device("
     "id BIGINT PRIMARY KEY,"
     "chip BIGINT NOT NULL CHECK(chip BETWEEN 0 AND 65535),"
     "mac BYTEA NOT NULL CHECK(length(mac) = 6),"
     "product TEXT NOT NULL,"
     "serial TEXT UNIQUE CHECK(serial <> ''),"
     "pop TEXT CHECK(pop <> ''),"
     "stage TEXT NOT NULL DEFAULT '',"
     "locked BIGINT NOT NULL DEFAULT 0 CHECK(locked IN (0, 1)),"
     "first_seen BIGINT NOT NULL,"
     "last_seen BIGINT NOT NULL,"
     "UNIQUE(mac, chip))"),
    ("CREATE TABLE IF NOT EXISTS certificate("
     "id BIGINT PRIMARY KEY,"
     "device BIGINT NOT NULL REFERENCES device(id),"
     "state BIGINT NOT NULL CHECK(state BETWEEN 1 AND 4),"
     "serial BYTEA NOT NULL UNIQUE CHECK(length(serial) = 16),"
     "key_digest BYTEA NOT NULL UNIQUE CHECK(length(key_digest) = 32),"
     "csr BYTEA NOT NULL,"
     "subject TEXT NOT NULL,"
     "not_before BIGINT NOT NULL,"
     "not_after BIGINT NOT NULL,"
     "der BYTEA,"
     "fingerprint BYTEA UNIQUE CHECK(length(fingerprint) = 32),"
     "reserved_at BIGINT NOT NULL,"
     "signed_at BIGINT,"
     "installed_at BIGINT,"
     "registered_at BIGINT,"
     "revoked_at BIGINT,"
     "CHECK((state >= 2) = (der IS NOT NULL AND fingerprint IS NOT NULL AND signed_at IS NOT NULL)),"
     "CHECK((state >= 3) = (installed_at IS NOT NULL)),"
     "CHECK((state >= 4) = (registered_at IS NOT NULL)))"),
    ("CREATE UNIQUE INDEX IF NOT EXISTS certificate_one_live ON certificate(device) WHERE revoked_at IS NULL"),
    ("CREATE INDEX IF NOT EXISTS certificate_device ON certificate(device)"),
    ("CREATE TABLE IF NOT EXISTS event("
     "id BIGINT PRIMARY KEY,"
     "station BIGINT NOT NULL,"
     "at BIGINT NOT NULL,"
     "device BIGINT REFERENCES device(id),"
     "kind TEXT NOT NULL,"
     "text TEXT NOT NULL,"
     "hash BYTEA NOT NULL UNIQUE CHECK(length(hash) = 32))"),
    ("CREATE INDEX IF NOT EXISTS event_device ON event(device)"),
    ("CREATE INDEX IF NOT EXISTS event_station ON event(station, id)"),
    ("CREATE TABLE IF NOT EXISTS proof("
     "id BIGINT PRIMARY KEY,"
     "device BIGINT NOT NULL REFERENCES device(id),"
     "at BIGINT NOT NULL,"
     "whole BIGINT NOT NULL CHECK(whole IN (0, 1)),"
     "json TEXT NOT NULL)"),
    ("CREATE INDEX IF NOT EXISTS proof_device ON proof(device)"),
    DS_LEDGER_LIST_TABLES,
    NULL,
};

static const char *const *const steps[] = {first};

static const char *const tables[] = {"chain",       "counter", "counter_block", "device",
                                     "certificate", "event",   "proof",         NULL};

#define GUARD(name, table, when, condition, words)                                                              \
    "CREATE OR REPLACE FUNCTION devstamp_" name "() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF " condition \
    " THEN RAISE EXCEPTION '" words "'; END IF; RETURN NEW; END $$",                                            \
        "DROP TRIGGER IF EXISTS " name " ON " table,                                                            \
        "CREATE TRIGGER " name " BEFORE " when " ON " table " FOR EACH ROW EXECUTE FUNCTION devstamp_" name "()"

static const char *const guards[] = {
    GUARD("device_fixed", "device", "UPDATE",
          "NEW.id <> OLD.id OR NEW.chip <> OLD.chip OR NEW.mac <> OLD.mac OR (OLD.serial IS NOT NULL AND NEW.serial IS "
          "DISTINCT FROM OLD.serial) OR (OLD.pop IS NOT NULL AND NEW.pop IS DISTINCT FROM OLD.pop) OR NEW.locked < "
          "OLD.locked",
          "a device keeps its identity, serial number, secret and lock"),
    GUARD("device_kept", "device", "DELETE", "TRUE", "a device is never removed"),
    GUARD("certificate_forward", "certificate", "UPDATE",
          "NEW.id <> OLD.id OR NEW.device <> OLD.device OR NEW.state < OLD.state OR NEW.serial <> OLD.serial OR "
          "NEW.key_digest <> OLD.key_digest OR ((NEW.state > 1 OR OLD.revoked_at IS NOT NULL) AND (NEW.csr <> OLD.csr "
          "OR NEW.subject <> OLD.subject OR NEW.not_before <> OLD.not_before OR NEW.not_after <> OLD.not_after)) OR "
          "(OLD.der IS NOT NULL AND NEW.der IS DISTINCT FROM OLD.der) OR (OLD.fingerprint IS NOT NULL AND "
          "NEW.fingerprint IS DISTINCT FROM OLD.fingerprint) OR (OLD.registered_at IS NOT NULL AND NEW.registered_at "
          "IS DISTINCT FROM OLD.registered_at) OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM "
          "OLD.revoked_at)",
          "a certificate only goes forward"),
    GUARD("certificate_kept", "certificate", "DELETE", "TRUE", "a certificate is never removed"),
    GUARD("event_fixed", "event", "UPDATE", "TRUE", "an event is never changed"),
    GUARD("event_kept", "event", "DELETE", "TRUE", "an event is never removed"),
    GUARD("proof_fixed", "proof", "UPDATE", "TRUE", "a proof is never changed"),
    GUARD("proof_kept", "proof", "DELETE", "TRUE", "a proof is never removed"),
    NULL,
};

const ds_pg_schema ds_ledger_pg_schema = {
    .what = "ledger",
    .marker = "devstamp_ledger",
    .version = 1,
    .steps = steps,
    .tables = tables,
    .guards = guards,
};
