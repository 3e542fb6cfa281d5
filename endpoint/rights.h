// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who may use which topic, decided by the user name the plugin gave a connection: a device's name, or "svc/<name>" for
// one of the owner's services ('/' cannot be in a device's name).
#ifndef DS_ENDPOINT_RIGHTS_H
#define DS_ENDPOINT_RIGHTS_H

#include <stdbool.h>

#define DS_RIGHTS_USER_MAX 72

void ds_rights_user(const char *name, bool service, char ret[DS_RIGHTS_USER_MAX]);

enum ds_rights_act { DS_RIGHTS_PUBLISH, DS_RIGHTS_READ /* subscribe, delivery */, DS_RIGHTS_UNSUBSCRIBE };

// user NULL: nobody, nothing. A device: devstamp/<name>/… alone. A service: reads devstamp/… and $aws/events/…,
// publishes devstamp/…; nobody but the broker publishes $aws/….
bool ds_rights_allow(const char *user, const char *topic, enum ds_rights_act act);

#endif
