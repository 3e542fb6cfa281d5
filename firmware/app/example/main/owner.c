// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: the devstamp authors
//
// The endpoint "devstamp-owner" by HTTP, for `devstamp verify device` and companion apps: they see with it that the
// device is genuine before they hand anything over. Open, as the handshake protects what it carries.
#include "devstamp_app.h"
#include "example.h"

#include "esp_log.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "protocomm_httpd.h"

enum { RESTART_US = 3000000 };

static const char *const tag = "owner";
static esp_timer_handle_t restart;

static void on_restart(void *arg)
{
    (void)arg;
    esp_restart();
}

// Stored; the owner gets the receipt before the device restarts into its network.
static ds_status take(void *arg, const ds_owner_credentials *c)
{
    ds_agent *a = devstamp_agent_new();
    (void)arg;
    if (a == NULL)
        return DS_STATUS(PORT, NO_SPACE);
    ds_status s = ds_owner_store_wifi(a, c);
    devstamp_agent_free(a);
    if (s == DS_STATUS_OK && !esp_timer_is_active(restart))
        esp_timer_start_once(restart, RESTART_US);
    return s;
}

bool example_owner_listen(void)
{
    esp_timer_create_args_t timer = {.callback = on_restart, .name = "restart"};
    protocomm_http_server_config_t server = PROTOCOMM_HTTPD_DEFAULT_CONFIG();
    protocomm_httpd_config_t config = {.data.config = server};
    ESP_ERROR_CHECK(esp_timer_create(&timer, &restart));
    protocomm_t *transport = protocomm_new();
    if (transport != NULL && protocomm_httpd_start(transport, &config) == ESP_OK &&
        devstamp_owner_attach(transport, take, NULL) == ESP_OK)
        return true;
    ESP_LOGE(tag, "no way in for the owner");
    return false;
}
