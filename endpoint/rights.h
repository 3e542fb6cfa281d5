// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who may use which topic, decided by the user name the plugin gave a connection: a device's name, or "svc/<name>" for
// one of the owner's services ('/' cannot be in a device's name).
#ifndef DS_ENDPOINT_RIGHTS_H
#define DS_ENDPOINT_RIGHTS_H

#include "src/cloud/topics.h"

#define DS_RIGHTS_USER_MAX 72

void ds_rights_user(const char *name, bool service, char ret[DS_RIGHTS_USER_MAX]);

enum ds_rights_act { DS_RIGHTS_PUBLISH, DS_RIGHTS_READ /* subscribe, delivery */, DS_RIGHTS_UNSUBSCRIBE };

// user NULL: nobody, nothing. A device: its own topics by the owner's patterns alone. A service: reads and publishes
// where any device's topics are, and reads $aws/events/…, which nobody but the broker publishes.
bool ds_rights_allow(const ds_topics *topics, const char *user, const char *topic, enum ds_rights_act act);

#endif
