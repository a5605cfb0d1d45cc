// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/hardware.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace drover::qemu {

namespace {

constexpr size_t most_devices = 64;
constexpr std::string_view unnamed_prefix = "unnamed ";
constexpr const char* isa_serial_child = "child<isa-serial>";

constexpr const char* disk_properties[] = {
    "num-queues",     "queue-size",         "vectors",
    "disable-legacy", "disable-modern",     "serial",
    "config-wce",     "logical_block_size", "physical_block_size"};
constexpr const char* network_properties[] = {
    "netdev",        "mac",           "vectors",  "mq",
    "rx_queue_size", "tx_queue_size", "host_mtu", "disable-legacy",
    "disable-modern"};
constexpr const char* entropy_properties[] = {"max-bytes", "period", "vectors", "disable-legacy",
                                              "disable-modern"};
constexpr const char* balloon_properties[] = {
    "deflate-on-oom", "free-page-reporting", "free-page-hint", "page-poison",
    "vectors",        "disable-legacy",      "disable-modern"};

struct DescribedKind {
    std::string_view type;
    std::span<const char* const> properties;
};

constexpr DescribedKind described_kinds[] = {
    {"virtio-blk-pci", disk_properties},
    {"virtio-net-pci", network_properties},
    {"virtio-rng-pci", entropy_properties},
    {"virtio-balloon-pci", balloon_properties},
};

/// "disk0" → "/machine/peripheral/disk0"; "unnamed device[0]" → "/machine/peripheral-anon/…".
std::string qom_path(const std::string& name)
{
    return name.starts_with(unnamed_prefix)
               ? "/machine/peripheral-anon/" + name.substr(unnamed_prefix.size())
               : "/machine/peripheral/" + name;
}

/// The described device at that path, or whose back end it is; empty: none.
std::string named_by(const Json& hardware, const std::string& owner)
{
    for (const auto& [name, device] : hardware.items())
        if (owner == qom_path(name) || owner == qom_path(name) + "/virtio-backend")
            return name;
    return {};
}

std::string drive_name(const Json& block)
{
    const std::string name = json_string(block, "device");
    return name.empty() ? json_string(block, "qdev") : name;
}

Json medium_of(const Json& block)
{
    const auto inserted = block.find("inserted");
    if (inserted == block.end() || !inserted->is_object())
        return Json::object();
    return Json{{"file", json_string(*inserted, "file")},
                {"format", json_string(*inserted, "drv")},
                {"read_only", json_bool(*inserted, "ro")}};
}

class HardwareQuestions : public std::enable_shared_from_this<HardwareQuestions> {
public:
    HardwareQuestions(QmpClient& qmp, Json description, std::function<void(Json)> done)
        : qmp_(qmp), description_(std::move(description)), done_(std::move(done))
    {
    }

    void begin()
    {
        description_["hardware"] = Json::object();
        for (const auto& [name, type] : description_["devices"].items())
            for (const DescribedKind& kind : described_kinds)
                if (type == kind.type && description_["hardware"].size() < most_devices)
                    add_device(name, kind);
        questions_.push_back({"query-name", Json::object(), [this](const Json& answer) {
                                  if (const auto name = json_string(answer, "name"); !name.empty())
                                      description_["name"] = name;
                              }});
        questions_.push_back(
            {"qom-get", Json{{"path", "/machine"}, {"property", "max-ram-below-4g"}},
             [this](const Json& answer) { description_["max_ram_below_4g"] = answer; }});
        questions_.push_back({"qom-list", Json{{"path", "/machine/unattached"}},
                              [this](const Json& answer) { count_serial_ports(answer); }});
        ask_for_memory();
        questions_.push_back({"query-block", Json::object(),
                              [this](const Json& answer) { add_disks(description_, answer); }});
        ask();
    }

private:
    struct Question {
        const char* command;
        Json arguments;
        std::function<void(const Json& answer)> put;
    };

    void add_device(const std::string& name, const DescribedKind& kind)
    {
        description_["hardware"][name] = Json{{"type", kind.type}, {"properties", Json::object()}};
        const auto ask_for = [&](const char* property, auto put) {
            questions_.push_back({"qom-get", Json{{"path", qom_path(name)}, {"property", property}},
                                  std::move(put)});
        };
        ask_for("addr", [this, name](const Json& answer) {
            description_["hardware"][name]["addr"] = answer;
        });
        for (const char* property : kind.properties)
            ask_for(property, [this, name, property](const Json& answer) {
                if (answer.is_primitive() && !answer.is_null())
                    description_["hardware"][name]["properties"][property] = answer;
            });
    }

    /// A guest without a balloon has all of it: QEMU answers with an error.
    void ask_for_memory()
    {
        questions_.push_back(
            {"query-memory-size-summary", Json::object(),
             [this](const Json& answer) { memory_ = json_u64(answer, "base-memory"); }});
        questions_.push_back({"query-balloon", Json::object(), [this](const Json& answer) {
                                  description_["ballooned"] =
                                      memory_ - std::min(memory_, json_u64(answer, "actual"));
                              }});
    }

    void count_serial_ports(const Json& children)
    {
        if (children.is_array())
            description_["serial_ports"] = std::ranges::count_if(children, [](const Json& child) {
                return json_string(child, "type") == isa_serial_child;
            });
    }

    /// What this QEMU does not know is passed over.
    void ask()
    {
        if (next_ == questions_.size())
            return done_(std::move(description_));
        Question& question = questions_[next_++];
        qmp_.execute(question.command, std::move(question.arguments),
                     [self = shared_from_this(), &question](const Result<Json>& answer) {
                         if (answer)
                             question.put(*answer);
                         self->ask();
                     });
    }

    QmpClient& qmp_;
    Json description_;
    std::function<void(Json)> done_;
    uint64_t memory_ = 0; ///< bytes
    std::vector<Question> questions_;
    size_t next_ = 0;
};

} // namespace

void add_disks(Json& description, const Json& blocks)
{
    description["drives"] = Json::object();
    if (!blocks.is_array())
        return;
    for (const Json& block : blocks) {
        const std::string owner = json_string(block, "qdev");
        if (owner.empty())
            continue; // nobody's
        const std::string name = named_by(description["hardware"], owner);
        if (!name.empty())
            description["hardware"][name]["disk"] = medium_of(block);
        else if (description["drives"].size() < most_devices)
            description["drives"][drive_name(block)] = medium_of(block);
    }
}

void ask_hardware(QmpClient& qmp, Json description, std::function<void(Json)> done)
{
    std::make_shared<HardwareQuestions>(qmp, std::move(description), std::move(done))->begin();
}

} // namespace drover::qemu
