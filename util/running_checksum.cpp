// SPDX-License-Identifier: GPL-2.0-or-later
#include "util/running_checksum.h"

#include <xxhash.h>

namespace drover {

void RunningChecksum::Free::operator()(XXH3_state_s* state) const
{
    XXH3_freeState(state);
}

RunningChecksum::RunningChecksum() : state_(XXH3_createState())
{
    XXH3_64bits_reset(state_.get());
}

RunningChecksum::~RunningChecksum() = default;

void RunningChecksum::add(std::span<const std::byte> data)
{
    XXH3_64bits_update(state_.get(), data.data(), data.size());
}

uint64_t RunningChecksum::digest() const
{
    return XXH3_64bits_digest(state_.get());
}

} // namespace drover
