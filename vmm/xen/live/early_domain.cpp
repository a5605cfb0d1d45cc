// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/early_domain.h"

#include "migration/ram/ram_block.h"
#include "util/log.h"
#include "vmm/qemu/state/acpi_hole.h"
#include "vmm/xen/state/stopped_counters.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace drover::xen {

namespace {

constexpr double second_ns = 1e9;
constexpr double most_clock_gap_s = 5; ///< more is a wall clock that was set meanwhile

/// A domain may have little more memory than its RAM: the tables' pages alone.
Status give_tables(XenDomain& domain, const state::Memory& tables)
{
    std::vector<uint64_t> frames;
    frames.reserve(tables.pages.size());
    for (const uint64_t page : tables.pages)
        frames.push_back(qemu::acpi_hole_frame + page);
    if (Status populated = domain.populate(frames); !populated)
        return populated;
    for (size_t i = 0; i < frames.size(); ++i) {
        bool there = false;
        auto map = domain.map(frames[i], std::span(&there, 1));
        if (!map)
            return pass(map);
        if (there)
            memcpy(*map, tables.bytes.data() + i * ram_page_size, ram_page_size);
        domain.unmap(*map, 1);
        if (!there)
            return fail(ErrorKind::Machine, "the domain has no memory for its firmware's tables");
    }
    return {};
}

/// In xl's order: the device model comes to a domain that has its state.
Status give_state(XenDomain& domain, StatePipe& model, const WrittenMachine& machine,
                  const std::optional<state::Memory>& tables)
{
    if (Status given = tables ? give_tables(domain, *tables) : Status(); !given)
        return given;
    if (Status set = domain.set_tsc(tsc_info_of(machine)); !set)
        return set;
    if (Status set = domain.set_context(join_hvm_context(machine.hvm)); !set)
        return set;
    return model.write(join_model(machine.model));
}

} // namespace

Result<std::unique_ptr<EarlyDomain>> EarlyDomain::start(const std::string& name, size_t vcpus,
                                                        std::shared_ptr<XenFeed> feed,
                                                        Callbacks callbacks)
{
    std::unique_ptr<EarlyDomain> made(new EarlyDomain(std::move(feed), std::move(callbacks)));
    auto model = EarlyModel::start(
        name, {.expected =
                   [early = made.get()](uint32_t id) {
                       early->id_ = id;
                       early->may_end_.set_value(true);
                   },
               .waiting =
                   [early = made.get()] {
                       early->waiting_ = true;
                       early->step_done();
                   },
               .loaded =
                   [early = made.get()](double clock_s) {
                       early->told_ = true;
                       if (early->loaded_)
                           std::exchange(early->loaded_, nullptr)(early->set_clocks(clock_s));
                   },
               .failed = [early = made.get()](Error error) { early->failed(std::move(error)); }});
    if (!model)
        return pass(model);
    made->model_ = std::move(*model);
    made->feed_blank(vcpus);
    return made;
}

EarlyDomain::EarlyDomain(std::shared_ptr<XenFeed> feed, Callbacks callbacks)
    : feed_(std::move(feed)), callbacks_(std::move(callbacks))
{
}

EarlyDomain::~EarlyDomain()
{
    *alive_ = false;
    if (!id_)
        may_end_.set_value(false);
    if (writer_.joinable())
        writer_.join();
    if (ram_)
        ram_->close();
}

/// Where the model's state would be read must be prepared when xl comes to the end.
void EarlyDomain::feed_blank(size_t vcpus)
{
    writer_ = std::thread(
        [this, alive = alive_, feed = feed_, vcpus, may_end = may_end_.get_future()]() mutable {
            Status fed = feed->write_blank(vcpus);
            if (fed && may_end.get())
                fed = feed->end_blank();
            loop::post([this, alive, fed = std::move(fed)] {
                if (*alive && !fed)
                    failed(fed.error());
            });
        });
}

void EarlyDomain::received()
{
    received_ = true;
    step_done();
}

void EarlyDomain::step_done()
{
    if (!received_ || !waiting_)
        return;
    if (Status opened = open_domain(); !opened)
        return failed(opened.error());
    log::debug("the domain is made, and its device model waits for its state");
    callbacks_.ready();
}

Status EarlyDomain::open_domain()
{
    auto domain = XenDomain::open(*id_);
    if (!domain)
        return pass(domain);
    domain_ = std::move(*domain);
    ram_ = std::make_shared<MappedRam>(domain_, feed_->layout());
    return {};
}

void EarlyDomain::failed(Error error)
{
    if (loaded_)
        return std::exchange(loaded_, nullptr)(std::unexpected(std::move(error)));
    const auto tell = callbacks_.failed; // which may destroy this
    if (!std::exchange(told_, true))
        tell(std::move(error));
}

/// The device model's clocks (the ACPI timer's among them) go on when it has its state, the
/// hypervisor's (TSC) when it gets its own. A guest that sees them apart takes its TSC for
/// unstable. Only the vCPUs' own records are given again: a disk's request that was under way is
/// completed at once, and its interrupt pending in another.
Status EarlyDomain::set_clocks(double clock_s)
{
    const auto now =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch());
    const double late_s =
        clock_s > 0 ? std::clamp(now.count() - clock_s, 0.0, most_clock_gap_s) : 0;
    auto again = with_tsc_moved(hvm_, static_cast<int64_t>(late_s * second_ns));
    return again ? domain_->set_context(join_hvm_context(*again)) : pass(again);
}

void EarlyDomain::load(WrittenMachine machine, std::optional<state::Memory> tables,
                       std::function<void(Status)> loaded)
{
    loaded_ = std::move(loaded);
    hvm_ = machine.hvm;
    writer_.join(); // it has ended with the stream
    writer_ = std::thread([this, alive = alive_, domain = domain_, machine = std::move(machine),
                           tables = std::move(tables)] {
        Status given = give_state(*domain, model_->pipe(), machine, tables);
        loop::post([this, alive, given = std::move(given)] {
            if (*alive && !given)
                failed(given.error());
        });
    });
}

} // namespace drover::xen
