// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace drover::balancer {

using WordId = uint32_t;

/// The words of a fleet (host groups, offers, needs, labels), each known by a small number.
class Words {
public:
    /// The word's number; a new one the first time.
    WordId id(std::string_view word);
    /// Valid as long as this object.
    [[nodiscard]] std::string_view text(WordId id) const { return texts_[id]; }
    [[nodiscard]] bool knows(std::string_view word) const { return ids_.contains(word); }
    [[nodiscard]] size_t size() const { return texts_.size(); }

private:
    std::deque<std::string> texts_;
    std::unordered_map<std::string_view, WordId> ids_;
};

/// A set of words, as bits.
class WordSet {
public:
    WordSet() = default;
    WordSet(std::initializer_list<WordId> ids);

    void add(WordId id);
    [[nodiscard]] bool has(WordId id) const;
    [[nodiscard]] bool empty() const { return bits_.empty(); }
    [[nodiscard]] bool includes(const WordSet& other) const;
    [[nodiscard]] bool meets(const WordSet& other) const; ///< has one of its words
    /// Those of this set that `other` lacks, in order.
    [[nodiscard]] std::vector<WordId> without(const WordSet& other) const;
    [[nodiscard]] std::vector<WordId> list() const { return without({}); }
    friend bool operator==(const WordSet&, const WordSet&) = default;

private:
    std::vector<uint64_t> bits_; ///< the last one is not 0
};

} // namespace drover::balancer
