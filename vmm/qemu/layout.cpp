// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/layout.h"

#include <cstdlib>
#include <memory>
#include <sstream>
#include <vector>

namespace drover::qemu {

namespace {

struct Question {
    const char* command;
    Json arguments;
    /// Puts the answer into the description.
    std::function<void(Json& layout, const Json& answer)> put;
    /// Whether to ask, by what is known so far; null: always.
    bool (*wanted)(const Json& layout) = nullptr;
};

struct Asking {
    QmpClient& qmp;
    std::vector<Question> questions;
    std::function<void(Json)> done;
    Json layout = Json::object();
    size_t next = 0;
};

/// A question that this QEMU does not know is passed over.
void ask_next(const std::shared_ptr<Asking>& asking)
{
    if (asking->next == asking->questions.size())
        return asking->done(std::move(asking->layout));
    Question& question = asking->questions[asking->next++];
    if (question.wanted != nullptr && !question.wanted(asking->layout))
        return ask_next(asking);
    asking->qmp.execute(question.command, std::move(question.arguments),
                        [asking, &question](const Result<Json>& answer) {
                            if (answer)
                                question.put(asking->layout, *answer);
                            ask_next(asking);
                        });
}

Question cpu_question(const std::string& cpu, const char* property)
{
    return {"qom-get", Json{{"path", cpu}, {"property", property}},
            [property](Json& layout, const Json& answer) { layout["cpu"][property] = answer; }};
}

/// The HPET's configuration, as the guest would read it: that changes nothing there. Bit 0 says
/// that it counts (IA-PC HPET 2.3.5).
constexpr const char* read_hpet = "xp /1wx 0xfed00010";

/// "00000000fed00010: 0x00000001"
bool ends_in_odd_number(const std::string& text)
{
    const size_t at = text.rfind("0x");
    return at != std::string::npos && (strtoull(text.c_str() + at, nullptr, 16) & 1) != 0;
}

/// What another kind of hypervisor has to know (migration/session/translation_check.h).
void add_clock_questions(std::vector<Question>& list, const std::string& cpu)
{
    list.push_back({"qom-get", Json{{"path", "/machine"}, {"property", "hpet"}},
                    [](Json& layout, const Json& has) {
                        layout["hpet"] = has.is_boolean() && has.get<bool>();
                    }});
    list.push_back({"human-monitor-command", Json{{"command-line", read_hpet}},
                    [](Json& layout, const Json& text) {
                        layout["hpet_counts"] =
                            text.is_string() && ends_in_odd_number(text.get<std::string>());
                    },
                    [](const Json& layout) { return json_bool(layout, "hpet"); }});
    list.push_back({"qom-get", Json{{"path", cpu}, {"property", "tsc-frequency"}},
                    [](Json& layout, const Json& hertz) {
                        if (hertz.is_number_integer() && hertz > 0)
                            layout["tsc_khz"] = hertz.get<uint64_t>() / 1000;
                    }});
}

/// How many vCPUs there are now is compared by itself.
Json topology(Json smp)
{
    if (smp.is_object())
        smp.erase("cpus");
    return smp;
}

} // namespace

Json own_memory(const std::string& ramblocks)
{
    Json blocks = Json::object();
    std::istringstream lines(ramblocks);
    for (std::string line; std::getline(lines, line);) {
        // "    pc.bios    4 KiB  0x…(offset) 0x…(used) 0x…(total)"; newer QEMUs add columns.
        std::istringstream text(line);
        std::vector<std::string> words;
        std::vector<uint64_t> numbers;
        for (std::string word; text >> word;)
            if (word.starts_with("0x"))
                numbers.push_back(strtoull(word.c_str(), nullptr, 16));
            else if (numbers.empty())
                words.push_back(word);
        if (words.size() != 3 || numbers.size() < 3)
            continue;
        blocks[words[0]] = Json{{"used", numbers[1]}, {"total", numbers[2]}};
    }
    return blocks;
}

Json pci_places(const Json& buses)
{
    Json places = Json::object();
    if (!buses.is_array() || buses.empty())
        return places;
    const auto devices = buses[0].find("devices");
    if (json_u64(buses[0], "bus") != 0 || devices == buses[0].end() || !devices->is_array())
        return places;
    for (const Json& device : *devices) {
        const auto id = device.find("id");
        if (id == device.end())
            continue;
        char place[32];
        char what[32];
        snprintf(place, sizeof place, "%02x.%x", static_cast<unsigned>(json_u64(device, "slot")),
                 static_cast<unsigned>(json_u64(device, "function")));
        snprintf(what, sizeof what, "%04x:%04x", static_cast<unsigned>(json_u64(*id, "vendor")),
                 static_cast<unsigned>(json_u64(*id, "device")));
        const std::string name = json_string(device, "qdev_id");
        places[place] = what + (name.empty() ? std::string() : " (" + name + ")");
    }
    return places;
}

Json dimm_places(const Json& devices)
{
    Json places = Json::object();
    if (!devices.is_array())
        return places;
    for (const Json& device : devices) {
        const auto data = device.find("data");
        if (data == device.end())
            continue;
        char at[32];
        const char* key = data->contains("memaddr") ? "memaddr" : "addr";
        snprintf(at, sizeof at, "0x%llx", static_cast<unsigned long long>(json_u64(*data, key)));
        if (const std::string id = json_string(*data, "id"); !id.empty())
            places[id] = at;
    }
    return places;
}

void ask_layout(QmpClient& qmp, const std::string& cpu, std::function<void(Json)> done)
{
    auto asking = std::make_shared<Asking>(Asking{qmp, {}, std::move(done)});
    for (const char* property : {"vendor", "family", "model", "stepping", "phys-bits"})
        asking->questions.push_back(cpu_question(cpu, property));
    asking->questions.push_back(
        {"qom-get", Json{{"path", "/machine"}, {"property", "smp"}},
         [](Json& layout, const Json& smp) { layout["topology"] = topology(smp); }});
    asking->questions.push_back(
        {"query-memory-devices", Json::object(),
         [](Json& layout, const Json& devices) { layout["dimms"] = dimm_places(devices); }});
    asking->questions.push_back({"query-pci", Json::object(), [](Json& layout, const Json& buses) {
                                     layout["pci"] = pci_places(buses);
                                 }});
    asking->questions.push_back({"human-monitor-command", Json{{"command-line", "info ramblock"}},
                                 [](Json& layout, const Json& text) {
                                     layout["own_memory"] = own_memory(
                                         text.is_string() ? text.get<std::string>() : "");
                                 }});
    add_clock_questions(asking->questions, cpu);
    ask_next(asking);
}

} // namespace drover::qemu
