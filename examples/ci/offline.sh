#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
#
# The keys are on a machine apart: writes what it is to sign, and puts in what came back. Run it again each time something
# came back; it goes on from there. Ends with 0 and says "complete" when the bundle is signed.
#
#   OUT          folder of build.sh's images, and of all that is made here; orders are in OUT/orders
#   ANSWERS      folder of the signatures that came back: secure-bootloader.signature, app.signature, release.signature
#   RECIPE       the recipe; it names the files of OUT (secure-bootloader.signed.bin, app.signed.bin, mfg.bin, ...)
#   RELEASE      release number: counts up
#   RELEASE_PUB  public half of the release key, from your repository
#   SOURCE_DATE_EPOCH  time of the commit: each run makes the same bundle
set -eu
: "${OUT:?}" "${ANSWERS:?}" "${RECIPE:?}" "${RELEASE:?}" "${RELEASE_PUB:?}" "${SOURCE_DATE_EPOCH:?}"
orders=$OUT/orders
mkdir -p "$orders"
rm -f "$orders"/*

missing=
for image in secure-bootloader app; do
    if [ -e "$ANSWERS/$image.signature" ]; then
        devstamp image attach "$OUT/$image.bin" "$ANSWERS/$image.signature" -o "$OUT/$image.signed.bin"
    else
        devstamp image order "$OUT/$image.bin" -o "$orders/$image.order"
        missing=yes
    fi
done
if [ -z "$missing" ]; then
    devstamp bundle create --recipe "$RECIPE" --release "$RELEASE" -o "$OUT/release.bundle"
    if [ -e "$ANSWERS/release.signature" ]; then
        devstamp bundle attach "$OUT/release.bundle" "$ANSWERS/release.signature"
        devstamp bundle verify --release-key "$RELEASE_PUB" "$OUT/release.bundle"
        devstamp bundle show "$OUT/release.bundle"
        echo complete
        exit 0
    fi
    devstamp bundle order "$OUT/release.bundle" -o "$orders/release.order"
    mv "$OUT/release.bundle" "$orders/" # not signed; to be looked at by who signs its order
fi
rm -f "$OUT/release.bundle"
echo "carry to the machine that has the keys:"
ls "$orders"
