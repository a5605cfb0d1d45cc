// SPDX-License-Identifier: GPL-2.0-or-later
#include "accel/kvm/probe.h"

#include "util/clock.h"
#include "util/fd.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace drover::kvm {

#if defined(__x86_64__)

namespace {

constexpr uint64_t code_address = 0x1000;
constexpr uint32_t loop_count = 5'000;
constexpr double loop_instructions = 2.0 * loop_count;
constexpr int time_limit_ms = 1000;
/// A run may be unlucky on a busy host: others follow, this many and until this time is spent.
constexpr int least_runs = 3;
constexpr double patience_s = 0.12;

/// Real mode, ecx holds the count: again: dec ecx; jnz again; hlt.
constexpr std::array<unsigned char, 5> loop_code = {0x66, 0x49, 0x75, 0xfc, 0xf4};

/// What the child tells its parent.
struct Report {
    double best_seconds = 0; ///< of one run of the loop; 0 if `step` failed
    int error = 0;
    int step = 0; ///< index into steps
};

constexpr std::array steps = {
    "making a virtual machine", "giving it memory",      "making a virtual CPU",
    "mapping its state",        "setting its registers", "running it",
};

/// The virtual machine, made of bare descriptors and mappings: it lives in a child that does
/// nothing else and whose end frees everything.
struct Guest {
    int vm = -1;
    int cpu = -1;
    kvm_run* run = nullptr;
    int step = 0; ///< the one under way

    bool make(int kvm);
    bool run_loop(uint32_t count);
};

bool Guest::make(int kvm)
{
    vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
    if (vm < 0)
        return false;
    ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000UL); // needed by old Intel CPUs only
    step = 1;
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return false;
    std::memcpy(page, loop_code.data(), loop_code.size());
    kvm_userspace_memory_region region{};
    region.guest_phys_addr = code_address;
    region.memory_size = 4096;
    region.userspace_addr = reinterpret_cast<uint64_t>(page);
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return false;
    step = 2;
    cpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
    if (cpu < 0)
        return false;
    step = 3;
    const int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0UL);
    if (size < static_cast<int>(sizeof(kvm_run)))
        return false;
    void* state =
        mmap(nullptr, static_cast<size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    run = static_cast<kvm_run*>(state);
    return state != MAP_FAILED;
}

bool Guest::run_loop(uint32_t count)
{
    step = 4;
    kvm_sregs special{};
    if (ioctl(cpu, KVM_GET_SREGS, &special) < 0)
        return false;
    special.cs.base = 0;
    special.cs.selector = 0;
    kvm_regs registers{};
    registers.rip = code_address;
    registers.rcx = count;
    registers.rflags = 2;
    if (ioctl(cpu, KVM_SET_SREGS, &special) < 0 || ioctl(cpu, KVM_SET_REGS, &registers) < 0)
        return false;
    step = 5;
    while (ioctl(cpu, KVM_RUN, 0UL) < 0)
        if (errno != EINTR && errno != EAGAIN)
            return false;
    errno = 0;
    return run->exit_reason == KVM_EXIT_HLT;
}

[[noreturn]] void run_child(int kvm, int report_fd, pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1);
    Report report;
    Guest guest;
    const TimePoint begin = Clock::now();
    // The first entry pays for things that are not the guest's speed.
    bool good = guest.make(kvm) && guest.run_loop(1);
    bool fast = false;
    for (int i = 0; good && !fast; ++i) {
        if (i >= least_runs && seconds_since(begin) > patience_s)
            break;
        const TimePoint start = Clock::now();
        good = guest.run_loop(loop_count);
        const double seconds = std::max(seconds_since(start), 1e-9);
        report.best_seconds = i == 0 ? seconds : std::min(report.best_seconds, seconds);
        fast = KvmSpeed{loop_instructions / report.best_seconds}.usable();
    }
    if (!good)
        report = {0, errno, guest.step};
    [[maybe_unused]] const ssize_t written = write(report_fd, &report, sizeof report);
    _exit(0);
}

Result<KvmSpeed> judge(const Report& report)
{
    if (report.best_seconds > 0)
        return KvmSpeed{loop_instructions / report.best_seconds};
    const size_t step = std::clamp<size_t>(static_cast<size_t>(report.step), 0, steps.size() - 1);
    if (report.error != 0)
        return fail_errno(std::string("/dev/kvm: ") + steps[step], report.error);
    return fail(ErrorKind::System, std::string("/dev/kvm: ") + steps[step] + " went wrong");
}

/// The child's report, unless it dies. One that takes too long tells a speed, too.
Result<Report> await_report(int fd)
{
    const TimePoint start = Clock::now();
    int left = time_limit_ms;
    pollfd waiting{.fd = fd, .events = POLLIN};
    int ready = 0;
    while ((ready = poll(&waiting, 1, left)) < 0 && errno == EINTR)
        left = std::max(0, time_limit_ms - static_cast<int>(milliseconds_since(start)));
    if (ready == 0)
        return Report{time_limit_ms / 1e3, 0, 0};
    if (ready < 0)
        return fail_errno("waiting for the process that tries /dev/kvm", errno);
    Report report;
    if (read(fd, &report, sizeof report) != static_cast<ssize_t>(sizeof report))
        return fail(ErrorKind::System, "/dev/kvm: the process that tried it died");
    return report;
}

} // namespace

Result<KvmSpeed> probe_kvm()
{
    UniqueFd kvm(open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (!kvm) {
        auto failed = fail_errno("opening /dev/kvm", errno);
        if (errno == EACCES)
            failed.error().hint = "add your user to the group kvm";
        return failed;
    }
    if (ioctl(kvm.get(), KVM_GET_API_VERSION, 0UL) != KVM_API_VERSION)
        return fail(ErrorKind::System, "/dev/kvm speaks another version of its interface");
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return fail_errno("making a pipe", errno);
    const UniqueFd reading(fds[0]);
    UniqueFd writing(fds[1]);

    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child < 0)
        return fail_errno("forking", errno);
    if (child == 0)
        run_child(kvm.get(), writing.get(), parent);
    writing.reset();
    const auto report = await_report(reading.get());
    kill(child, SIGKILL);
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (!report)
        return std::unexpected(report.error());
    return judge(*report);
}

#else

Result<KvmSpeed> probe_kvm()
{
    return fail(ErrorKind::System, "Drover cannot try KVM on this architecture yet");
}

#endif

} // namespace drover::kvm
