// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Where a connection comes from; see front_source.h.
#include "src/signer/front_source.h"

#include <netinet/in.h>
#include <string.h>

ds_front_source ds_front_source_of(const struct sockaddr_storage *a)
{
    ds_front_source s = {{0}};
    if (a->ss_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, a, sizeof four);
        s.bytes[0] = 4;
        memcpy(s.bytes + 1, &four.sin_addr, 4);
    } else if (a->ss_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, a, sizeof six);
        bool mapped = IN6_IS_ADDR_V4MAPPED(&six.sin6_addr);
        s.bytes[0] = mapped ? 4 : 6;
        memcpy(s.bytes + 1, six.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 8);
    }
    return s;
}

bool ds_front_source_same(const ds_front_source *a, const ds_front_source *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
