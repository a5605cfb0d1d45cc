// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/hardware.h"
#include "vmm/qemu/layout.h"
#include "vmm/qemu/qemu_machine.h"
#include "vmm/qemu/qmp_sequence.h"

namespace drover::qemu {

namespace {

Json qom_get(const char* path, const char* property)
{
    return Json{{"path", path}, {"property", property}};
}

/// "pc-i440fx-7.2-machine" → "pc-i440fx-7.2".
std::string without_suffix(std::string text, std::string_view suffix)
{
    if (text.ends_with(suffix))
        text.resize(text.size() - suffix.size());
    return text;
}

/// The children of a QOM container that are devices: name → type.
void add_devices(const Json& properties, const std::string& prefix, Json& devices)
{
    if (!properties.is_array())
        return;
    for (const Json& property : properties) {
        const std::string type = json_string(property, "type");
        if (type.starts_with("child<") && type.ends_with(">"))
            devices[prefix + json_string(property, "name")] = type.substr(6, type.size() - 7);
    }
}

/// x86's feature words, one number for each CPUID register.
Json feature_registers(const Json& words)
{
    Json registers = Json::object();
    if (!words.is_array())
        return registers;
    for (const Json& word : words) {
        char name[64];
        snprintf(name, sizeof name, "CPUID.%llX.%llX:%s",
                 static_cast<unsigned long long>(json_u64(word, "cpuid-input-eax")),
                 static_cast<unsigned long long>(json_u64(word, "cpuid-input-ecx")),
                 json_string(word, "cpuid-register").substr(0, 3).c_str());
        registers[name] = json_u64(word, "features");
    }
    return registers;
}

} // namespace

void QemuMachine::describe(std::function<void(Result<Json>)> done)
{
    std::vector<QmpStep> steps;
    steps.push_back({"qom-get", qom_get("/machine", "type")});
    steps.push_back({"query-cpus-fast"});
    steps.push_back({"query-kvm"});
    steps.push_back({"qom-list", Json{{"path", "/machine/peripheral"}}});
    steps.push_back({"qom-list", Json{{"path", "/machine/peripheral-anon"}}});
    steps.push_back({"query-memdev"});
    steps.push_back({"query-uuid"});
    run_sequence(
        qmp_, std::move(steps), [alive = alive_] { return *alive; },
        [this, alive = alive_, done = std::move(done)](Result<std::vector<Json>> answers) mutable {
            if (!*alive)
                return;
            if (!answers)
                return done(pass(answers));
            // Every byte of guest RAM has one carrier: QEMU leaves all shared RAM out of its
            // stream, so what is shared and not Drover's would arrive empty. Said on both sides,
            // before a page moves: a destination's own would never be filled.
            if (const auto lost = uncarried_memory((*answers)[5], ram_names()); !lost.empty())
                return done(fail(ErrorKind::Refused, lost.front()));
            describe_features(describe_from(*answers), std::move(done));
        });
}

Json QemuMachine::describe_from(const std::vector<Json>& answers)
{
    const Json& type = answers[0];
    const Json& cpus = answers[1];
    Json devices = Json::object();
    add_devices(answers[3], "", devices);
    add_devices(answers[4], "unnamed ", devices);
    std::vector<pid_t> threads;
    for (const Json& cpu : cpus)
        threads.push_back(static_cast<pid_t>(json_u64(cpu, "thread-id")));
    if (threads != vcpu_threads_) { // vCPUs came or went, and it is another question
        vcpu_threads_ = std::move(threads);
        brake_.reset();
        no_brake_.reset();
    }
    gives_memory_back_ = false;
    for (const auto& [name, device] : devices.items()) {
        const std::string device_type = json_string(devices, name.c_str());
        if (device_type.find("balloon") != std::string::npos ||
            device_type.starts_with("virtio-mem"))
            gives_memory_back_ = true;
    }
    return Json{
        {"kind", "qemu"},
        {"version", config_.version},
        {"arch", config_.architecture},
        {"machine",
         without_suffix(type.is_string() ? type.get<std::string>() : std::string(), "-machine")},
        {"accelerator", json_bool(answers[2], "enabled") ? "kvm" : "tcg"},
        {"cpus", cpus.is_array() ? cpus.size() : 0},
        {"first_cpu", cpus.is_array() && !cpus.empty() ? json_string(cpus[0], "qom-path") : ""},
        {"devices", std::move(devices)},
        {"uuid", json_string(answers[6], "UUID")},
    };
}

/// The CPU's model and features; other architectures than x86 have no feature words.
void QemuMachine::describe_features(Json description, std::function<void(Result<Json>)> done)
{
    const std::string cpu = json_string(description, "first_cpu");
    description.erase("first_cpu");
    qmp_.execute("qom-get", qom_get(cpu.c_str(), "type"),
                 [this, alive = alive_, cpu, description = std::move(description),
                  done = std::move(done)](Result<Json> type) mutable {
                     if (!*alive)
                         return;
                     if (type && type->is_string())
                         description["cpu_model"] =
                             without_suffix(type->get<std::string>(), "-cpu");
                     qmp_.execute("qom-get", qom_get(cpu.c_str(), "feature-words"),
                                  [this, alive, cpu, description = std::move(description),
                                   done = std::move(done)](const Result<Json>& words) mutable {
                                      if (!*alive)
                                          return;
                                      if (words)
                                          description["cpu_features"] = feature_registers(*words);
                                      describe_layout(cpu, std::move(description), std::move(done));
                                  });
                 });
}

/// What QEMU would find different only while it loads the devices.
void QemuMachine::describe_layout(const std::string& cpu, Json description,
                                  std::function<void(Result<Json>)> done)
{
    ask_layout(qmp_, cpu,
               [this, alive = alive_, description = std::move(description),
                done = std::move(done)](const Json& layout) mutable {
                   if (!*alive)
                       return;
                   description.update(layout);
                   described_ = description;
                   describe_hardware(std::move(description), std::move(done));
               });
}

/// For a hypervisor of another kind that makes its machine by it: of the one machine that both
/// have.
void QemuMachine::describe_hardware(Json description, std::function<void(Result<Json>)> done)
{
    if (!json_string(description, "machine").starts_with("pc-i440fx"))
        return done(std::move(description));
    ask_hardware(qmp_, std::move(description),
                 [alive = alive_, done = std::move(done)](Json described) {
                     if (*alive)
                         done(std::move(described));
                 });
}

} // namespace drover::qemu
