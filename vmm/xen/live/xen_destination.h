// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/machine.h"
#include "vmm/xen/guest/guest_config.h"
#include "vmm/xen/live/early_domain.h"
#include "vmm/xen/live/incoming_ram.h"
#include "vmm/xen/live/xen_feed.h"
#include "vmm/xen/live/xl_receiver.h"

#include <memory>
#include <thread>

namespace drover::xen {

/// A domain that is to be made on this host of a guest that comes, as a Machine: in the neutral
/// form, and by Xen's own tools. Loop thread only.
class XenDestination : public Machine {
public:
    struct Config {
        XenGuest guest; ///< without memory: derived from what the source says, and from `local`
        size_t vcpus = 1;
        bool paused = false; ///< the guest is to stay so
        /// The domain is made, with its device model, before the guest's pause.
        bool early = true;
        LocalParts local;
    };
    explicit XenDestination(Config config);
    ~XenDestination() override;

    /// The session has failed: what has come is destroyed.
    void give_up();
    /// Of a guest that is here: whether it was set going.
    [[nodiscard]] bool runs() const { return runs_; }

    [[nodiscard]] std::span<const RamBlock> ram() const override { return ram_; }
    [[nodiscard]] Status expect_guest(const Json& source, uint64_t ram) override;
    void describe(std::function<void(Result<Json>)> done) override;
    [[nodiscard]] Result<DirtyTracker*> tracker() override { return nowhere(); }
    [[nodiscard]] bool gives_memory_back() const override { return false; }
    [[nodiscard]] Status can_load_neutral() const override { return {}; }

    void prepare_save(std::function<void(Status)> done) override;
    void begin_save(SaveCallbacks callbacks) override;
    void finish_save() override {}
    void hold_data(bool /*hold*/) override {}
    void abandon_save(std::function<void(Status)> done) override;

    [[nodiscard]] std::unique_ptr<RamMapping> ram_mapping() override;
    void begin_load(std::function<void(Status)> ready, std::function<void(Error)> failed) override;
    void load(std::span<const std::byte> piece) override;
    [[nodiscard]] bool load_is_behind(std::function<void()> /*caught_up*/) override
    {
        return false;
    }
    void finish_load(std::function<void(Status)> loaded) override;
    [[nodiscard]] bool keeps_paused() const override { return config_.paused; }
    void take_over(bool run, std::function<void(Status)> done) override;

private:
    [[nodiscard]] static std::unexpected<Error> nowhere();
    void add_cpu(Json& description) const;
    [[nodiscard]] RegisterBits hide_features(const Json& source);
    [[nodiscard]] Status derive(const Json& source, uint64_t ram);
    void set_memory(uint64_t bytes);
    [[nodiscard]] Status claim();
    [[nodiscard]] Status start_receiver();
    [[nodiscard]] Status begin();
    [[nodiscard]] bool begin_early();
    void ready(const Status& status);
    void early_failed(const Error& error);
    void begin_again();
    void receiver_ready();
    void receiver_received();
    void receiver_failed(const Error& error, bool killed);
    void receiver_ended(bool runs);
    void taken(const Status& status);
    void fed(const Status& status);
    [[nodiscard]] Result<state::MachineState> decode();

    Config config_;
    bool derives_;
    std::optional<Json> cpu_features_; ///< of a domain whose configuration is derived
    qemu::PcMemory layout_;
    std::vector<RamBlock> ram_;
    std::shared_ptr<IncomingRam::Target> ram_target_ = std::make_shared<IncomingRam::Target>();
    std::shared_ptr<XenFeed> feed_;
    UniqueFd claim_; ///< of the guest, while xl makes it
    std::unique_ptr<XlReceiver> receiver_;
    std::unique_ptr<EarlyDomain> early_; ///< null: all of it is fed to xl
    std::thread end_;                    ///< writes the stream's end
    std::vector<std::byte> state_;
    std::function<void(Status)> ready_;
    std::function<void(Status)> loaded_;
    std::function<void(Status)> taken_over_;
    std::function<void(Error)> failed_;
    bool runs_ = false;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover::xen
