// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the two halves of the station's side of the signer share: signing and waiting (client.c), and the child with
// what is asked of it (client_child.c).
#ifndef DS_SIGNER_CLIENT_H
#define DS_SIGNER_CLIENT_H

#include "src/signer/post.h"
#include "src/signer/signer.h"

#include <p11-kit/pkcs11.h>
#include <pthread.h>

struct ds_client_remote;
struct ds_client_est;

struct ds_signer {
    struct ds_client_remote *remote; // NULL: no signer elsewhere
    struct ds_client_est *est;       // NULL: no EST server; without both the rest of it is of the child
    pthread_mutex_t mutex;
    pthread_mutex_t touch;   // who holds it may have the token blink; taken before mutex
    pthread_cond_t turn;     // something of the following changed
    ds_signer_config config; // strings owned
    ds_post *post;           // NULL: no child runs
    unsigned asking;         // callers who use post
    bool starting;
    bool told;       // what became of post's child is known already
    bool barred;     // no start by itself any more: the PIN was refused
    unsigned silent; // how often a child was silent: who waited while it changed fails as well
    unsigned silent_in_a_row;
    int64_t pause_end_ms;
    ds_err silence;
    bool waiting; // for a token that was pulled out
    bool waited;  // in vain, and nothing was signed since
    ds_err away;
    ds_signer_status status;
};

// Start the first child, and learn from it what the signer signs as.
enum ds_class ds_client_start(ds_signer *s, ds_err *e) DS_MUST;

// Ask the child, started again where need be.
enum ds_class ds_client_ask(ds_signer *s, Devstamp__Signer__Request *request, Devstamp__Signer__Reply **ret,
                            ds_err *e) DS_MUST;

// How the log stands, by an answer.
void ds_client_take_log(ds_signer *s, uint64_t entries, const ProtobufCBinaryData *root);

// Can a child be given its PIN again without anybody's help?
bool ds_client_starts_by_itself(const ds_signer *s);

// client_remote.c: the same for a signer that is elsewhere. on_touch may be NULL.
enum ds_class ds_client_start_remote(ds_signer *s, ds_err *e) DS_MUST;
enum ds_class ds_client_ask_remote(ds_signer *s, Devstamp__Signer__Request *request, const ds_sign_request *req,
                                   Devstamp__Signer__Reply **ret, ds_err *e) DS_MUST;
void ds_client_stop_remote(ds_signer *s);

// client_est.c: certificates from an EST server.
enum ds_class ds_client_start_est(ds_signer *s, ds_err *e) DS_MUST;
enum ds_class ds_client_sign_est(ds_signer *s, const ds_sign_request *req, ds_buf *ret_der, ds_err *e) DS_MUST;
void ds_client_stop_est(ds_signer *s);

// What the signer said of itself, and whether it is still the same: the same CA, and a log of no less than had entries.
void ds_client_take_status(ds_signer *s, const Devstamp__Signer__StatusReply *status);
enum ds_class ds_client_check_again(ds_signer *s, uint64_t had, const Devstamp__Signer__StatusReply *status,
                                    ds_err *e) DS_MUST;
// The configuration's profiles for the wire: wire and list take profile_count of them, and borrow.
void ds_client_put_profiles(const ds_signer_config *c, Devstamp__Signer__Profile *wire,
                            Devstamp__Signer__Profile **list);

// How the log stood at the last answer, both at once.
void ds_client_log(ds_signer *s, uint64_t *ret_entries, uint8_t ret_root[32]);

// protobuf-c wants everything writable and only reads it.
char *ds_client_text(const char *s);
ProtobufCBinaryData ds_client_binary(const uint8_t *bytes, size_t len);

// Not there, another one there, or on its way: no PIN was sent.
bool ds_client_is_away(const ds_err *e);
// The same, or plugged in at this moment: until it is ready it says that it has an error.
bool ds_client_is_coming(const ds_err *e);

#endif
