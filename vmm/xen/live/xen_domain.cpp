// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/xen/live/xen_domain.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <sys/mman.h>

#undef __STRICT_ANSI__ // Xen's headers want GNU's dialect, and do not know of C++
extern "C" {
#include <xenctrl.h>
#include <xenforeignmemory.h>
#include <xenguest.h>
}

namespace drover::xen {

namespace {

constexpr uint64_t frame_size = 4096;
constexpr size_t frames_at_once = 256;

/// Memory for a hypercall's answer.
class HypercallBuffer {
public:
    HypercallBuffer(xc_interface* control, size_t bytes)
        : control_(control), pages_(static_cast<int>((bytes + frame_size - 1) / frame_size)),
          bytes_(xc__hypercall_buffer_alloc_pages(control, &buffer_, pages_))
    {
    }
    ~HypercallBuffer()
    {
        if (bytes_)
            xc__hypercall_buffer_free_pages(control_, &buffer_, pages_);
    }
    HypercallBuffer(const HypercallBuffer&) = delete;
    HypercallBuffer& operator=(const HypercallBuffer&) = delete;

    [[nodiscard]] void* bytes() const { return bytes_; }
    [[nodiscard]] xc_hypercall_buffer_t* get() { return &buffer_; }

private:
    xc_interface* control_;
    int pages_;
    xc_hypercall_buffer_t buffer_ = {
        .hbuf = nullptr, .param_shadow = nullptr, .dir = 0, .ubuf = nullptr, .sz = 0};
    void* bytes_;
};

} // namespace

struct XenDomain::Handles {
    ~Handles()
    {
        if (memory)
            xenforeignmemory_close(memory);
        if (control)
            xc_interface_close(control);
    }
    xc_interface* control = nullptr;
    xenforeignmemory_handle* memory = nullptr;
};

XenDomain::XenDomain(uint32_t id, std::unique_ptr<Handles> handles)
    : id_(id), handles_(std::move(handles))
{
}

XenDomain::~XenDomain() = default;

Result<std::unique_ptr<XenDomain>> XenDomain::open(uint32_t id)
{
    auto handles = std::make_unique<Handles>();
    handles->control = xc_interface_open(nullptr, nullptr, 0);
    handles->memory = xenforeignmemory_open(nullptr, 0);
    if (!handles->control || !handles->memory)
        return fail(ErrorKind::System, "Xen cannot be called from here",
                    "run it as root, in Dom0, with /dev/xen/privcmd");
    std::unique_ptr<XenDomain> domain(new XenDomain(id, std::move(handles)));
    if (auto there = domain->info(); !there)
        return pass(there);
    return domain;
}

Result<XenDomain::Info> XenDomain::info() const
{
    xc_domaininfo_t found{};
    const int count = xc_domain_getinfolist(handles_->control, id_, 1, &found);
    if (count < 0)
        return fail_errno("asking Xen about the domain", errno);
    if (count != 1 || found.domain != id_)
        return fail(ErrorKind::Machine, "there is no domain " + std::to_string(id_));
    if ((found.flags & XEN_DOMINF_hvm_guest) == 0)
        return fail(ErrorKind::Refused, "the guest is no HVM guest",
                    "paravirtual guests (type=pv, pvh) exist on Xen only");
    const unsigned reason =
        found.flags >> XEN_DOMINF_shutdownshift & unsigned{XEN_DOMINF_shutdownmask};
    return Info{
        .paused = (found.flags & XEN_DOMINF_paused) != 0,
        .suspended = (found.flags & XEN_DOMINF_shutdown) != 0 && reason == SHUTDOWN_suspend,
        .dying = (found.flags & XEN_DOMINF_dying) != 0 ||
                 ((found.flags & XEN_DOMINF_shutdown) != 0 && reason != SHUTDOWN_suspend),
        .pages = found.tot_pages,
        .vcpus = found.max_vcpu_id + 1,
    };
}

Status XenDomain::suspend()
{
    if (xc_domain_shutdown(handles_->control, id_, SHUTDOWN_suspend) < 0)
        return fail_errno("suspending the domain", errno);
    return {};
}

Status XenDomain::resume()
{
    if (xc_domain_resume(handles_->control, id_, 0) < 0)
        return fail_errno("resuming the domain", errno);
    return {};
}

Status XenDomain::pause()
{
    if (xc_domain_pause(handles_->control, id_) < 0)
        return fail_errno("pausing the domain", errno);
    return {};
}

Status XenDomain::unpause()
{
    if (xc_domain_unpause(handles_->control, id_) < 0)
        return fail_errno("unpausing the domain", errno);
    return {};
}

Result<XenDomain::Context> XenDomain::context() const
{
    const int size = xc_domain_hvm_getcontext(handles_->control, id_, nullptr, 0);
    if (size < 0)
        return fail_errno("asking for the size of the domain's state", errno);
    Context context;
    context.bytes.resize(static_cast<size_t>(size));
    context.taken = std::chrono::duration_cast<std::chrono::nanoseconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count(); // Xen reads the counters first
    const int got = xc_domain_hvm_getcontext(handles_->control, id_,
                                             reinterpret_cast<uint8_t*>(context.bytes.data()),
                                             static_cast<uint32_t>(context.bytes.size()));
    if (got < 0)
        return fail_errno("reading the domain's state", errno);
    context.bytes.resize(static_cast<size_t>(got));
    return context;
}

Result<uint64_t> XenDomain::param(uint32_t index) const
{
    uint64_t value = 0;
    if (xc_hvm_param_get(handles_->control, id_, index, &value) < 0)
        return fail_errno("reading HVM_PARAM " + std::to_string(index), errno);
    return value;
}

Result<std::vector<std::byte>> XenDomain::record(uint16_t type, size_t most) const
{
    std::vector<std::byte> bytes(most);
    if (xc_domain_hvm_getcontext_partial(handles_->control, id_, type, 0, bytes.data(),
                                         static_cast<uint32_t>(bytes.size())) < 0)
        return fail_errno("reading record " + std::to_string(type) + " of the domain's state",
                          errno);
    return bytes;
}

Result<uint32_t> XenDomain::tsc_khz() const
{
    uint32_t mode = 0;
    uint64_t elapsed = 0;
    uint32_t khz = 0;
    uint32_t incarnation = 0;
    if (xc_domain_get_tsc_info(handles_->control, id_, &mode, &elapsed, &khz, &incarnation) < 0)
        return fail_errno("asking for the frequency of the domain's counter", errno);
    return khz;
}

Result<uint64_t> XenDomain::last_frame() const
{
    xen_pfn_t last = 0;
    if (xc_domain_maximum_gpfn(handles_->control, id_, &last) < 0)
        return fail_errno("asking where the domain's memory ends", errno);
    return last;
}

Status XenDomain::read(uint64_t first_frame, std::span<std::byte> into, std::span<bool> there) const
{
    std::array<xen_pfn_t, frames_at_once> frames{};
    std::array<int, frames_at_once> errors{};
    const size_t all = into.size() / frame_size;
    for (size_t done = 0; done < all; done += frames_at_once) {
        const size_t count = std::min(all - done, frames_at_once);
        for (size_t i = 0; i < count; ++i)
            frames[i] = first_frame + done + i;
        void* map = xenforeignmemory_map(handles_->memory, id_, PROT_READ, count, frames.data(),
                                         errors.data());
        if (!map)
            return fail_errno("reading the guest's memory", errno);
        for (size_t i = 0; i < count; ++i) {
            std::byte* to = into.data() + (done + i) * frame_size;
            if (errors[i] == 0)
                memcpy(to, static_cast<const std::byte*>(map) + i * frame_size, frame_size);
            else
                memset(to, 0, frame_size);
            if (!there.empty())
                there[done + i] = errors[i] == 0;
        }
        xenforeignmemory_unmap(handles_->memory, map, count);
    }
    return {};
}

Status XenDomain::set_context(std::span<const std::byte> context)
{
    std::vector<uint8_t> bytes(context.size()); // Xen's library wants to be able to write it
    memcpy(bytes.data(), context.data(), context.size());
    if (xc_domain_hvm_setcontext(handles_->control, id_, bytes.data(),
                                 static_cast<uint32_t>(bytes.size())) < 0)
        return fail_errno("giving the domain its state", errno);
    return {};
}

Status XenDomain::set_tsc(const TscInfo& tsc)
{
    if (xc_domain_set_tsc_info(handles_->control, id_, tsc.mode, tsc.elapsed, tsc.khz,
                               tsc.incarnation) < 0)
        return fail_errno("setting how the domain's TSC goes", errno);
    return {};
}

Status XenDomain::populate(std::span<const uint64_t> frames)
{
    std::vector<xen_pfn_t> wanted(frames.begin(), frames.end());
    if (!wanted.empty() && xc_domain_populate_physmap_exact(handles_->control, id_, wanted.size(),
                                                            0, 0, wanted.data()) < 0)
        return fail_errno("giving the domain more memory", errno);
    return {};
}

Result<std::byte*> XenDomain::map(uint64_t first, std::span<bool> there) const
{
    std::vector<xen_pfn_t> frames(there.size());
    std::vector<int> errors(there.size());
    for (size_t i = 0; i < frames.size(); ++i)
        frames[i] = first + i;
    void* map = xenforeignmemory_map(handles_->memory, id_, PROT_READ | PROT_WRITE, frames.size(),
                                     frames.data(), errors.data());
    if (!map)
        return fail_errno("mapping the guest's memory", errno);
    for (size_t i = 0; i < errors.size(); ++i)
        there[i] = errors[i] == 0;
    return static_cast<std::byte*>(map);
}

void XenDomain::unmap(std::byte* map, size_t frames) const
{
    xenforeignmemory_unmap(handles_->memory, map, frames);
}

Status XenDomain::start_log()
{
    xc_interface* control = handles_->control;
    unsigned operation = XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY;
    int done = xc_shadow_control(control, id_, operation, nullptr, 0);
    if (done < 0) { // on already: somebody was ended in the midst of it
        stop_log();
        done = xc_shadow_control(control, id_, operation, nullptr, 0);
    }
    if (done < 0)
        return fail_errno("beginning to track the guest's writes (log-dirty)", errno);
    return {};
}

void XenDomain::stop_log()
{
    xc_shadow_control(handles_->control, id_, XEN_DOMCTL_SHADOW_OP_OFF, nullptr, 0);
}

Status XenDomain::take_log(std::span<uint64_t> words)
{
    HypercallBuffer buffer(handles_->control, words.size_bytes());
    if (!buffer.bytes())
        return fail_errno("memory for Xen's dirty log", errno);
    memset(buffer.bytes(), 0, words.size_bytes());
    const unsigned long pages = words.size() * 64;
    if (xc_logdirty_control(handles_->control, id_, XEN_DOMCTL_SHADOW_OP_CLEAN, buffer.get(), pages,
                            0, nullptr) < 0)
        return fail_errno("reading Xen's dirty log", errno);
    memcpy(words.data(), buffer.bytes(), words.size_bytes());
    return {};
}

} // namespace drover::xen
