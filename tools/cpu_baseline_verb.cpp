// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/cpu_baseline.h"
#include "tools/fleet_link.h"
#include "tools/verbs.h"
#include "util/fd.h"
#include "vmm/qemu/binary.h"
#include "vmm/qemu/cpu_description.h"

#include <cstdio>
#include <sys/stat.h>
#include <unistd.h>

namespace drover::tools {

namespace {

constexpr size_t most_hosts = 1000;
constexpr size_t largest_description = 4U << 20; ///< bytes
constexpr std::chrono::seconds ask_limit{60};    ///< all hosts together

bool is_file(const std::string& path)
{
    struct stat info {};
    return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

Result<CpuHost> read_host_file(const std::string& path)
{
    auto text = read_file(path, largest_description);
    auto json = text ? parse_json(*text) : pass(text);
    if (!json)
        return std::unexpected(std::move(json.error()).in(path));
    return CpuHost::from_json(path, *json);
}

void print_list(const char* title, const std::vector<std::string>& lines)
{
    for (const std::string& line : lines)
        printf("%s: %s\n", title, clean(line).c_str());
}

void print_baseline(const CpuBaseline& baseline)
{
    if (!baseline.words.empty())
        printf("-cpu %s\n", baseline.words.c_str());
    for (const auto& [host, words] : baseline.xl_words)
        printf("%s: %s%s\n", clean(host).c_str(),
               words.empty() ? "no cpuid= is needed" : "cpuid = ", clean(words).c_str());
    for (const auto& [name, value] : baseline.registers)
        printf("%s: 0x%llx\n", name.c_str(), static_cast<unsigned long long>(value));
    if (baseline.xcr0 != 0)
        printf("XCR0: 0x%llx, XSAVE area: %llu bytes\n",
               static_cast<unsigned long long>(baseline.xcr0),
               static_cast<unsigned long long>(baseline.xsave_bytes));
    print_list("left out", baseline.left_out);
    print_list("note", baseline.notes);
}

/// Writes what this host can give: `drover cpu-baseline --describe`.
class DescribeVerb {
public:
    explicit DescribeVerb(qemu::CpuInquiry::Wish wish)
        : inquiry_(std::move(wish), [this](Result<Json> told) {
              if (!told)
                  return run_.fail(told.error());
              printf("%s\n", dump_json(*told).c_str());
              run_.end(exit_done);
          })
    {
    }
    int run() { return run_.run(); }

private:
    ToolRun run_;
    qemu::CpuInquiry inquiry_;
};

/// Asks the hosts one after another, then computes.
class BaselineVerb {
public:
    explicit BaselineVerb(FleetOptions options) : options_(std::move(options)) {}

    int run()
    {
        limit_ = loop::after(ask_limit, [this] {
            run_.fail({ErrorKind::Refused, name() + " did not answer in time", ""});
        });
        loop::post([this] { ask_next(); });
        return run_.run();
    }

private:
    [[nodiscard]] const std::string& name() const { return options_.plain[hosts_.size()]; }

    void ask_next()
    {
        if (hosts_.size() == options_.plain.size())
            return finish();
        if (is_file(name()))
            return take(read_host_file(name()));
        if (name().find_first_of("/:") == std::string::npos)
            return ask_fleet();
        Status started = run_.start(
            name(), [](const Json&) {},
            [this] {
                qemu::describe_cpus(run_.client(), "",
                                    [this](const Result<Json>& told) { described(told); });
            });
        if (!started)
            run_.fail(started.error());
    }

    /// The balancer knows the way to each host.
    void ask_fleet()
    {
        if (link_)
            return ask_balancer();
        link_ = std::make_unique<FleetLink>(
            options_, FleetLink::Callbacks{[this] { ask_balancer(); }, nullptr,
                                           [this](const Error& why) { run_.fail(why); }});
    }

    void ask_balancer()
    {
        link_->client().execute("query-host-cpus", {{"host", name()}},
                                [this](const Result<Json>& told) { described(told); });
    }

    void described(const Result<Json>& told)
    {
        take(told ? CpuHost::from_json(name(), *told)
                  : std::unexpected(Error(told.error()).in(name())));
    }

    void take(Result<CpuHost> host)
    {
        if (!host)
            return run_.fail(host.error());
        hosts_.push_back(std::move(*host));
        loop::post([this] { ask_next(); }); // not from within who has answered
    }

    void finish()
    {
        const auto baseline = cpu_baseline(hosts_);
        if (!baseline)
            return run_.fail(baseline.error());
        if (options_.json)
            printf("%s\n", dump_json(baseline->to_json(), isatty(STDOUT_FILENO) != 0).c_str());
        else
            print_baseline(*baseline);
        run_.end(exit_done);
    }

    FleetOptions options_;
    ToolRun run_;
    std::unique_ptr<FleetLink> link_;
    loop::Source limit_;
    std::vector<CpuHost> hosts_;
};

Result<int> describe_this_host(const FleetOptions& options)
{
    if (!options.plain.empty())
        return fail(ErrorKind::Invalid, "--describe takes no host: it writes of this one");
    auto binary = qemu::find_qemu("x86_64", own_option(options, "--qemu").value_or(""),
                                  qemu::HostFacts::of_this_host());
    if (!binary)
        return pass(binary);
    const std::string accelerator = own_option(options, "--accel").value_or("kvm");
    if (accelerator != "kvm" && accelerator != "tcg")
        return fail(ErrorKind::Invalid, "--accel " + accelerator + ": it is kvm or tcg");
    return DescribeVerb({.binary = *binary,
                         .accelerator = accelerator,
                         .model = own_option(options, "--cpu").value_or("")})
        .run();
}

} // namespace

Result<int> run_cpu_baseline(Words words)
{
    auto options = parse_fleet_options(words, {"--describe", "--qemu=", "--accel=", "--cpu="});
    if (!options)
        return pass(options);
    if (own_option(*options, "--describe"))
        return describe_this_host(*options);
    if (options->plain.empty() || options->plain.size() > most_hosts)
        return fail(ErrorKind::Invalid, "1 to 1,000 hosts are needed");
    return BaselineVerb(std::move(*options)).run();
}

} // namespace drover::tools
