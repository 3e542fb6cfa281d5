// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The note of refused PIN files; see pin_note.h, which fixes its text.
#include "src/pki/pin_note.h"

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES_MAX = 32, NOTE_MAX = 8192 };

typedef struct entry {
    bool refused;
    uint8_t serial[16];
    uint64_t device, inode;
    int64_t size, seconds, nanoseconds, when;
} entry;

typedef struct entries {
    entry at[ENTRIES_MAX];
    size_t count;
} entries;

void ds_pin_note_set(ds_pin_note *n, const char *path, const char *file, const struct stat *st)
{
    *n = (ds_pin_note){
        .path = ds_strdup(path),
        .file = ds_strdup(file),
        .device = st->st_dev,
        .inode = st->st_ino,
        .size = st->st_size,
        .seconds = st->st_mtim.tv_sec,
        .nanoseconds = st->st_mtim.tv_nsec,
    };
}

void ds_pin_note_free(ds_pin_note *n)
{
    free(n->path);
    free(n->file);
    *n = (ds_pin_note){0};
}

static bool parse_entry(const char *line, entry *ret)
{
    char state[8], serial[33];
    int end = -1;
    if (sscanf(line, "%7s %32s %" SCNu64 " %" SCNu64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 "%n", state,
               serial, &ret->device, &ret->inode, &ret->size, &ret->seconds, &ret->nanoseconds, &ret->when,
               &end) != 8 ||
        end < 0 || line[end] || !ds_unhex(serial, ret->serial, sizeof ret->serial))
        return false;
    ret->refused = strcmp(state, "refused") == 0;
    return ret->refused || strcmp(state, "trying") == 0;
}

static enum ds_class parse(const ds_pin_note *n, char *text, entries *ret, ds_err *e)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (ret->count == ENTRIES_MAX || !parse_entry(line, &ret->at[ret->count++]))
            return ds_hint((ds_fail(e, DS_STORE, "%s is no note of refused PIN files", n->path), e),
                           "make sure of the PIN, then remove that file and run again");
    return DS_OK;
}

static enum ds_class load(const ds_pin_note *n, entries *ret, ds_err *e)
{
    *ret = (entries){.count = 0};
    if (access(n->path, F_OK) != 0 && errno == ENOENT)
        return DS_OK;
    DS_CLEANUP_BUF ds_buf text = {0};
    if (ds_file_read(n->path, NOTE_MAX, &text, e)) {
        if (e)
            e->cls = DS_STORE;
        return ds_hint((ds_wrap(e, "note of refused PIN files"), e), "make the file readable, then run again");
    }
    ds_buf_add_u8(&text, 0);
    return parse(n, (char *)text.ptr, ret, e);
}

static enum ds_class save(const ds_pin_note *n, const entries *all, ds_err *e)
{
    if (all->count == 0) {
        if (unlink(n->path) != 0 && errno != ENOENT)
            return ds_fail_errno(e, DS_STORE, errno, "remove %s", n->path);
        return DS_OK;
    }
    DS_CLEANUP_BUF ds_buf text = {0};
    for (size_t i = 0; i < all->count; i++) {
        const entry *x = &all->at[i];
        char serial[33];
        ds_hex(x->serial, sizeof x->serial, serial);
        DS_CLEANUP_FREE char *line =
            ds_asprintf("%s %s %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n",
                        x->refused ? "refused" : "trying", serial, x->device, x->inode, x->size, x->seconds,
                        x->nanoseconds, x->when);
        ds_buf_add(&text, line, strlen(line));
    }
    return ds_file_write(n->path, ds_buf_view(&text), 0600, e);
}

static bool same_serial(const entry *x, const ds_pin_token *token)
{
    return memcmp(x->serial, token->serial, sizeof x->serial) == 0;
}

static bool same_file(const entry *x, const ds_pin_note *n)
{
    return x->device == n->device && x->inode == n->inode && x->size == n->size && x->seconds == n->seconds &&
           x->nanoseconds == n->nanoseconds;
}

static void drop(entries *all, size_t at)
{
    all->count--;
    memmove(&all->at[at], &all->at[at + 1], (all->count - at) * sizeof all->at[0]);
}

static void append(entries *all, const ds_pin_note *n, const ds_pin_token *token, bool refused)
{
    if (all->count == ENTRIES_MAX)
        drop(all, 0);
    entry *x = &all->at[all->count++];
    *x = (entry){
        .refused = refused,
        .device = n->device,
        .inode = n->inode,
        .size = n->size,
        .seconds = n->seconds,
        .nanoseconds = n->nanoseconds,
        .when = ds_utc_now(),
    };
    memcpy(x->serial, token->serial, sizeof x->serial);
}

static enum ds_class deny(const entry *x, const ds_pin_note *n, const ds_pin_token *token, ds_err *e)
{
    char when[21];
    const char *what = n->seal ? "the PIN of this seal" : "this PIN file";
    ds_utc_format(x->when, when);
    if (x->refused) {
        (void)ds_fail(e, DS_TOKEN, "%s was refused by token \"%s\" on %s; it is not tried again", what, token->label,
                      when);
        if (n->seal)
            (void)ds_hint(e, "let the officer seal the right PIN (touch %s where it is right after all)", n->file);
        (void)ds_hint(e, "correct the PIN file %s, then run again (touch it where the PIN is right after all)",
                      n->file);
    } else {
        (void)ds_fail(e, DS_TOKEN, "no answer came from token \"%s\" when it was given %s on %s; it is not tried again",
                      token->label, what, when);
        (void)ds_hint(e, "make sure of the PIN in it, then run: touch %s", n->file);
    }
    if (e)
        e->code = CKR_PIN_INCORRECT;
    return DS_TOKEN;
}

enum ds_class ds_pin_note_try(const ds_pin_note *n, const ds_pin_token *token, ds_err *e)
{
    if (!n || !n->path)
        return DS_OK;
    entries all;
    enum ds_class rc = load(n, &all, e);
    for (size_t i = 0; !rc && i < all.count; i++)
        if (same_serial(&all.at[i], token) && same_file(&all.at[i], n))
            return deny(&all.at[i], n, token, e);
    if (!rc) {
        append(&all, n, token, false);
        rc = save(n, &all, e);
    }
    if (rc) {
        (void)ds_wrap(e, "the try of the PIN cannot be written down, so nothing was tried");
        return ds_hint(e, "make the folder writable, then run again");
    }
    return DS_OK;
}

// Replace what the note says of the token: of this file, or, where it accepted a PIN, of all.
static void settle(const ds_pin_note *n, const ds_pin_token *token, bool refused)
{
    if (!n || !n->path)
        return;
    entries all;
    ds_err e = DS_ERR_INIT;
    enum ds_class rc = load(n, &all, &e);
    for (size_t i = all.count; !rc && i > 0; i--)
        if (same_serial(&all.at[i - 1], token) && (!refused || same_file(&all.at[i - 1], n)))
            drop(&all, i - 1);
    if (!rc && refused)
        append(&all, n, token, true);
    if (!rc)
        rc = save(n, &all, &e);
    if (rc)
        ds_log(DS_LOG_WARN, "note of refused PIN files: %s", e.text);
}

void ds_pin_note_accepted(const ds_pin_note *n, const ds_pin_token *token)
{
    settle(n, token, false);
}

void ds_pin_note_refused(const ds_pin_note *n, const ds_pin_token *token)
{
    settle(n, token, true);
}
