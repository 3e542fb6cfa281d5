// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// Who may use which topic, decided by the user name the plugin gave a connection: a device's name, or
// "svc/<number of its CA>/<name>" for one of the owner's services ('/' cannot be in a device's name).
#ifndef DS_ENDPOINT_RIGHTS_H
#define DS_ENDPOINT_RIGHTS_H

#include "src/cloud/topics.h"

#define DS_RIGHTS_USER_MAX 96

// service_ca 0: a device.
void ds_rights_user(const char *name, unsigned service_ca, char ret[DS_RIGHTS_USER_MAX]);
// The number of the CA of a service; 0 for a device.
unsigned ds_rights_service_ca(const char *user);

enum ds_rights_act { DS_RIGHTS_PUBLISH, DS_RIGHTS_READ /* subscribe, delivery */, DS_RIGHTS_UNSUBSCRIBE };

// user NULL: nobody, nothing. A device: its own topics by the owner's patterns alone. A service: reads and publishes
// where any device's topics are, and reads $aws/events/…, which nobody but the broker publishes.
bool ds_rights_allow(const ds_topics *topics, const char *user, const char *topic, enum ds_rights_act act);

#endif
