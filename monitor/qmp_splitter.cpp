// SPDX-License-Identifier: GPL-2.0-or-later
#include "monitor/qmp_splitter.h"

#include <utility>

namespace drover {

namespace {

constexpr size_t kept_capacity = 1U << 20;

bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/// 'it\'s "so"' → "it's \"so\""; strings in double quotes stay as they are.
std::string with_double_quotes(std::string_view text)
{
    std::string out;
    out.reserve(text.size() + 16);
    char quote = 0;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quote == 0 && (c == '"' || c == '\'')) {
            quote = c;
            out += '"';
        } else if (quote != 0 && c == quote) {
            quote = 0;
            out += '"';
        } else if (quote != 0 && c == '\\' && i + 1 < text.size()) {
            const char escaped = text[++i];
            if (quote == '"' || escaped != '\'')
                out += c;
            out += escaped;
        } else if (quote == '\'' && c == '"') {
            out += "\\\"";
        } else {
            out += c;
        }
    }
    return out;
}

} // namespace

void QmpSplitter::feed(std::string_view bytes)
{
    buffer_.erase(0, begin_);
    base_ += begin_;
    scan_ -= begin_;
    begin_ = 0;
    if (buffer_.empty() && buffer_.capacity() > kept_capacity)
        buffer_ = {}; // one large value must not cost its size for good
    buffer_ += bytes;
}

std::optional<QmpSplitter::Item> QmpSplitter::next()
{
    if (scan_ == begin_ && !dropping_)
        skip_blanks();
    while (scan_ < buffer_.size()) {
        const Step found = step(buffer_[scan_]);
        if (found == Step::Bad)
            return garbage();
        if (found == Step::More) {
            ++scan_;
            continue;
        }
        const size_t end = found == Step::EndsHere ? scan_ + 1 : scan_;
        if (!dropping_)
            return take(end);
        start_over(end);
        skip_blanks();
    }
    if (dropping_)
        begin_ = scan_;
    else if (scan_ - begin_ > limit_)
        return too_big();
    return std::nullopt;
}

uint64_t QmpSplitter::next_begin()
{
    if (scan_ == begin_)
        skip_blanks();
    return base_ + begin_;
}

QmpSplitter::Step QmpSplitter::step(char c)
{
    if (quote_ != 0)
        return step_in_string(c);
    // A bare word ends where anything else begins, which is then looked at again.
    if (scalar_ && (is_blank(c) || std::string_view("{}[],:\"'").contains(c)))
        return Step::EndsBefore;
    switch (c) {
    case '"':
    case '\'':
        quote_ = c;
        single_quoted_ |= c == '\'';
        return Step::More;
    case '{':
    case '[': return ++depth_ > max_depth ? bad("nested deeper than 1,024 levels") : Step::More;
    case '}':
    case ']':
        if (depth_ == 0)
            return bad("a closing bracket that nothing opened");
        return --depth_ == 0 ? Step::EndsHere : Step::More;
    case ',':
    case ':': return depth_ == 0 ? bad("expecting a value") : Step::More;
    default: scalar_ = depth_ == 0; return Step::More;
    }
}

QmpSplitter::Step QmpSplitter::step_in_string(char c)
{
    // No JSON string holds a bare newline: a quote was forgotten, and the line's end is the place
    // to find one's feet again.
    if (c == '\n')
        return bad("a string that does not end on its line");
    if (escaped_) {
        escaped_ = false;
    } else if (c == '\\') {
        escaped_ = true;
    } else if (c == quote_) {
        quote_ = 0;
        return depth_ == 0 ? Step::EndsHere : Step::More;
    }
    return Step::More;
}

QmpSplitter::Step QmpSplitter::bad(const char* why)
{
    why_ = why;
    return Step::Bad;
}

QmpSplitter::Item QmpSplitter::take(size_t end)
{
    std::string text = buffer_.substr(begin_, end - begin_);
    if (single_quoted_)
        text = with_double_quotes(text);
    start_over(end);
    return {Item::Kind::Value, std::move(text), base_ + end};
}

QmpSplitter::Item QmpSplitter::garbage()
{
    start_over(scan_);
    skipping_ = true;
    return {Item::Kind::Garbage, why_, base_ + begin_};
}

/// What follows the value is of use again: its end is still looked for.
QmpSplitter::Item QmpSplitter::too_big()
{
    dropping_ = true;
    begin_ = scan_;
    return {Item::Kind::TooBig, "a value of more than " + std::to_string(limit_ >> 20) + " MiB",
            base_ + begin_};
}

void QmpSplitter::start_over(size_t begin)
{
    begin_ = scan_ = begin;
    depth_ = 0;
    quote_ = 0;
    escaped_ = scalar_ = single_quoted_ = dropping_ = false;
}

void QmpSplitter::skip_blanks()
{
    if (skipping_) {
        const size_t newline = buffer_.find('\n', begin_);
        skipping_ = newline == buffer_.npos;
        begin_ = skipping_ ? buffer_.size() : newline;
    }
    while (begin_ < buffer_.size() && is_blank(buffer_[begin_]))
        ++begin_;
    scan_ = begin_;
}

} // namespace drover
