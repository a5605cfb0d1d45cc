// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "contrib/balancer/cluster/config.h"
#include "contrib/balancer/cluster/host_door.h"
#include "contrib/balancer/doors/dial.h"
#include "contrib/balancer/doors/pulse.h"

#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>

namespace drover::balancer::cluster {

/// The connection with one host's droverd: made, negotiated, and made again when it ends, with
/// pauses that grow (and differ a little, so that a fleet does not call in step). One that is
/// silent ends, too. Loop thread only.
class HostLink : public HostDoor {
public:
    HostLink(std::string name, std::string address, std::shared_ptr<TlsIdentity> identity,
             std::function<void(const Json& event)> event, Pulse::Patience patience = {});
    ~HostLink() override;
    HostLink(const HostLink&) = delete;
    HostLink& operator=(const HostLink&) = delete;

    [[nodiscard]] bool is_up() const override { return up_; }
    void execute(const std::string& command, Json arguments, Reply reply) override;

    /// Why it is not up, in words.
    [[nodiscard]] const std::string& trouble() const { return trouble_; }

private:
    void dial();
    void on_dialled(Result<UniqueFd> socket);
    void on_closed(const std::string& why);

    std::string name_;
    std::string address_;
    std::shared_ptr<TlsIdentity> identity_;
    std::function<void(const Json& event)> event_;
    std::unique_ptr<Dialling> dialling_;
    std::unique_ptr<QmpClient> client_;
    std::optional<Pulse> pulse_;
    Pulse::Patience patience_;
    std::shared_ptr<uint64_t> connection_ = std::make_shared<uint64_t>(0); ///< its number
    std::shared_ptr<size_t> unanswered_; ///< commands of this connection
    loop::Source timer_;                 // to dial again, or the limit of the negotiation
    std::minstd_rand random_{std::random_device{}()};
    int failures_ = 0;
    bool up_ = false;
    std::string trouble_;
};

} // namespace drover::balancer::cluster
