// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Callers and a child that tells of a failure and then does not end: a driver may hold it for ever, whether somebody
// still waits for an answer or nobody does.
#include "src/base/clock.h"
#include "src/signer/post.h"
#include "src/signer/wire.h"

#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SILENT_MS = 60000, SOON_MS = 30000 };

// Takes count requests, answers the first with a token that is gone, and then does nothing any more.
static void hang(int fd, unsigned count)
{
    DS_CLEANUP_BUF ds_buf bytes = {0};
    bool end = false;
    uint64_t first = 0;
    for (unsigned i = 0; i < count; i++) {
        if (ds_wire_recv(fd, -1, &bytes, &end, NULL) || end)
            _exit(1);
        Devstamp__Signer__Request *r = devstamp__signer__request__unpack(NULL, bytes.len, bytes.ptr);
        if (i == 0)
            first = r->id;
        devstamp__signer__request__free_unpacked(r, NULL);
    }
    Devstamp__Signer__Reply reply = DEVSTAMP__SIGNER__REPLY__INIT;
    char text[] = "the token was pulled out", none[] = "";
    reply.id = first;
    reply.error_class = DS_TOKEN;
    reply.error_code = CKR_DEVICE_REMOVED;
    reply.error_text = text;
    reply.error_hint = none;
    if (ds_wire_send(fd, &reply.base, NULL))
        _exit(1);
    for (;;)
        pause();
}

static ds_post *opened(unsigned count)
{
    int sv[2];
    ds_post *p = NULL;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(sv[0]);
        hang(sv[1], count);
    }
    close(sv[1]);
    assert_int_equal(ds_post_open((ds_child){pid, sv[0]}, SILENT_MS, &p, NULL), DS_OK);
    return p;
}

typedef struct caller {
    ds_post *post;
    pthread_t thread;
    enum ds_class rc;
    enum ds_child_state state;
    ds_err e;
} caller;

static void *ask(void *arg)
{
    caller *c = arg;
    Devstamp__Signer__Status body = DEVSTAMP__SIGNER__STATUS__INIT;
    Devstamp__Signer__Request request = DEVSTAMP__SIGNER__REQUEST__INIT;
    Devstamp__Signer__Reply *reply = NULL;
    request.body_case = DEVSTAMP__SIGNER__REQUEST__BODY_STATUS;
    request.status = &body;
    c->e = DS_ERR_INIT;
    c->rc = ds_post_ask(c->post, &request, &reply, &c->state, &c->e);
    return NULL;
}

static void expect_gone(const caller *c)
{
    assert_int_equal(c->rc, DS_TOKEN);
    assert_int_equal(c->e.cls, DS_TOKEN);
    assert_int_equal(c->e.code, CKR_DEVICE_REMOVED);
    assert_string_equal(c->e.text, "the token was pulled out");
    assert_int_equal(c->state, DS_CHILD_LOST);
}

static void test_post_who_waits_behind_a_told_failure_is_told_it_soon(void **state)
{
    (void)state;
    enum { CALLERS = 3 };
    caller c[CALLERS];
    ds_post *p = opened(CALLERS);
    int64_t begin = ds_now_ms();
    for (int i = 0; i < CALLERS; i++) {
        c[i].post = p;
        assert_int_equal(pthread_create(&c[i].thread, NULL, ask, &c[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(c[i].thread, NULL);
        expect_gone(&c[i]);
    }
    assert_true(ds_post_is_lost(p));
    ds_post_close(p);
    assert_true(ds_now_ms() - begin < SOON_MS);
}

static void test_post_of_a_child_that_told_a_failure_and_hangs_can_be_closed(void **state)
{
    (void)state;
    caller c = {.post = opened(1)};
    int64_t begin = ds_now_ms();
    ask(&c);
    expect_gone(&c);
    ds_post_close(c.post);
    assert_true(ds_now_ms() - begin < SOON_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_post_who_waits_behind_a_told_failure_is_told_it_soon),
        cmocka_unit_test(test_post_of_a_child_that_told_a_failure_and_hangs_can_be_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
