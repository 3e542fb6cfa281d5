#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
#
# In ESP-IDF's container: builds your app with its secure bootloader, and the mfg firmware; what a recipe names goes to OUT,
# unsigned. No key is near.
#
#   APP       folder of your ESP-IDF project          PROJECT   its name (build/PROJECT.bin)
#   DEVSTAMP  folder of devstamp's source tree        CHIP      esp32, esp32c3
#   OUT       where the images go
set -eu
: "${APP:?}" "${PROJECT:?}" "${DEVSTAMP:?}" "${CHIP:?}" "${OUT:?}"
mkdir -p "$OUT"
for project in "$APP" "$DEVSTAMP/firmware/mfg"; do
    idf.py -C "$project" set-target "$CHIP"
    idf.py -C "$project" build
done
cp "$APP/build/bootloader/bootloader.bin" "$OUT/secure-bootloader.bin"
cp "$APP/build/$PROJECT.bin" "$OUT/app.bin"
cp "$APP/build/partition_table/partition-table.bin" "$OUT/partitions.bin"
cp "$DEVSTAMP/firmware/mfg/build/bootloader/bootloader.bin" "$OUT/bootloader.bin"
cp "$DEVSTAMP/firmware/mfg/build/devstamp_mfg.bin" "$OUT/mfg.bin"
