// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The device's 32-bit status words (proto/stamp.proto: module << 24 | code << 16 | line) in words, and what to do next.
#include "src/link/agent_client.h"

#include <stdio.h>

static const char *const modules[] = {
    [DEVSTAMP__STATUS_MODULE__MODULE_NONE] = "device",
    [DEVSTAMP__STATUS_MODULE__MODULE_AGENT] = "agent",
    [DEVSTAMP__STATUS_MODULE__MODULE_FRAME] = "frame",
    [DEVSTAMP__STATUS_MODULE__MODULE_KEY] = "key",
    [DEVSTAMP__STATUS_MODULE__MODULE_CSR] = "CSR",
    [DEVSTAMP__STATUS_MODULE__MODULE_CHAIN] = "certificate chain",
    [DEVSTAMP__STATUS_MODULE__MODULE_VALUE] = "stamp value",
    [DEVSTAMP__STATUS_MODULE__MODULE_IMAGE] = "image",
    [DEVSTAMP__STATUS_MODULE__MODULE_MIGRATE] = "first boot",
    [DEVSTAMP__STATUS_MODULE__MODULE_PORT] = "platform",
    [DEVSTAMP__STATUS_MODULE__MODULE_ENDPOINT] = "endpoint",
    [DEVSTAMP__STATUS_MODULE__MODULE_OWNER] = "owner",
};

static const struct {
    const char *text, *hint;
} codes[] = {
    [DEVSTAMP__STATUS_CODE__CODE_OK] = {"success", NULL},
    [DEVSTAMP__STATUS_CODE__CODE_BAD_REQUEST] =
        {"bad request", "the firmware may be of another version than this devstamp: compare them"},
    [DEVSTAMP__STATUS_CODE__CODE_NOT_ALLOWED] = {"not allowed in this firmware or stage",
                                                 "ask the device for its stage: the step may be done already"},
    [DEVSTAMP__STATUS_CODE__CODE_NOT_FOUND] = {"not found", "check that the recipe names what the device's image has"},
    [DEVSTAMP__STATUS_CODE__CODE_EXISTS] =
        {"exists already and must not be replaced",
         "the device has an identity: look it up in the ledger, do not force a new one"},
    [DEVSTAMP__STATUS_CODE__CODE_MISMATCH] =
        {"does not match", "the certificate or digest is another device's or was damaged: run again"},
    [DEVSTAMP__STATUS_CODE__CODE_NO_SPACE] = {"no space left",
                                              "make the partition larger in the recipe's partition table"},
    [DEVSTAMP__STATUS_CODE__CODE_FLASH] =
        {"flash failed", "run again; if it stays so, the flash chip or its supply is bad: set the device aside"},
    [DEVSTAMP__STATUS_CODE__CODE_CRYPTO] = {"cryptography failed", "run again; if it stays so, set the device aside"},
    [DEVSTAMP__STATUS_CODE__CODE_RANDOM] = {"the entropy source failed its check",
                                            "set the device aside: it cannot make a key that is secret"},
    [DEVSTAMP__STATUS_CODE__CODE_BAD_SIGNATURE] = {"bad signature",
                                                   "sign the image with the key whose digest the device trusts"},
    [DEVSTAMP__STATUS_CODE__CODE_BAD_IMAGE] = {"bad image", "check that the image is whole and for this chip"},
    [DEVSTAMP__STATUS_CODE__CODE_UNSUPPORTED] = {"unsupported", "flash a firmware that can do this"},
    [DEVSTAMP__STATUS_CODE__CODE_NETWORK] = {"network failed", "check that the device reaches the endpoint"},
    [DEVSTAMP__STATUS_CODE__CODE_INTERNAL] = {"internal error", "report the status word with the firmware's version"},
};

// Where the module makes another hint of it: the chip's key blocks (key_protection and nvs_keys of the recipe).
static const struct {
    uint32_t module, code;
    const char *hint;
} special[] = {
    {DEVSTAMP__STATUS_MODULE__MODULE_KEY, DEVSTAMP__STATUS_CODE__CODE_NO_SPACE,
     "the chip has no free key block for what the recipe asks (key_protection, nvs_keys): set the device aside"},
    {DEVSTAMP__STATUS_MODULE__MODULE_KEY, DEVSTAMP__STATUS_CODE__CODE_NOT_ALLOWED,
     "a secure bootloader has run on the chip, and no key can be hidden in it any more: set the device aside"},
    {DEVSTAMP__STATUS_MODULE__MODULE_KEY, DEVSTAMP__STATUS_CODE__CODE_UNSUPPORTED,
     "the chip cannot do what the recipe asks (key, key_protection, nvs_keys), or its firmware cannot"},
};

enum { MODULES = sizeof modules / sizeof *modules, CODES = sizeof codes / sizeof *codes };

void ds_status_text(uint32_t status, char *ret, size_t cap)
{
    uint32_t module = status >> 24, code = status >> 16 & 0xFF;
    if (status == 0)
        snprintf(ret, cap, "success");
    else if (module < MODULES && code < CODES)
        snprintf(ret, cap, "%s: %s (0x%08x)", modules[module], codes[code].text, status);
    else
        snprintf(ret, cap, "a status unknown here (0x%08x)", status);
}

const char *ds_status_hint(uint32_t status)
{
    uint32_t module = status >> 24, code = status >> 16 & 0xFF;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (special[i].module == module && special[i].code == code)
            return special[i].hint;
    return code < CODES ? codes[code].hint : NULL;
}
