// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace drover {

/// Finds the top-level JSON values in a byte stream: QMP peers need not separate them by newlines.
/// It looks at quotes and brackets only; whether a value is JSON is the parser's business. Strings
/// in single quotes, which QEMU takes and people type, are rewritten to JSON's.
class QmpSplitter {
public:
    static constexpr size_t max_size = 64U << 20; ///< bytes of one value, unless said otherwise
    static constexpr size_t max_depth = 1024;

    struct Item {
        enum class Kind {
            Value,   ///< `text` is one value
            Garbage, ///< `text` says what is wrong; the rest of the line is skipped
            TooBig,  ///< `text` says so; the rest of the value is skipped, and kept nowhere
        };
        Kind kind = Kind::Value;
        std::string text;
        uint64_t end = 0; ///< offset in the stream of the first byte behind it
    };

    explicit QmpSplitter(size_t limit = max_size) : limit_(limit) {}

    void feed(std::string_view bytes);

    /// The next item, or nothing until more is fed.
    [[nodiscard]] std::optional<Item> next();

    /// Offset in the stream at which the next item begins, or the first byte that is yet to come.
    [[nodiscard]] uint64_t next_begin();

private:
    enum class Step { More, EndsHere, EndsBefore, Bad };

    Step step(char c);
    Step step_in_string(char c);
    Step bad(const char* why);
    Item take(size_t end);
    Item garbage();
    Item too_big();
    void skip_blanks();
    void start_over(size_t begin);

    size_t limit_;
    std::string buffer_;
    uint64_t base_ = 0; // offset of buffer_[0] in the stream
    size_t begin_ = 0;  // of the current value in buffer_
    size_t scan_ = 0;   // what has been looked at
    size_t depth_ = 0;
    char quote_ = 0; // of the string that scan_ is in
    bool escaped_ = false;
    bool scalar_ = false; // in a bare number or word at the top level
    bool single_quoted_ = false;
    bool skipping_ = false; // to the end of the line, after garbage
    bool dropping_ = false; // to the end of a value that is too big
    const char* why_ = "";
};

} // namespace drover
