// SPDX-License-Identifier: GPL-2.0-or-later
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options options = {
    .memory = 64 << 20,
    .dirty = 1000,
    .verify = 10000,
    .tick = 1,
    .pattern = PATTERN_RANDOM_PAGES,
};

static uint64_t parse_size(const char* text)
{
    char* end;
    uint64_t value = strtoull(text, &end, 10);
    switch (*end) {
    case 'G': return value << 30;
    case 'M': return value << 20;
    case 'K': return value << 10;
    case 0: return value;
    default: give_up("drover.mem=%s: not a size", text);
    }
}

static enum pattern parse_pattern(const char* text)
{
    static const char* const names[] = {"random-pages", "small-changes", "random-content", "sweep",
                                        "idle"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(text, names[i]) == 0)
            return (enum pattern)i;
    give_up("drover.pattern=%s: not known", text);
}

static void set_option(const char* name, const char* value)
{
    if (strcmp(name, "mem") == 0)
        options.memory = parse_size(value);
    else if (strcmp(name, "dirty") == 0)
        options.dirty = (uint32_t)atoi(value);
    else if (strcmp(name, "threads") == 0)
        options.threads = (uint32_t)atoi(value);
    else if (strcmp(name, "verify") == 0)
        options.verify = (uint32_t)atoi(value);
    else if (strcmp(name, "tick") == 0)
        options.tick = atoi(value) > 0 ? (uint32_t)atoi(value) : 1;
    else if (strcmp(name, "tell") == 0)
        options.tell = (uint32_t)atoi(value);
    else if (strcmp(name, "pattern") == 0)
        options.pattern = parse_pattern(value);
    else if (strcmp(name, "heartbeat") == 0)
        snprintf(options.heartbeat, sizeof(options.heartbeat), "%s", value);
    else if (strcmp(name, "tcp") == 0)
        snprintf(options.tcp, sizeof(options.tcp), "%s", value);
    else if (strcmp(name, "control") == 0)
        snprintf(options.control, sizeof(options.control), "%s", value);
    else if (strcmp(name, "disk") == 0)
        options.disk = atoi(value) != 0;
    else if (strcmp(name, "place") == 0)
        options.place = atoi(value) != 0;
    else if (strcmp(name, "entropy") == 0)
        options.entropy = atoi(value) != 0;
    else if (strcmp(name, "watch") == 0)
        options.watch = atoi(value) != 0;
    else if (strcmp(name, "reboot_after") == 0)
        options.reboot_after = (uint32_t)atoi(value);
    else if (strcmp(name, "ip") != 0) // that one is for init
        give_up("drover.%s: no such option", name);
}

void parse_options(const char* command_line)
{
    char copy[4096];
    snprintf(copy, sizeof(copy), "%s", command_line);
    char* rest = NULL;
    for (char* word = strtok_r(copy, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
        char* value = strchr(word, '=');
        if (strncmp(word, "drover.", 7) != 0 || !value)
            continue;
        *value++ = 0;
        set_option(word + 7, value);
    }
}
