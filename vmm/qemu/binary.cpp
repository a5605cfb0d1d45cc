// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/binary.h"

#include <array>
#include <sys/utsname.h>

namespace drover::qemu {

namespace {

struct Package {
    std::string_view architectures; ///< a prefix of each, separated by spaces
    std::string_view name;
};

// Debian's packages, of release 12.
constexpr std::array packages = std::to_array<Package>({
    {"x86_64 i386", "qemu-system-x86"},
    {"aarch64 arm", "qemu-system-arm"},
    {"ppc", "qemu-system-ppc"},
    {"mips", "qemu-system-mips"},
    {"sparc", "qemu-system-sparc"},
});

std::string_view package_of(std::string_view architecture)
{
    for (const Package& package : packages) {
        std::string_view rest = package.architectures;
        while (!rest.empty()) {
            const size_t end = std::min(rest.find(' '), rest.size());
            if (architecture.starts_with(rest.substr(0, end)))
                return package.name;
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
    }
    return "qemu-system-misc";
}

std::string host_architecture()
{
    utsname name{};
    if (uname(&name) < 0)
        return "x86_64";
    const std::string_view machine = name.machine;
    return std::string(machine == "i686" ? "i386" : machine);
}

} // namespace

std::string architecture_of(std::string_view program_name)
{
    constexpr std::string_view mark = "-system-";
    const std::string_view base = program_name.substr(program_name.rfind('/') + 1);
    const size_t at = base.find(mark);
    if (at == std::string_view::npos || at + mark.size() == base.size())
        return host_architecture();
    return std::string(base.substr(at + mark.size()));
}

Result<std::string> find_qemu(std::string_view architecture, const std::string& chosen,
                              const HostFacts& host)
{
    if (!chosen.empty()) {
        if (!host.is_executable(chosen))
            return fail(ErrorKind::Invalid, "-vmm qemu,path=" + chosen + ": no such program");
        if (host.is_own_executable(chosen))
            return fail(ErrorKind::Invalid, "-vmm qemu,path=" + chosen + " is Drover itself",
                        "name the distribution's QEMU");
        return chosen;
    }
    const std::string name = "qemu-system-" + std::string(architecture);
    std::string_view rest = host.search_path;
    while (!rest.empty()) {
        const size_t end = std::min(rest.find(':'), rest.size());
        const std::string candidate = std::string(rest.substr(0, end)) + "/" + name;
        // A link of this name to Drover, put before QEMU in the path, is a way to use Drover.
        if (end > 0 && host.is_executable(candidate) && !host.is_own_executable(candidate))
            return candidate;
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return fail(ErrorKind::Machine, name + " is not installed",
                "install the Debian package " + std::string(package_of(architecture)) +
                    ", or name the program with -vmm qemu,path=PROGRAM");
}

} // namespace drover::qemu
