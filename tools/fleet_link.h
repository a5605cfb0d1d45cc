// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/doors/dial.h"
#include "tools/fleet_cells.h"
#include "tools/tool_run.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace drover::tools {

/// What all of the fleet's verbs take.
struct FleetOptions {
    std::string balancer; ///< its address
    balancer::TlsFiles tls;
    bool json = false;
    std::optional<bool> colour;                              ///< --colour; absent: as stdout has it
    std::vector<std::string> plain;                          ///< words that are no options
    std::vector<std::pair<std::string, std::string>> others; ///< the verb's own: "--limit", "9"
};

/// `own` are the verb's own options: "--limit=" takes a value, "--once" takes none. Addresses and
/// files that are not given come from the environment (DROVER_BALANCER, DROVER_TLS_CA,
/// DROVER_TLS_CERT, DROVER_TLS_KEY); then the balancer is unix:/run/drover/balancer.sock.
[[nodiscard]] Result<FleetOptions> parse_fleet_options(Words words,
                                                       const std::vector<std::string>& own = {});
[[nodiscard]] std::optional<std::string> own_option(const FleetOptions& options,
                                                    const std::string& name);

/// A connection to the balancer, from the dialling to its end. Loop thread only; callbacks may
/// destroy it.
class FleetLink {
public:
    struct Callbacks {
        std::function<void()> ready; ///< commands can be sent
        std::function<void(const Json& event)> event;
        std::function<void(const Error&)> failed; ///< once: it cannot be had, or it ended
    };
    FleetLink(const FleetOptions& options, Callbacks callbacks);

    [[nodiscard]] QmpClient& client() { return *client_; }

private:
    void negotiate(UniqueFd fd);

    Callbacks callbacks_;
    std::unique_ptr<QmpClient> client_;
    std::unique_ptr<balancer::Dialling> dialling_;
};

/// Width, height and colours of stdout: a terminal's, or those of plain text. Where it is no
/// terminal, COLUMNS is its width, and `colour` may ask for colours: for programs that show what we
/// draw on a terminal of theirs.
[[nodiscard]] FleetView view_of_stdout(std::optional<bool> colour);

} // namespace drover::tools
