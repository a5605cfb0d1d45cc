// SPDX-License-Identifier: GPL-2.0-or-later
//
// state-bench STREAM COUNT -- QEMU ARGUMENT…: how long the pause of a migration between
// hypervisors lasts for its translation alone. STREAM is what a running guest's QEMU saved
// with its RAM left out; the command line is that of the QEMU which would take it in. Prints a
// line for each direction: its name, and the medians of COUNT runs in microseconds, by the clock
// and of processor time.
#include "vmm/qemu/state/blank_machine.h"
#include "vmm/qemu/state/machine_fields.h"
#include "vmm/qemu/state/neutral_stream.h"
#include "vmm/xen/state/xen_machine.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <functional>
#include <iostream>

namespace {

using namespace drover;
using Bytes = std::vector<std::byte>;

template <class Value> Value must(Result<Value> result)
{
    if (result)
        return std::move(*result);
    std::cerr << "state-bench: " << result.error().text() << '\n';
    exit(1);
}

/// Of this thread alone: a machine that is busy otherwise does not show.
int64_t processor_us()
{
    timespec now = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
}

/// `before` is not measured.
void measure(
    const std::string& name, int count, const std::function<void()>& run,
    const std::function<void()>& before = [] {})
{
    using Clock = std::chrono::steady_clock;
    std::vector<int64_t> took;
    std::vector<int64_t> worked;
    for (int i = 0; i < count; ++i) {
        before();
        const auto start = Clock::now();
        const int64_t work = processor_us();
        run();
        worked.push_back(processor_us() - work);
        took.push_back(
            std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
    }
    std::ranges::sort(took);
    std::ranges::sort(worked);
    std::cout << name << ' ' << took[took.size() / 2] << ' ' << worked[worked.size() / 2] << '\n';
}

Bytes whole(const FileBytes& file)
{
    Bytes bytes(file.size());
    if (const Status read = file.read(0, bytes); !read)
        must<Bytes>(std::unexpected(read.error()));
    return bytes;
}

struct XenForm {
    Bytes context;
    Bytes model;
};

XenForm to_xen(const Bytes& parts)
{
    const auto written = must(xen::write_machine(must(state::decode_machine(parts))));
    return {join_hvm_context(written.hvm), join_model(written.model)};
}

Bytes from_xen(const XenForm& form)
{
    xen::XenState state;
    state.hvm = must(xen::split_hvm_context(form.context));
    state.model = must(xen::split_model(form.model));
    return state::encode_machine(must(xen::read_machine(state)).machine);
}

void run(const std::string& file, int count, std::vector<std::string> command)
{
    const Bytes stream = whole(must(FileBytes::open(file)));
    const auto blank = must(
        FileBytes::of(must(qemu::save_blank_machine(std::move(command))), "the blank machine"));
    const auto form = must(qemu::read_load_form(blank));
    const auto neutral = [&] { return must(qemu::neutral_of_stream(MemoryBytes(stream))); };
    const Bytes parts = neutral();
    measure("qemu-to-neutral", count, neutral);
    auto used_up = form;
    const auto to_qemu = [&] {
        std::vector<std::string> changes;
        (void)must(qemu::stream_of_neutral(parts, std::move(used_up), changes));
    };
    measure("neutral-to-qemu", count, to_qemu, [&] { used_up = form; });
    if (must(state::decode_machine(parts)).acpi_pm == std::nullopt)
        return; // no `pc`, which alone can be on Xen
    measure("neutral-to-xen", count, [&] { (void)to_xen(parts); });
    const XenForm on_xen = to_xen(parts);
    measure("xen-to-neutral", count, [&] { (void)from_xen(on_xen); });
}

} // namespace

int main(int count, char** words)
{
    const int runs = count > 4 ? atoi(words[2]) : 0;
    if (runs < 1 || std::string_view(words[3]) != "--") {
        std::cerr << "usage: state-bench STREAM COUNT -- QEMU ARGUMENT…\n";
        return 2;
    }
    run(words[1], runs, {words + 4, words + count});
    return 0;
}
