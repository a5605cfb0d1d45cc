// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/accel_plan.h"

#include "vmm/qemu/opts.h"

#include <algorithm>

namespace drover::qemu {

namespace {

std::string accelerator_of(const Word& word)
{
    const auto opts = Opts::parse(word.text(), "accel");
    return opts ? opts->get("accel").value_or("") : "";
}

/// The accelerator that QEMU would try first; empty for its default.
std::string first_accelerator(const CommandLine& line)
{
    for (const Word& word : line.words())
        if (word.is("accel"))
            return accelerator_of(word);
    const std::string list = line.machine_property("accel");
    if (list.empty() && line.has("enable-kvm"))
        return "kvm";
    return list.substr(0, list.find(':'));
}

constexpr const char* let_tcg_follow =
    "-accel kvm -accel tcg lets the guest run under TCG where there is no KVM, slowly";

/// Whether the user named TCG as what to take where KVM cannot be had.
bool allows_tcg(const CommandLine& line)
{
    if (line.has("accel"))
        return std::ranges::any_of(line.words(), [](const Word& word) {
            return word.is("accel") && accelerator_of(word) == "tcg";
        });
    const std::string list = ":" + line.machine_property("accel") + ":";
    return list.find(":tcg:") != std::string::npos;
}

std::string without_kvm(const std::string& list)
{
    std::string rest;
    for (size_t start = 0; start <= list.size();) {
        const size_t end = std::min(list.find(':', start), list.size());
        const std::string one = list.substr(start, end - start);
        if (one != "kvm")
            rest += (rest.empty() ? "" : ":") + one;
        start = end + 1;
    }
    return rest.empty() ? "tcg" : rest;
}

void edit_machine(Word& word)
{
    auto opts = Opts::parse(word.text(), "type");
    if (!opts)
        return;
    if (const auto list = opts->get("accel")) {
        opts->set("accel", without_kvm(*list));
        word.argument = opts->text();
    }
}

/// "host" exists under KVM only; "max" is its counterpart.
void edit_cpu(Word& word)
{
    const std::string& text = word.text();
    if (text == "host" || text.starts_with("host,"))
        word.argument = "max" + text.substr(4);
}

/// Plain QEMU's RAM gets transparent huge pages; a shared file only where this setting lets it.
/// Without them a guest under KVM is slower.
void note_small_pages(const HostFacts& host, std::vector<std::string>& notes)
{
    const char* const setting = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    const auto text = host.read_file(setting);
    if (text &&
        (text->find("[never]") != std::string::npos || text->find("[deny]") != std::string::npos))
        notes.push_back(std::string("guest RAM gets no transparent huge pages here, which costs "
                                    "speed under KVM: write \"advise\" to ") +
                        setting + ", or give the guest hugetlbfs memory");
}

} // namespace

Status plan_accelerator(CommandLine& line, const HostFacts& host, std::vector<std::string>& notes)
{
    if (first_accelerator(line) != "kvm")
        return {};
    const KvmFact kvm = host.kvm();
    if (kvm.usable || (kvm.runs && !allows_tcg(line))) {
        note_small_pages(host, notes);
        if (!kvm.usable)
            notes.push_back("KVM is slow (" + kvm.reason + "): " + let_tcg_follow);
        return {};
    }
    if (!allows_tcg(line))
        return fail(ErrorKind::Invalid, "KVM is not usable: " + kvm.reason, let_tcg_follow);
    notes.push_back("KVM is not usable (" + kvm.reason + "): the guest runs under TCG, slowly");
    line.remove("enable-kvm");
    std::erase_if(line.words(), [](const Word& word) {
        return word.is("accel") && accelerator_of(word) == "kvm";
    });
    for (Word& word : line.words()) {
        if (word.is_machine())
            edit_machine(word);
        else if (word.is("cpu"))
            edit_cpu(word);
    }
    if (!line.has("accel") && line.machine_property("accel").empty())
        line.append("accel", "tcg");
    return {};
}

} // namespace drover::qemu
