// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/qmp_client.h"

#include <functional>
#include <memory>
#include <string>

namespace drover::qemu {

/// What CPUs a QEMU can give its guests, for a baseline of several hosts (tools/cpu_baseline.h):
///   version: QEMU's; accelerator: "kvm" or "tcg"; vendor: of the CPU that it can give;
///   features: list of the names of all that it can give; known: of all that it knows;
///   models: object of versioned model → list of its features.
/// `model`: the CPU whose features those are; empty: the most that there is ("host" or "max").
/// `qmp` must live until `done` was called. The guest, if there is one, takes no notice.
void describe_cpus(QmpClient& qmp, std::string model, std::function<void(Result<Json>)> done);

/// A QEMU without a machine that is started to be asked that; destroying this ends it.
/// Loop thread only.
class CpuInquiry {
public:
    struct Wish {
        std::string binary; ///< path of the QEMU
        std::string accelerator;
        std::string model; ///< as above
    };
    /// `done`: once, not from within the constructor; may destroy this.
    CpuInquiry(Wish wish, std::function<void(Result<Json>)> done);
    ~CpuInquiry();
    CpuInquiry(const CpuInquiry&) = delete;
    CpuInquiry& operator=(const CpuInquiry&) = delete;

private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace drover::qemu
