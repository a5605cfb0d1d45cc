// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/session/incoming_door.h"
#include "monitor/monitor_listener.h"
#include "monitor/qmp_server.h"
#include "system/tls_objects.h"
#include "vmm/xen/live/xen_destination.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace drover {

/// Where a guest comes in that is to run on this Xen host. Its monitors know what is about the
/// migration; once it runs, drover-xen serve has the others. Loop thread only.
class XenIncoming : public QmpHandler {
public:
    struct Callbacks {
        std::function<void(int code)> end; ///< once: exit with this code
    };

    XenIncoming(xen::XenDestination::Config config, Callbacks callbacks);

    /// Without an address, migrate-incoming opens the door.
    [[nodiscard]] Status start(const std::optional<MigrationAddress>& address,
                               const std::vector<MonitorEndpoint>& monitors);
    /// Ends: what has come is destroyed, but not a guest that is ours, or may be.
    void terminate();
    void defect_found(const Error& defect);

    void handle(QmpRequest request, QmpResponder respond) override;

private:
    void changed(DestinationState state);
    void failed(const Error& error);
    void set_capabilities(const Json& arguments);
    [[nodiscard]] bool handle_tls(const QmpRequest& request, const QmpResponder& respond);
    [[nodiscard]] Json user_object(const std::string& id) const;
    [[nodiscard]] Status open_door(const MigrationAddress& address);
    [[nodiscard]] Status open_late(const Json& arguments);
    [[nodiscard]] DestinationSession* session() const { return door_ ? door_->session() : nullptr; }
    [[nodiscard]] Json query_migrate() const;
    [[nodiscard]] std::string run_state() const;
    [[nodiscard]] Status may_end() const;
    void end_soon(int code);

    xen::XenDestination machine_;
    Callbacks callbacks_;
    std::unique_ptr<IncomingDoor> door_; ///< once it is known where
    std::unique_ptr<QmpServer> server_;
    std::string last_status_;
    bool events_ = false;
    std::map<std::string, Json> objects_; ///< of object-add
    TlsParameters tls_;
    loop::Source end_timer_;
};

} // namespace drover
