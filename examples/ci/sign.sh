#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
#
# The keys are behind a PKCS#11 module: a key service, or a token. Signs the images, makes the bundle, signs it, verifies.
#
#   OUT           folder of build.sh's images, and of all that is made here
#   RECIPE        the recipe; it names the files of OUT (secure-bootloader.signed.bin, app.signed.bin, mfg.bin, ...)
#   RELEASE       release number: counts up
#   BOOT_KEY      URI of the Secure Boot key          RELEASE_KEY   URI of the release key: another one
#   MODULE        path of the PKCS#11 module          TOKEN         its options: "--no-pin --network", "--pin-file FILE"
#   RELEASE_PUB   public half of the release key, from your repository
set -eu
: "${OUT:?}" "${RECIPE:?}" "${RELEASE:?}" "${BOOT_KEY:?}" "${RELEASE_KEY:?}" "${MODULE:?}" "${RELEASE_PUB:?}"
for image in secure-bootloader app; do
    # shellcheck disable=SC2086 # words of options
    devstamp image sign --key "$BOOT_KEY" --module "$MODULE" ${TOKEN:-} "$OUT/$image.bin" -o "$OUT/$image.signed.bin"
done
devstamp bundle create --recipe "$RECIPE" --release "$RELEASE" -o "$OUT/release.bundle"
# shellcheck disable=SC2086
devstamp bundle sign --key "$RELEASE_KEY" --module "$MODULE" ${TOKEN:-} "$OUT/release.bundle"
devstamp bundle verify --release-key "$RELEASE_PUB" "$OUT/release.bundle"
devstamp bundle show "$OUT/release.bundle"
