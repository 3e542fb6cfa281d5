// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Many callers and one running child: requests go out as they come, a thread of its own takes the answers in and gives
// each to whom it belongs.
#ifndef DS_SIGNER_POST_H
#define DS_SIGNER_POST_H

#include "src/signer/child.h"

typedef struct ds_post ds_post;

// For a child that has answered its first request, which becomes the post's. silent_ms: how long a request may wait
// without an answer to it or to one that was sent before it.
enum ds_class ds_post_open(ds_child child, int64_t silent_ms, ds_post **ret, ds_err *e) DS_MUST;
// End the child, wait for it. Nobody may be asking.
void ds_post_close(ds_post *p);

// As ds_child_ask, e not NULL; sets the request's id. Once the child is lost or was silent all who ask fail so, at once
// and with the same words; where it said what failed (a token's error), with those, DS_CHILD_LOST, and five seconds
// later at most: such a child may hang instead of ending.
enum ds_class ds_post_ask(ds_post *p, Devstamp__Signer__Request *request, Devstamp__Signer__Reply **ret,
                          enum ds_child_state *ret_state, ds_err *e) DS_MUST;

// Is the child gone or going?
bool ds_post_is_lost(ds_post *p);

#endif
