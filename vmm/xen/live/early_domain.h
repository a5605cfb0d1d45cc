// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "vmm/xen/live/early_model.h"
#include "vmm/xen/live/mapped_ram.h"
#include "vmm/xen/live/xen_feed.h"

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <thread>

namespace drover::xen {

/// A domain that xl makes, with its device model, of a stream without a guest: before the guest's
/// pause, in which xl then has nothing to do but to run it. What the guest is comes into it past
/// xl. Loop thread only.
class EarlyDomain {
public:
    struct Callbacks {
        std::function<void()> ready; ///< ram() may be written
        /// Before it is complete, but for load()'s own end. xl need not have noticed.
        std::function<void(Error)> failed;
    };
    /// `feed`: of an `xl migrate-receive` that was just started; the domain is `name`.
    [[nodiscard]] static Result<std::unique_ptr<EarlyDomain>> start(const std::string& name,
                                                                    size_t vcpus,
                                                                    std::shared_ptr<XenFeed> feed,
                                                                    Callbacks callbacks);
    /// The stream must have been broken before, if the domain is not complete.
    ~EarlyDomain();
    EarlyDomain(const EarlyDomain&) = delete;
    EarlyDomain& operator=(const EarlyDomain&) = delete;

    /// xl said that it has received the domain.
    void received();
    /// Its number, once it is there.
    [[nodiscard]] std::optional<uint32_t> domain() const { return id_; }
    [[nodiscard]] std::shared_ptr<MappedRam> ram() const { return ram_; }
    /// The guest's RAM is all there: the rest of it. `tables`: as of XenFeed::end().
    void load(WrittenMachine machine, std::optional<state::Memory> tables,
              std::function<void(Status)> loaded);

private:
    EarlyDomain(std::shared_ptr<XenFeed> feed, Callbacks callbacks);
    void feed_blank(size_t vcpus);
    void step_done();
    [[nodiscard]] Status open_domain();
    [[nodiscard]] Status set_clocks(double clock_s);
    void failed(Error error);

    std::shared_ptr<XenFeed> feed_;
    Callbacks callbacks_;
    std::unique_ptr<EarlyModel> model_;
    std::shared_ptr<XenDomain> domain_;
    std::shared_ptr<MappedRam> ram_;
    std::optional<uint32_t> id_;
    HvmContext hvm_;             ///< the guest's
    std::promise<bool> may_end_; ///< the stream
    std::thread writer_;         ///< into the stream, and later to the device model
    bool received_ = false;
    bool waiting_ = false; ///< the device model, for its state
    bool told_ = false;    ///< that it is complete, or that it has failed
    std::function<void(Status)> loaded_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover::xen
