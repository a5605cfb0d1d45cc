// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/host/host_service.h"
#include "contrib/balancer/host/state_file.h"
#include "tests/unit/monitor/loop_testing.h"

#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>

namespace drover::balancer {

/// What a command answered, as text: its JSON or its error.
struct Reply {
    bool done = false;
    bool good = false;
    Json value;
    std::string error;

    Answer take()
    {
        return [this](const Result<Json>& result) {
            done = true;
            good = result.has_value();
            if (result)
                value = *result;
            else
                error = result.error().text();
        };
    }
};

/// Two droverds in one process, over stock QEMUs without a guest.
class HostServiceTest : public ::testing::Test {
protected:
    struct Host {
        DroverdConfig config;
        std::vector<Json> events;
        std::unique_ptr<HostService> service;
    };

    HostServiceTest()
    {
        char path[] = "/tmp/drover-host-XXXXXX"; // short, for the sockets in it
        root = mkdtemp(path);
        for (Host* host : {&one, &two}) {
            host->config = default_droverd_config();
            host->config.name = host == &one ? "h1" : "h2";
            host->config.state_directory = root + "/" + host->config.name;
            host->config.definition_directory.clear(); // below that
            host->config.migrate_address = "127.0.0.1";
            host->config.end_limit_s = 1;
            start(*host);
        }
    }

    ~HostServiceTest() override
    {
        for (Host* host : {&one, &two}) {
            for (Vm* vm : host->service->vms().all())
                kill(vm->record().process.pid, SIGKILL);
            drover::testing::run_until([host] { return host->service->vms().all().empty(); });
        }
        std::filesystem::remove_all(root);
    }

    void start(Host& host)
    {
        host.service = std::make_unique<HostService>(
            host.config, std::vector<std::string>{},
            [&host](const Json& event) { host.events.push_back(event); });
        const Status restored = host.service->restore();
        ASSERT_TRUE(restored) << restored.error().text();
    }

    /// As if droverd were killed and started again.
    void restart(Host& host)
    {
        host.service.reset();
        start(host);
    }

    static void end_by_force(Host& host, const std::string& name)
    {
        Reply reply;
        host.service->vms().end({{"name", name}, {"force", true}}, reply.take());
        EXPECT_TRUE(settled(reply) && reply.good) << reply.error;
        EXPECT_TRUE(
            drover::testing::run_until([&] { return host.service->vms().find(name) == nullptr; }));
    }

    static void kill_and_wait(const ProcessId& process)
    {
        bool gone = false;
        const ProcessWatch watch(process, [&gone] { gone = true; });
        kill(process.pid, SIGKILL);
        EXPECT_TRUE(drover::testing::run_until([&gone] { return gone; }));
    }

    /// Its processes are gone, and what was in /run; the next start is the next boot.
    void cut_power(Host& host)
    {
        std::vector<ProcessId> processes;
        for (const Vm* vm : host.service->vms().all())
            processes.push_back(vm->record().process);
        host.service.reset();
        for (const ProcessId& process : processes)
            kill_and_wait(process);
        const std::string state = host.config.state_directory;
        for (const char* part : {"/vms", "/run", "/migrations", "/definitions/last-boot"})
            std::filesystem::remove_all(state + part);
    }

    static std::string shown_state(Host& host, const std::string& name)
    {
        for (const Json& vm : host.service->vms().list())
            if (json_string(vm, "name") == name)
                return json_string(vm, "state");
        return "gone";
    }

    static Json definition(const std::string& name)
    {
        return {{"name", name},
                {"kind", "qemu"},
                {"command",
                 {"-nodefaults", "-no-user-config", "-display", "none", "-M", "isapc", "-accel",
                  "tcg", "-m", "16"}}};
    }

    static bool settled(const Reply& reply)
    {
        return drover::testing::run_until([&reply] { return reply.done; });
    }

    static void create(Host& host, const std::string& name, const Json& more = Json::object())
    {
        Json whole = definition(name);
        whole.update(more);
        Reply reply;
        host.service->vms().create({{"definition", whole}}, reply.take());
        ASSERT_TRUE(settled(reply) && reply.good) << reply.error;
        ASSERT_TRUE(drover::testing::run_until([&] {
            const Vm* vm = host.service->vms().find(name);
            return vm != nullptr && vm->state() == VmState::Running;
        }));
    }

    std::string prepare(Host& host, const std::string& id, const std::string& name,
                        const std::string& owner = "b-1")
    {
        Reply reply;
        host.service->moves().prepare(
            {{"migration", id}, {"definition", definition(name)}, {"owner", owner}}, reply.take());
        EXPECT_TRUE(settled(reply) && reply.good) << reply.error;
        return json_string(reply.value, "uri");
    }

    static std::string status(Host& host, const std::string& id)
    {
        Reply reply;
        host.service->moves().query({{"migration", id}}, reply.take());
        return reply.good ? json_string(reply.value, "status") : reply.error;
    }

    static bool becomes(Host& host, const std::string& id, const std::string& wanted)
    {
        return drover::testing::run_until([&] { return status(host, id) == wanted; });
    }

    static void migrate(Host& host, const std::string& id, const std::string& name,
                        const std::string& uri)
    {
        Reply reply;
        host.service->moves().migrate({{"migration", id}, {"name", name}, {"uri", uri}},
                                      reply.take());
        EXPECT_TRUE(reply.good) << reply.error;
    }

    static bool runs(Host& host, const std::string& name)
    {
        const Vm* vm = host.service->vms().find(name);
        return vm != nullptr && vm->state() == VmState::Running;
    }

    std::string root;
    Host one;
    Host two;
};

} // namespace drover::balancer
