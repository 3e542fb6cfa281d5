// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who may use which topic, decided by the user name the plugin gave a connection: "<number of its CA>/<name>" for a
// device, "svc/<number of its CA>/<name>" for one of the owner's services.
#ifndef DS_ENDPOINT_RIGHTS_H
#define DS_ENDPOINT_RIGHTS_H

#include "src/cloud/topics.h"

#define DS_RIGHTS_USER_MAX 96

typedef struct ds_rights_who {
    unsigned ca;
    bool service;
    const char *name; // borrowed
} ds_rights_who;
void ds_rights_user(const ds_rights_who *who, char ret[DS_RIGHTS_USER_MAX]);
// False: no user name of ours, or NULL.
bool ds_rights_read(const char *user, ds_rights_who *ret);

enum ds_rights_act { DS_RIGHTS_PUBLISH, DS_RIGHTS_READ /* subscribe, delivery */, DS_RIGHTS_UNSUBSCRIBE };

// A device: its own topics by the owner's patterns alone. A service: reads and publishes where any device's topics are,
// and reads $aws/events/…, which nobody but the broker publishes.
bool ds_rights_allow(const ds_topics *topics, const ds_rights_who *who, const char *topic, enum ds_rights_act act);

#endif
