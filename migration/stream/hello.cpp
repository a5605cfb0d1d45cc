// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/stream/hello.h"
#include "migration/stream/json_fields.h"

#include <algorithm>
#include <array>
#include <bit>
#include <set>

namespace drover::stream {

namespace {

constexpr std::array known = {feature::raw_pages,       feature::zero_pages,
                              feature::hole_pages,      feature::device_state_opaque,
                              feature::commit_ask,      feature::postcopy,
                              feature::give_back,       feature::device_state_neutral,
                              feature::arrived_outcome, feature::repeated_pages,
                              feature::lz4_pages,       feature::zstd_pages,
                              feature::delta_pages,     feature::resume_copy,
                              feature::ram_digest};
constexpr size_t optional_count = 10; // the last ones
constexpr size_t max_reason = 2000;   // bytes

bool is_feature_name(const Json& item)
{
    if (!item.is_string())
        return false;
    const auto& name = item.get_ref<const std::string&>();
    return !name.empty() && name.size() <= max_feature_name &&
           std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
           });
}

std::vector<std::string> read_features(JsonFields& fields, const char* key)
{
    std::vector<std::string> names;
    for (const Json& item : fields.list(key, 0, max_features)) {
        if (is_feature_name(item))
            names.push_back(item.get<std::string>());
        else
            fields.fail(key, "contains something that is not the name of a feature");
    }
    return names;
}

RamBlockInfo read_block(JsonFields& fields)
{
    RamBlockInfo block;
    block.name = fields.text("name", max_name);
    block.page_size = fields.number("page_size", smallest_page, largest_page);
    block.size = fields.number("size", 1, max_ram);
    if (!std::has_single_bit(block.page_size))
        fields.fail("page_size", "is not a power of two");
    else if (block.size % block.page_size != 0)
        fields.fail("size", "is not a multiple of the page size");
    return block;
}

std::vector<RamBlockInfo> read_ram(JsonFields& hello)
{
    std::vector<RamBlockInfo> blocks;
    std::set<std::string> names;
    uint64_t total = 0;
    for (const Json& item : hello.list("ram", 0, max_ram_blocks)) {
        JsonFields fields(item, "hello.ram[" + std::to_string(blocks.size()) + "]");
        blocks.push_back(read_block(fields));
        total += blocks.back().size; // does not overflow: at most 2^12 times 2^52
        if (!names.insert(blocks.back().name).second)
            fields.fail("name", "occurs twice: " + blocks.back().name);
        hello.fail(fields.error());
        if (hello.error())
            return {};
    }
    if (total > max_ram)
        hello.fail("ram", "is larger than 4 PiB");
    return blocks;
}

bool contains(const auto& list, std::string_view name)
{
    return std::find(list.begin(), list.end(), name) != list.end();
}

void add_once(std::vector<std::string>& list, const std::string& name)
{
    if (!contains(list, name))
        list.push_back(name);
}

} // namespace

std::span<const std::string_view> known_features()
{
    return known;
}

std::span<const std::string_view> needed_features()
{
    return std::span(known).first(known.size() - optional_count);
}

Json Hello::to_json() const
{
    Json blocks = Json::array();
    for (const RamBlockInfo& block : ram)
        blocks.push_back(
            {{"name", block.name}, {"size", block.size}, {"page_size", block.page_size}});
    return {
        {"session", token_to_hex(session)},
        {"software", software},
        {"features", {{"mandatory", mandatory_features}, {"optional", optional_features}}},
        {"channels", channels},
        {"machine", machine},
        {"ram", std::move(blocks)},
        {"policy", policy},
        {"resume_guest", resume_guest},
    };
}

Result<Hello> Hello::from_json(const Json& value)
{
    JsonFields fields(value, "hello");
    Hello hello;
    if (auto token = token_from_hex(fields.text("session", max_name)))
        hello.session = *token;
    else
        fields.fail("session", "is not 32 lower-case hexadecimal digits");
    hello.software = fields.text("software", max_name);
    JsonFields features(fields.object("features"), "hello.features");
    hello.mandatory_features = read_features(features, "mandatory");
    hello.optional_features = read_features(features, "optional");
    fields.fail(features.error());
    hello.channels = static_cast<uint32_t>(fields.number("channels", 1, max_channels));
    hello.machine = fields.object("machine");
    hello.ram = read_ram(fields);
    hello.policy = fields.object("policy");
    hello.resume_guest = fields.boolean("resume_guest");
    if (fields.error())
        return std::unexpected(*fields.error());
    return hello;
}

Json Welcome::to_json() const
{
    Json value{{"software", software},
               {"features", features},
               {"channels", channels},
               {"machine", machine}};
    if (!no_postcopy.empty())
        value["no_postcopy"] = no_postcopy;
    return value;
}

Result<Welcome> Welcome::from_json(const Json& value)
{
    JsonFields fields(value, "welcome");
    Welcome welcome;
    welcome.software = fields.text("software", max_name);
    welcome.features = read_features(fields, "features");
    welcome.channels = static_cast<uint32_t>(fields.number("channels", 1, max_channels));
    welcome.machine = fields.object("machine");
    if (value.is_object() && value.contains("no_postcopy"))
        welcome.no_postcopy = fields.text("no_postcopy", max_reason);
    if (fields.error())
        return std::unexpected(*fields.error());
    return welcome;
}

Result<std::vector<std::string>> agree_features(const Hello& hello,
                                                std::span<const std::string_view> supported)
{
    std::vector<std::string> agreed;
    std::string missing;
    for (const std::string& name : hello.mandatory_features) {
        if (contains(supported, name))
            add_once(agreed, name);
        else
            missing += (missing.empty() ? "" : ", ") + name;
    }
    if (!missing.empty())
        return fail(ErrorKind::Incompatible,
                    "the source (" + hello.software +
                        ") needs features that this destination does not have: " + missing,
                    "use the same release of Drover on both hosts");
    for (const std::string& name : hello.optional_features)
        if (contains(supported, name))
            add_once(agreed, name);
    return agreed;
}

Status check_welcome(const Hello& hello, const Welcome& welcome)
{
    for (const std::string& name : hello.mandatory_features)
        if (!contains(welcome.features, name))
            return fail(ErrorKind::Protocol,
                        "the destination accepted the migration without the mandatory feature " +
                            name);
    for (const std::string& name : welcome.features)
        if (!contains(hello.mandatory_features, name) && !contains(hello.optional_features, name))
            return fail(ErrorKind::Protocol,
                        "the destination accepted the feature " + name + ", which was not offered");
    if (welcome.channels > hello.channels)
        return fail(ErrorKind::Protocol,
                    "the destination wants " + std::to_string(welcome.channels) +
                        " channels; offered were " + std::to_string(hello.channels));
    return {};
}

std::string token_to_hex(const SessionToken& token)
{
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const std::byte byte : token) {
        text += digits[std::to_integer<unsigned>(byte) >> 4];
        text += digits[std::to_integer<unsigned>(byte) & 15];
    }
    return text;
}

Result<SessionToken> token_from_hex(std::string_view text)
{
    constexpr std::string_view digits = "0123456789abcdef";
    SessionToken token{};
    if (text.size() != token.size() * 2 || text.find_first_not_of(digits) != text.npos)
        return fail(ErrorKind::Protocol, "a session's name is not 32 hexadecimal digits");
    for (size_t i = 0; i < token.size(); ++i)
        token[i] =
            static_cast<std::byte>(digits.find(text[2 * i]) << 4 | digits.find(text[2 * i + 1]));
    return token;
}

} // namespace drover::stream
