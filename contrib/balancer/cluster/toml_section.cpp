// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/cluster/toml_section.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace drover::balancer::cluster {

namespace {

struct Unit {
    std::string_view text;
    double factor;
};

constexpr std::array<Unit, 14> rate_units = {{{"", 1},
                                              {"B/s", 1},
                                              {"kB/s", 1e3},
                                              {"MB/s", 1e6},
                                              {"GB/s", 1e9},
                                              {"KiB/s", 1 << 10},
                                              {"MiB/s", 1 << 20},
                                              {"GiB/s", 1 << 30},
                                              {"kbit/s", 125},
                                              {"Mbit/s", 125e3},
                                              {"Gbit/s", 125e6},
                                              {"k", 1 << 10},
                                              {"M", 1 << 20},
                                              {"G", 1 << 30}}};
constexpr std::array<Unit, 6> time_units = {
    {{"", 1}, {"ms", 1e-3}, {"s", 1}, {"min", 60}, {"m", 60}, {"h", 3600}}};

template <size_t N>
std::optional<double> with_unit(std::string_view text, const std::array<Unit, N>& units)
{
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || !std::isfinite(value) || value < 0)
        return std::nullopt;
    std::string_view unit(end, text.data() + text.size());
    while (unit.starts_with(' '))
        unit.remove_prefix(1);
    for (const Unit& known : units)
        if (known.text == unit)
            return value * known.factor;
    return std::nullopt;
}

std::optional<double> parse_fraction(std::string_view text)
{
    const bool percent = text.ends_with('%');
    if (percent)
        text.remove_suffix(1);
    const auto value = with_unit(text, std::array<Unit, 1>{{{"", 1}}});
    return value && percent ? *value / 100 : value;
}

/// How many letters have to be changed, added or left out.
size_t distance(std::string_view a, std::string_view b)
{
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j)
        row[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t corner = std::exchange(row[0], i);
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t changed = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row[b.size()];
}

std::string short_number(double value)
{
    char text[32];
    snprintf(text, sizeof text, "%g", value);
    return text;
}

} // namespace

std::optional<double> parse_rate(std::string_view text)
{
    return with_unit(text, rate_units);
}

std::optional<double> parse_seconds(std::string_view text)
{
    return with_unit(text, time_units);
}

void Faults::add(const toml::source_region& where, std::string message, std::string remedy)
{
    faults_.push_back({static_cast<int>(where.begin.line), static_cast<int>(where.begin.column),
                       std::move(message), std::move(remedy)});
}

std::vector<ConfigFault> Faults::take()
{
    std::stable_sort(faults_.begin(), faults_.end(), [](const auto& a, const auto& b) {
        return std::pair(a.line, a.column) < std::pair(b.line, b.column);
    });
    return std::move(faults_);
}

std::string nearest(std::string_view word, const std::vector<std::string>& known)
{
    std::string best;
    size_t least = std::max<size_t>(2, word.size() / 3) + 1;
    for (const std::string& candidate : known) {
        const size_t far = distance(word, candidate);
        if (far < least) {
            least = far;
            best = candidate;
        }
    }
    return best;
}

const toml::node* TomlSection::node(const char* key)
{
    known_.emplace_back(key);
    return table_.get(key);
}

void TomlSection::fault(const char* key, std::string message, std::string remedy)
{
    const toml::node* value = table_.get(key);
    faults_.add(value != nullptr ? value->source() : table_.source(), std::move(message),
                std::move(remedy));
}

void TomlSection::fault(std::string message, std::string remedy)
{
    faults_.add(table_.source(), std::move(message), std::move(remedy));
}

void TomlSection::reject_others()
{
    for (const auto& [key, value] : table_) {
        const std::string word(key.str());
        if (std::find(known_.begin(), known_.end(), word) != known_.end())
            continue;
        const std::string meant = nearest(word, known_);
        std::string all;
        for (const std::string& name : known_)
            all += (all.empty() ? "" : ", ") + name;
        faults_.add(key.source(), name_ + " has no '" + word + "'",
                    meant.empty() ? "it has " + all : "did you mean '" + meant + "'?");
    }
}

