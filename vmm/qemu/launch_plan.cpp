// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/launch_plan.h"

#include "migration/policy/policy.h"
#include "vmm/qemu/accel_plan.h"
#include "vmm/qemu/binary.h"
#include "vmm/qemu/command_line.h"
#include "vmm/qemu/config_file.h"
#include "vmm/qemu/default_ports.h"
#include "vmm/qemu/disk_aio.h"
#include "vmm/qemu/monitor_plan.h"
#include "vmm/qemu/opts.h"

#include <algorithm>

namespace drover::qemu {

namespace {

constexpr std::string_view vmm_help =
    "-vmm qemu[,path=PROGRAM][,aio=threads|keep]\n"
    "                          the machine is stock QEMU: PROGRAM, or the qemu-system-ARCH found\n"
    "                          in the search path (the default). Disks with aio=native or\n"
    "                          io_uring have aio=threads, so that the guest can be migrated;\n"
    "                          with aio=keep they have what is written, and it cannot\n"
    "-vmm microvm              Drover's own machine; not in this version\n";

bool is_help(std::string_view text)
{
    return text == "help" || text == "?";
}

/// Drover's own options: they never reach QEMU.
struct OwnOptions {
    std::string policy;
    std::string qemu_path;
    bool keep_aio = false;
    std::string help;
};

Status read_vmm(const std::string& text, OwnOptions& own)
{
    const auto opts = Opts::parse(text, "vmm");
    if (!opts)
        return std::unexpected(opts.error());
    const std::string kind = opts->get("vmm").value_or("");
    if (kind == "microvm")
        return fail(ErrorKind::Invalid, "-vmm microvm is not in this version", "use -vmm qemu");
    if (kind != "qemu")
        return fail(ErrorKind::Invalid, "-vmm " + text + ": there is no such machine",
                    "-vmm help lists them");
    for (const Opts::Item& item : opts->items())
        if (item.key != "vmm" && item.key != "path" && item.key != "aio")
            return fail(ErrorKind::Invalid, "-vmm qemu has no option '" + item.key + "'",
                        "-vmm help lists them");
    own.qemu_path = opts->get("path").value_or(own.qemu_path);
    const std::string aio = opts->get("aio").value_or(own.keep_aio ? "keep" : "threads");
    if (aio != "threads" && aio != "keep")
        return fail(ErrorKind::Invalid, "-vmm qemu,aio=" + aio + ": there is no such value",
                    "-vmm help lists them");
    own.keep_aio = aio == "keep";
    return {};
}

Result<OwnOptions> take_own_options(CommandLine& line)
{
    OwnOptions own;
    for (const Word& word : line.words()) {
        const bool policy = word.is("migrate-policy");
        if (!policy && !word.is("vmm"))
            continue;
        if (!word.argument)
            return fail(ErrorKind::Invalid, "-" + word.name + " needs an argument",
                        "-" + word.name + " help explains it");
        if (is_help(word.text()))
            own.help += policy ? policy_help() : vmm_help;
        else if (policy)
            own.policy += (own.policy.empty() ? "" : ",") + word.text();
        else if (auto status = read_vmm(word.text(), own); !status)
            return pass(status);
    }
    line.remove("migrate-policy");
    line.remove("vmm");
    return own;
}

Status refuse_conflicts(const CommandLine& line)
{
    if (line.has("preconfig"))
        return fail(ErrorKind::Invalid, "-preconfig is not supported",
                    "Drover sets the machine up itself, before it starts: say on the command line "
                    "what you would have said by QMP");
    // -nographic alone puts serial port, parallel port and monitor on standard input, which a
    // daemon has not; where all three go elsewhere, as LXD and Incus have it, both may be said.
    if (line.has("daemonize") && line.has("nographic") && default_ports(line).any())
        return fail(ErrorKind::Invalid, "-nographic cannot be used with -daemonize",
                    "use -display none, or -nodefaults, or say where -serial, -parallel and "
                    "-monitor go");
    return {};
}

/// QEMU itself would leave a daemon's standard input to nobody.
Status refuse_stdio_of_daemon(const CommandLine& line, const LaunchPlan& plan)
{
    if (!plan.daemonize ||
        (!uses_stdio(line) && std::ranges::count(plan.monitors, MonitorEndpoint::Kind::Stdio,
                                                 &MonitorEndpoint::kind) == 0))
        return {};
    return fail(ErrorKind::Invalid, "standard input and output cannot be used with -daemonize",
                "use a socket or a file");
}

/// The last argument of an option that Drover carries out itself.
std::string take_last(CommandLine& line, std::string_view option)
{
    const Word* word = line.find_last(option);
    std::string text = word != nullptr ? word->text() : "";
    line.remove(option);
    return text;
}

bool take_flag(CommandLine& line, std::string_view option)
{
    const bool given = line.has(option);
    line.remove(option);
    return given;
}

std::string guest_name(const CommandLine& line)
{
    const Word* word = line.find_last("name");
    if (word == nullptr)
        return {};
    const auto opts = Opts::parse(word->text(), "guest");
    return opts ? opts->get("guest").value_or("") : "";
}

/// Each migration needs QEMU's capability x-ignore-shared, which its QMP calls unstable.
std::optional<std::string> refuses_unstable(const CommandLine& line)
{
    std::string policy;
    for (const Word& word : line.words())
        if (word.is("compat"))
            if (const auto opts = Opts::parse(word.text(), "deprecated-input"))
                policy = opts->get("unstable-input").value_or(policy);
    if (policy.empty() || policy == "accept")
        return std::nullopt;
    return "-compat unstable-input=" + policy +
           " forbids QEMU's capability x-ignore-shared, by which Drover moves a guest; leave it "
           "off";
}

bool says_memory(const CommandLine& line)
{
    return !line.machine_property("memory.size").empty() ||
           !line.machine_property("memory-backend").empty() ||
           std::ranges::any_of(line.words(), [](const Word& word) {
               const auto opts = Opts::parse(word.text(), "size");
               return word.is("m") && opts && opts->has("size");
           });
}

/// The RAM of a machine becomes a file of ours, so its size has to be known, and some machines take
/// no other than their own. Those of x86 have 128 MiB by default, as the RAM's plan takes it.
void spell_out_memory(CommandLine& line, const HostFacts& host, const LaunchPlan& plan)
{
    if (plan.architecture == "x86_64" || plan.architecture == "i386" || says_memory(line))
        return;
    if (const auto size = host.default_memory(plan.binary, line.machine_property("type")))
        line.append("m", std::to_string(*size) + "B");
}

Status fill_plan(CommandLine& line, const HostFacts& host, LaunchPlan& plan)
{
    if (auto status = expand_config_files(line, host); !status)
        return status;
    if (auto status = refuse_conflicts(line); !status)
        return status;
    plan.name = guest_name(line);
    plan.start_paused = take_flag(line, "S");
    plan.daemonize = take_flag(line, "daemonize");
    plan.pidfile = take_last(line, "pidfile");
    auto incoming = plan_incoming(line);
    if (!incoming)
        return pass(incoming);
    plan.incoming = std::move(*incoming);
    if (auto status = plan_accelerator(line, host, plan.notes); !status)
        return status;
    auto monitors = plan_monitors(line);
    if (!monitors)
        return pass(monitors);
    plan.monitors = std::move(*monitors);
    if (auto status = refuse_stdio_of_daemon(line, plan); !status)
        return status;
    if (!plan.keep_aio && use_aio_threads(line))
        plan.notes.emplace_back("disks have aio=threads here, so that this guest can be migrated "
                                "(-vmm qemu,aio=keep leaves them as they are written)");
    spell_out_memory(line, host, plan);
    auto ram = plan_ram(line, plan.architecture, host, plan.notes);
    if (!ram)
        return pass(ram);
    plan.ram = std::move(*ram);
    for (RamFile& file : plan.ram)
        file.argument = line.argument_index(file.argument);
    plan.arguments = line.arguments();
    plan.aio.learn(plan.arguments, host);
    plan.blocker = refuses_unstable(line);
    if (plan.blocker)
        plan.notes.push_back("this guest cannot be migrated: " + *plan.blocker);
    return {};
}

} // namespace

Result<LaunchPlan> plan_launch(std::string_view program_name,
                               std::span<const std::string> arguments, const HostFacts& host)
{
    LaunchPlan plan;
    CommandLine line = CommandLine::parse(arguments);
    auto own = take_own_options(line);
    if (!own)
        return pass(own);
    if (!own->help.empty()) {
        plan.own_help = own->help;
        return plan;
    }
    plan.migrate_policy = own->policy;
    plan.keep_aio = own->keep_aio;
    plan.architecture = architecture_of(program_name);
    auto binary = find_qemu(plan.architecture, own->qemu_path, host);
    if (!binary)
        return pass(binary);
    plan.binary = std::move(*binary);
    if (is_probe_line(line)) {
        plan.execute_unchanged = true;
        plan.arguments = line.arguments();
        return plan;
    }
    if (auto status = fill_plan(line, host, plan); !status)
        return pass(status);
    return plan;
}

std::vector<std::string> qemu_arguments(const LaunchPlan& plan, std::span<const int> ram_fds,
                                        std::span<const int> qmp_fds)
{
    std::vector<std::string> arguments = plan.arguments;
    for (size_t i = 0; i < plan.ram.size() && i < ram_fds.size(); ++i) {
        std::string& text = arguments[plan.ram[i].argument];
        const size_t at = text.find(ram_placeholder);
        if (at != std::string::npos)
            text.replace(at, ram_placeholder.size(), "/proc/self/fd/" + std::to_string(ram_fds[i]));
    }
    for (size_t i = 0; i < qmp_fds.size(); ++i) {
        const std::string id = "drover-qmp-" + std::to_string(i);
        arguments.insert(arguments.end(),
                         {"-chardev", "socket,id=" + id + ",fd=" + std::to_string(qmp_fds[i]),
                          "-mon", "chardev=" + id + ",mode=control"});
    }
    if (!plan.pidfile.empty())
        arguments.insert(arguments.end(), {"-pidfile", plan.pidfile});
    arguments.emplace_back("-S");
    if (plan.incoming.present)
        arguments.insert(arguments.end(), {"-incoming", "defer"});
    return arguments;
}

} // namespace drover::qemu
