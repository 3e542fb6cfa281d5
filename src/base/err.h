// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Errors with context: the one error doctrine of the host side.
//
// A fallible function returns an enum ds_class (DS_OK = 0) that the caller must use, and fills a caller-owned ds_err.
// Text reads outside-in: "slot 3: write bootloader: digest differs at 0x1000"; lower case, no full stop, no function
// names. The innermost place calls ds_fail(); every place that knows more puts its words in front with ds_wrap(). Only
// the CLI, the dashboard and main loops print. A ds_err may be NULL where the caller wants the class alone.
#ifndef DS_BASE_ERR_H
#define DS_BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define DS_MUST __attribute__((warn_unused_result))
#define DS_PRINTF(f, a) __attribute__((format(printf, f, a)))

// What kind of failure it is; decides exit code, retry and colour.
enum ds_class {
    DS_OK = 0,
    DS_USAGE,    // the command line is wrong
    DS_INPUT,    // a file, a recipe, a certificate request: what we were given is bad
    DS_DEVICE,   // the device or its wire
    DS_TOKEN,    // the token, its PIN, the signer
    DS_STORE,    // ledger, disk
    DS_NETWORK,  // endpoint, cloud
    DS_POLICY,   // refused on purpose
    DS_INTERNAL, // a defect of ours
};

typedef struct ds_err {
    enum ds_class cls;
    uint32_t code;  // detail a caller may act on: errno, a device's status word, a CKR_ value; 0 = none
    char text[480]; // what failed, outside-in; always terminated
    char hint[200]; // what to do next; may be empty
} ds_err;

#define DS_ERR_INIT ((ds_err){.cls = DS_OK})

// Record a failure of class cls; replaces what e held. Returns cls.
enum ds_class ds_fail(ds_err *e, enum ds_class cls, const char *fmt, ...) DS_PRINTF(3, 4);

// As ds_fail, appends ": <strerror(err)>" and keeps err as the code.
enum ds_class ds_fail_errno(ds_err *e, enum ds_class cls, int err, const char *fmt, ...) DS_PRINTF(4, 5);

// Put "<fmt>: " in front of e's text. Returns e's class (DS_INTERNAL where e is NULL or holds no failure).
enum ds_class ds_wrap(ds_err *e, const char *fmt, ...) DS_PRINTF(2, 3);

// Say what to do next; an earlier (inner, better informed) hint stays. Returns e's class.
enum ds_class ds_hint(ds_err *e, const char *fmt, ...) DS_PRINTF(2, 3);

// What clang's analyzer cannot see from a call: a failure is never DS_OK. err.c itself wants the plain names.
#if defined(__clang_analyzer__) && !defined(DS_ERR_PLAIN)
static inline enum ds_class ds_err_is(enum ds_class ret, enum ds_class cls)
{
    (void)ret;
    return cls;
}
#define ds_fail(e, cls, ...) ds_err_is((ds_fail)(e, cls, __VA_ARGS__), cls)
#define ds_fail_errno(e, cls, err, ...) ds_err_is((ds_fail_errno)(e, cls, err, __VA_ARGS__), cls)
#define ds_wrap(e, ...) ds_err_is((ds_wrap)(e, __VA_ARGS__), DS_INTERNAL)
#define ds_hint(e, ...) ds_err_is((ds_hint)(e, __VA_ARGS__), DS_INTERNAL)
#endif

// The class as one word ("device"), for logs and JSON.
const char *ds_class_name(enum ds_class cls);

#endif