void TomlSection::text(const char* key, std::string& target)
{
    const toml::node* value = node(key);
    if (value == nullptr)
        return;
    const auto text = value->value_exact<std::string>();
    if (!text || text->empty() || text->find('\0') != std::string::npos)
        return fault(key, std::string(key) + " is not a text", "write it in quotes, not empty");
    target = *text;
}

void TomlSection::boolean(const char* key, bool& target)
{
    const toml::node* value = node(key);
    if (value == nullptr)
        return;
    const auto truth = value->value_exact<bool>();
    if (!truth)
        return fault(key, std::string(key) + " is neither true nor false",
                     "write true or false, without quotes");
    target = *truth;
}

void TomlSection::whole(const char* key, unsigned& target, unsigned low, unsigned high)
{
    const toml::node* value = node(key);
    if (value == nullptr)
        return;
    const auto number = value->value_exact<int64_t>();
    if (!number || *number < int64_t{low} || *number > int64_t{high})
        return fault(key, std::string(key) + " is out of its range",
                     "give a whole number from " + std::to_string(low) + " to " +
                         std::to_string(high));
    target = static_cast<unsigned>(*number);
}

void TomlSection::number(const char* key, double& target, double low, double high,
                         const std::function<std::optional<double>(std::string_view)>& parse,
                         const std::string& form)
{
    const toml::node* value = node(key);
    if (value == nullptr)
        return;
    std::optional<double> number;
    if (const auto text = value->value_exact<std::string>())
        number = parse(*text);
    else if (value->is_number())
        number = value->value<double>();
    if (!number || !(*number >= low && *number <= high))
        return fault(key, std::string(key) + (number ? " is out of its range" : " cannot be read"),
                     form);
    target = *number;
}

void TomlSection::fraction(const char* key, double& target, double low, double high)
{
    number(key, target, low, high, parse_fraction,
           "give a part of one, or percent, from " + short_number(low * 100) + " to " +
               short_number(high * 100) + " %: 0.85 or \"85%\"");
}

void TomlSection::rate(const char* key, double& target, double low, double high)
{
    number(key, target, low, high, parse_rate,
           "give bytes/s, from " + short_number(low) + " to " + short_number(high) +
               ", or with a unit: \"4MB/s\", \"1Gbit/s\"");
}

void TomlSection::seconds(const char* key, double& target, double low, double high)
{
    number(key, target, low, high, parse_seconds,
           "give seconds, from " + short_number(low) + " to " + short_number(high) +
               ", or with a unit: \"30s\", \"5min\", \"1h\"");
}

void TomlSection::words(const char* key, std::vector<std::string>& target)
{
    const toml::node* value = node(key);
    if (value == nullptr)
        return;
    const toml::array* list = value->as_array();
    if (list == nullptr)
        return fault(key, std::string(key) + " is not a list",
                     "write it as [\"one\", \"another\"]");
    std::vector<std::string> words;
    for (const toml::node& item : *list) {
        const auto text = item.value_exact<std::string>();
        if (!text || text->empty()) {
            faults_.add(item.source(), std::string(key) + " has an entry that is not a text",
                        "write each in quotes");
            return;
        }
        words.push_back(*text);
    }
    target = std::move(words);
}

const toml::table* TomlSection::table(const char* key)
{
    const toml::node* value = node(key);
    if (value == nullptr)
        return nullptr;
    if (!value->is_table())
        fault(key, std::string(key) + " is not a table", "write it as [" + std::string(key) + "]");
    return value->as_table();
}

void TomlSection::each(const char* key, const std::function<void(const toml::table&)>& call)
{
    const toml::node* value = node(key);
    if (value == nullptr)
        return;
    const toml::array* list = value->as_array();
    if (list == nullptr || !list->is_array_of_tables())
        return fault(key, std::string(key) + " is not a list of tables",
                     "begin each with [[" + std::string(key) + "]]");
    for (const toml::node& item : *list)
        call(*item.as_table());
}

} // namespace drover::balancer::cluster
