// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"
#include "vmm/xen/live/state_pipe.h"
#include "vmm/xen/live/xen_store.h"

#include <functional>
#include <memory>
#include <string>

namespace drover::xen {

/// The device model of a domain that xl is about to make of a stream, so that it is started, and xl
/// done with it, before its state has come: it waits for that at a pipe (StatePipe), and xl is told
/// in its stead that it runs. Loop thread only.
class EarlyModel {
public:
    struct Callbacks {
        /// The domain is there; the stream, which holds no state of the model's, may end.
        std::function<void(uint32_t domain)> expected;
        std::function<void()> waiting; ///< the model, for its state
        /// It has it. `clock_s`: since when its clocks run, seconds of the Epoch.
        std::function<void(double clock_s)> loaded;
        std::function<void(Error)> failed;
    };
    /// `name`: that of the domain. Before xl makes it.
    [[nodiscard]] static Result<std::unique_ptr<EarlyModel>> start(std::string name,
                                                                   Callbacks callbacks);
    ~EarlyModel();
    EarlyModel(const EarlyModel&) = delete;
    EarlyModel& operator=(const EarlyModel&) = delete;

    /// To write its state to, once: from any thread.
    [[nodiscard]] StatePipe& pipe() { return *pipe_; }

private:
    EarlyModel(std::string name, Callbacks callbacks);
    void changed(const std::string& path);
    void look_for_domain(const std::string& path);
    void found(const std::string& id);
    void connect();
    void ask_for_events();
    void told(const Json& event);
    void ended(const Error& how);
    void say_that_it_runs();
    void fail_with(Error error);

    std::string name_;
    Callbacks callbacks_;
    std::unique_ptr<XenStore> store_;
    std::string id_;    ///< the domain's number, once known
    std::string model_; ///< the model's entry in xenstore
    std::unique_ptr<StatePipe> pipe_;
    std::unique_ptr<QmpClient> monitor_;
    double clock_s_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace drover::xen
