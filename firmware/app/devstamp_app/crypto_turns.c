// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The chip's engine for big numbers has one lock, which mbedTLS takes and gives back for every multiplication. A task
// that holds it while the agent waits inherits the agent's priority, and FreeRTOS takes an inherited priority back only
// when the task holds no mutex at all (tasks.c, xTaskPriorityDisinherit). esp-mqtt holds one for all of a handshake: it
// gives the engine back, runs on as the agent's equal, and has the engine again before the agent had a turn; a report
// was signed only once the handshake was over. So the linker puts this before the function (--wrap): whoever gives the
// engine back lets its equals run. Not on the ESP32, whose lock has no such name in ESP-IDF 5.1.
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

void __real_esp_crypto_mpi_lock_release(void);
void __wrap_esp_crypto_mpi_lock_release(void);

void __wrap_esp_crypto_mpi_lock_release(void)
{
    __real_esp_crypto_mpi_lock_release();
    if (xTaskGetSchedulerState() == taskSCHEDULER_RUNNING)
        taskYIELD();
}
