// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/command_line.h"

#include "vmm/qemu/option_table.h"
#include "vmm/qemu/opts.h"

#include <algorithm>

namespace drover::qemu {

namespace {

const std::string no_text;

/// How many words the option takes: known by name, or, for one that is newer than our table,
/// guessed from what follows it.
bool takes_argument(std::string_view name, const std::string* next)
{
    switch (option_arity(name)) {
    case OptionArity::None: return false;
    case OptionArity::One: return next != nullptr;
    case OptionArity::Unknown: break;
    }
    return next != nullptr && !next->starts_with('-');
}

} // namespace

const std::string& Word::text() const
{
    return argument ? *argument : no_text;
}

CommandLine CommandLine::parse(std::span<const std::string> arguments)
{
    CommandLine line;
    for (size_t i = 0; i < arguments.size(); ++i) {
        const std::string& word = arguments[i];
        if (!word.starts_with('-') || word == "-" || word == "--") {
            line.words_.push_back({"", word, ""});
            continue;
        }
        const std::string dashes = word.starts_with("--") ? "--" : "-";
        Word option{word.substr(dashes.size()), std::nullopt, dashes};
        const std::string* next = i + 1 < arguments.size() ? &arguments[i + 1] : nullptr;
        if (takes_argument(option.name, next)) {
            option.argument = *next;
            ++i;
        }
        line.words_.push_back(std::move(option));
    }
    return line;
}

const Word* CommandLine::find_last(std::string_view name) const
{
    for (auto word = words_.rbegin(); word != words_.rend(); ++word)
        if (word->is(name))
            return &*word;
    return nullptr;
}

void CommandLine::remove(std::string_view name)
{
    std::erase_if(words_, [&](const Word& word) { return word.is(name); });
}

void CommandLine::append(std::string name, std::string argument)
{
    words_.push_back({std::move(name), std::move(argument)});
}

std::string CommandLine::machine_property(std::string_view key) const
{
    std::string value;
    for (const Word& word : words_) {
        if (!word.is_machine())
            continue;
        if (const auto opts = Opts::parse(word.text(), "type"))
            value = opts->get(key).value_or(value);
    }
    return value;
}

std::vector<std::string> CommandLine::arguments() const
{
    std::vector<std::string> arguments;
    for (const Word& word : words_) {
        if (!word.name.empty())
            arguments.push_back(word.dashes + word.name);
        if (word.argument)
            arguments.push_back(*word.argument);
    }
    return arguments;
}

size_t CommandLine::argument_index(size_t index) const
{
    size_t position = 0;
    for (size_t i = 0; i < index; ++i)
        position += (words_[i].name.empty() ? 0 : 1) + (words_[i].argument ? 1 : 0);
    return position + (words_[index].name.empty() ? 0 : 1);
}

} // namespace drover::qemu
