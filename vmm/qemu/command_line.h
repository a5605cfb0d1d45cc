// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "util/result.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace drover::qemu {

/// One option with its argument, or a disk image.
struct Word {
    std::string name;                    ///< without dashes; empty: a disk image
    std::optional<std::string> argument; ///< of the option; the disk image's name
    std::string dashes = "-";            ///< as the user wrote it

    [[nodiscard]] bool is(std::string_view option) const { return !name.empty() && name == option; }
    /// -machine and -M are one.
    [[nodiscard]] bool is_machine() const { return is("machine") || is("M"); }
    [[nodiscard]] const std::string& text() const; ///< the argument, or ""
};

/// A QEMU command line, cut into options. "-append '-m 5'" stays one.
class CommandLine {
public:
    /// `arguments` without the program's name.
    [[nodiscard]] static CommandLine parse(std::span<const std::string> arguments);

    [[nodiscard]] std::vector<Word>& words() { return words_; }
    [[nodiscard]] const std::vector<Word>& words() const { return words_; }

    [[nodiscard]] const Word* find_last(std::string_view name) const;
    [[nodiscard]] bool has(std::string_view name) const { return find_last(name) != nullptr; }
    void remove(std::string_view name);
    void append(std::string name, std::string argument);

    /// A property of the machine, as the last -machine or -M that names it says; "type" is the
    /// machine's name. Empty where none does.
    [[nodiscard]] std::string machine_property(std::string_view key) const;

    [[nodiscard]] std::vector<std::string> arguments() const;
    /// Where the argument of word `index` is found in arguments().
    [[nodiscard]] size_t argument_index(size_t index) const;

private:
    std::vector<Word> words_;
};

/// Whether the line makes QEMU print something, or be probed (-machine none), and never run a
/// guest. Such a line is for the real QEMU as it is.
[[nodiscard]] bool is_probe_line(const CommandLine& line);

} // namespace drover::qemu
