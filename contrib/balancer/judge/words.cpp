// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/judge/words.h"

#include <algorithm>
#include <bit>

namespace drover::balancer {

WordId Words::id(std::string_view word)
{
    if (const auto known = ids_.find(word); known != ids_.end())
        return known->second;
    const auto id = static_cast<WordId>(texts_.size());
    ids_.emplace(texts_.emplace_back(word), id);
    return id;
}

WordSet::WordSet(std::initializer_list<WordId> ids)
{
    for (const WordId id : ids)
        add(id);
}

void WordSet::add(WordId id)
{
    if (bits_.size() <= id / 64)
        bits_.resize(id / 64 + 1);
    bits_[id / 64] |= uint64_t{1} << id % 64;
}

bool WordSet::has(WordId id) const
{
    return id / 64 < bits_.size() && (bits_[id / 64] >> id % 64 & 1) != 0;
}

bool WordSet::includes(const WordSet& other) const
{
    if (other.bits_.size() > bits_.size())
        return false;
    for (size_t i = 0; i < other.bits_.size(); ++i)
        if ((other.bits_[i] & ~bits_[i]) != 0)
            return false;
    return true;
}

bool WordSet::meets(const WordSet& other) const
{
    for (size_t i = 0; i < std::min(bits_.size(), other.bits_.size()); ++i)
        if ((bits_[i] & other.bits_[i]) != 0)
            return true;
    return false;
}

std::vector<WordId> WordSet::without(const WordSet& other) const
{
    std::vector<WordId> ids;
    for (size_t i = 0; i < bits_.size(); ++i) {
        uint64_t left = bits_[i] & ~(i < other.bits_.size() ? other.bits_[i] : 0);
        for (; left != 0; left &= left - 1)
            ids.push_back(static_cast<WordId>(i * 64 + std::countr_zero(left)));
    }
    return ids;
}

} // namespace drover::balancer
