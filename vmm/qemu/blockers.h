// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "monitor/json.h"
#include "vmm/qemu/host_facts.h"

#include <set>
#include <span>
#include <string>
#include <vector>

namespace drover::qemu {

/// Why a guest cannot be migrated. Some back-ends write guest RAM behind QEMU's back, where no
/// tracker sees it: vhost-user, vDPA and VFIO through mappings of their own, Linux AIO and io_uring
/// through pages that were pinned before the tracker protected them (the thread pool's reads are
/// made visible, see tracker/preload.cpp). RAM that is shared, and not Drover's, is left out by
/// QEMU's stream and by Drover: it would arrive empty.
///
/// The rule: what the *running* QEMU has is asked of it, and not read in words. A blocker goes when
/// its device goes, and one that came by a way that nobody thought of is found.

/// What a running QEMU has, as it and the kernel say it; see ask_running().
struct RunningFacts {
    Json memdevs = Json::array();    ///< query-memdev
    Json nodes = Json::array();      ///< query-named-block-nodes
    Json blocks = Json::array();     ///< query-block
    Json devices = Json::array();    ///< qom-list of /machine/peripheral and …-anon, joined
    std::string network;             ///< HMP's "info network"
    Json migration = Json::object(); ///< query-migrate
    std::vector<std::string> files;  ///< what its descriptors are open on: /dev/vhost-net, …
    bool linux_aio = false;          ///< it has set up Linux AIO
};

/// The one thing that QEMU does not tell of a block node: that it reads by Linux AIO or io_uring.
/// For this alone words are kept, and dropped when the nodes that they named are gone.
class AioWords {
public:
    /// A whole command line; files named by -readconfig are read too.
    void learn(std::span<const std::string> arguments, const HostFacts& host);
    /// The argument of -drive or -blockdev, of HMP's drive_add, or of a QMP command as JSON text.
    void learn(const std::string& options);
    /// From now on images may be opened with the flags of others (mirrors, overlays): what was
    /// learnt stays.
    void pin() { pinned_ = true; }

    [[nodiscard]] std::vector<std::string> blockers(const std::set<std::string>& present) const;
    [[nodiscard]] bool empty() const { return uses_.empty(); }

private:
    struct Use {
        std::set<std::string> names; ///< of drives and nodes in that text; none: it never goes
        std::string text;
    };
    std::vector<Use> uses_;
    bool pinned_ = false;
};

/// All that stands in the way of a migration from here, QEMU's own reasons too; in words. `ours`:
/// the ids of the back-ends whose RAM Drover carries.
[[nodiscard]] std::vector<std::string> migration_blockers(const RunningFacts& facts,
                                                          const std::set<std::string>& ours,
                                                          const AioWords& aio);

/// The shared memory back-ends that are not Drover's: nobody carries what is in them.
[[nodiscard]] std::vector<std::string> uncarried_memory(const Json& memdevs,
                                                        const std::set<std::string>& ours);

} // namespace drover::qemu
