// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The manufacturing firmware: one task that answers the station. It has no radio and no network, makes keys while the
// entropy source of random.c is on, and is unsigned, so that it cannot boot again once the device is locked.
#include "agent/port/esp-idf/esp_port.h"

#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "sdkconfig.h"

#include <stdlib.h>

static void agent_task(void *arg)
{
    (void)arg;
    ds_esp_mfg_run();
}

void app_main(void); // no header of ESP-IDF declares it

void app_main(void)
{
    if (xTaskCreate(agent_task, "agent", CONFIG_DEVSTAMP_AGENT_STACK, NULL, CONFIG_DEVSTAMP_AGENT_PRIORITY, NULL) !=
        pdPASS)
        abort();
}
