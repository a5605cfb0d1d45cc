// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/host/move_commands.h"

#include "migration/policy/wish.h"
#include "util/fd.h"

#include <algorithm>
#include <cmath>
#include <netinet/in.h>
#include <sys/socket.h>

namespace drover::balancer {

namespace {

/// "downtime=50ms,on-stall=slow:wait" as migrate-set-policy takes it.
Json policy_members(const std::string& policy)
{
    Json members = Json::object();
    size_t at = 0;
    while (at < policy.size()) {
        const size_t end = std::min(policy.find(',', at), policy.size());
        const std::string option = policy.substr(at, end - at);
        at = end + 1;
        const size_t equals = std::min(option.find('='), option.size());
        const std::string key = option.substr(0, equals);
        std::string value = equals < option.size() ? option.substr(equals + 1) : "";
        if (key != "on-stall") {
            members[key] = value;
            continue;
        }
        Json list = Json::array();
        for (size_t from = 0; from <= value.size();) {
            const size_t to = std::min(value.find(':', from), value.size());
            list.push_back(value.substr(from, to - from));
            from = to + 1;
        }
        members[key] = std::move(list);
    }
    return members;
}

std::vector<EmulatorCommand> for_qemu(const MigrationWish& wish)
{
    const bool slow = wish.max_slowdown > 0;
    // Without a return path a source calls completed what the destination could not load.
    const Json capabilities = Json::array({{{"capability", "return-path"}, {"state", true}},
                                           {{"capability", "auto-converge"}, {"state", slow}}});
    Json parameters = {{"downtime-limit", std::llround(wish.downtime_s * 1e3)},
                       {"max-bandwidth", wish.bandwidth}};
    if (slow) // QEMU takes 1 to 99
        parameters["max-cpu-throttle"] =
            std::clamp(static_cast<int>(std::lround(wish.max_slowdown * 100)), 1, 99);
    return {{"migrate-set-capabilities", {{"capabilities", capabilities}}},
            {"migrate-set-parameters", std::move(parameters)}};
}

} // namespace

Result<std::vector<EmulatorCommand>> commands_before_migrate(VmKind kind, const std::string& policy)
{
    const auto wish = parse_policy(policy);
    if (!wish)
        return std::unexpected(wish.error());
    if (kind == VmKind::Qemu)
        return for_qemu(*wish);
    if (policy.empty())
        return std::vector<EmulatorCommand>{};
    return std::vector<EmulatorCommand>{{"migrate-set-policy", policy_members(policy)}};
}

bool port_is_free(unsigned port)
{
    const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    return fd && bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
           listen(fd.get(), 1) == 0;
}

} // namespace drover::balancer
