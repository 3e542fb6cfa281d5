// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// What the signer process gives up.
#include "src/signer/sandbox.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void *nothing(void *arg)
{
    return arg;
}

static int try_the_cage(bool online)
{
    ds_err e;
    if (ds_sandbox_harden(&e) || (online ? ds_sandbox_enter_online(&e) : ds_sandbox_enter(&e)))
        return 1;
    char *const argv[] = {NULL};
    if (execve("/bin/true", argv, argv) != -1 || errno != EPERM)
        return 2;
    if (fork() != -1 || errno != EPERM)
        return 3;
    if (online && socket(AF_INET, SOCK_STREAM, 0) == -1)
        return 4;
    if (!online && (socket(AF_INET, SOCK_STREAM, 0) != -1 || errno != EPERM))
        return 4;
    if (!online && (socket(AF_INET6, SOCK_DGRAM, 0) != -1 || errno != EPERM || socket(AF_NETLINK, SOCK_RAW, 0) != -1))
        return 5;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != -1 || errno != EPERM)
        return 6;
    int local = socket(AF_UNIX, SOCK_STREAM, 0); // pcscd
    if (local < 0 || listen(local, 1) != -1 || errno != EPERM)
        return 7;
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 8;
    return 0;
}

static void expect_shut(bool online)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(try_the_cage(online));
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_sandbox_refuses_programs_network_and_tracing_but_not_threads(void **state)
{
    (void)state;
    expect_shut(false);
}

static void test_sandbox_for_a_key_service_lets_connections_out_and_nothing_else(void **state)
{
    (void)state;
    expect_shut(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox_refuses_programs_network_and_tracing_but_not_threads),
        cmocka_unit_test(test_sandbox_for_a_key_service_lets_connections_out_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
