// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "migration/machine.h"
#include "monitor/qmp_client.h"
#include "util/clock.h"
#include "util/loop.h"
#include "vmm/xen/live/xen_ram.h"
#include "vmm/xen/live/xen_store.h"

#include <memory>
#include <optional>
#include <string>

namespace drover::xen {

/// A domain that runs on this host as a Machine that is moved away. Its state leaves in the neutral
/// form only. Loop thread only.
class XenSource : public Machine {
public:
    /// `model`: a monitor of the domain's device model, negotiated; it must outlive the machine.
    XenSource(std::shared_ptr<XenDomain> domain, QmpClient& model, DomainRam ram,
              std::string version);
    ~XenSource() override;

    [[nodiscard]] std::span<const RamBlock> ram() const override { return ram_.blocks; }
    void describe(std::function<void(Result<Json>)> done) override;
    [[nodiscard]] Result<DirtyTracker*> tracker() override { return &log_; }
    [[nodiscard]] bool gives_memory_back() const override { return false; }
    [[nodiscard]] Status can_save_neutral() const override { return {}; }
    void use_state_form(StateForm form) override { form_ = form; }
    void process_died(const Error& how) override;

    void prepare_save(std::function<void(Status)> done) override;
    void begin_save(SaveCallbacks callbacks) override;
    void finish_save() override;
    void hold_data(bool /*hold*/) override {} // it is some kilobytes
    void abandon_save(std::function<void(Status)> done) override;

    void begin_load(std::function<void(Status)> ready, std::function<void(Error)> failed) override;
    void load(std::span<const std::byte> /*piece*/) override {}
    [[nodiscard]] bool load_is_behind(std::function<void()> /*caught_up*/) override
    {
        return false;
    }
    void finish_load(std::function<void(Status)> loaded) override;
    void take_over(bool run, std::function<void(Status)> done) override;

    /// The user's "stop" and "cont"; the latter also of a domain that was left suspended.
    [[nodiscard]] Status pause();
    void run(std::function<void(Status)> done);
    /// What the device model tells of itself.
    void model_told(const Json& event);
    /// "running", "paused", or "postmigrate": suspended by us.
    [[nodiscard]] std::string run_state() const;

private:
    [[nodiscard]] Result<Json> facts() const;
    void add_uncarried(Json description, std::function<void(Result<Json>)> done);
    void tell_writes(bool on, std::function<void(Status)> done);
    [[nodiscard]] Status watch_suspensions();
    void look_at_suspension();
    void stop_model();
    void model_saved(const std::string& path);
    [[nodiscard]] Result<std::vector<std::byte>> neutral_state(std::span<const std::byte> model);
    void save_failed(Error error);
    void resumed(const std::function<void(Status)>& done);

    std::shared_ptr<XenDomain> domain_;
    QmpClient& model_;
    DomainRam ram_;
    std::string version_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
    LogDirty log_;
    StateForm form_ = StateForm::Neutral;
    std::optional<Error> died_;

    SaveCallbacks save_;
    std::optional<int64_t> model_stopped_; ///< real time, ns
    TimePoint stop_asked_{};               ///< of the device model; the vCPUs stood by then
    unsigned saving_ = 0; ///< counts saves, so that an answer to an earlier one is known
    bool ran_ = false;
    bool tells_writes_ = false;           ///< the device model, into the log
    std::unique_ptr<XenStore> shutdowns_; ///< tells of them
    loop::Source suspend_limit_;          ///< while the suspension is waited for
};

} // namespace drover::xen
