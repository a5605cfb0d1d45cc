// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

/// A fuzz target is one file that defines these two. Under libFuzzer only the first is used; with
/// tests/fuzz/driver.cpp it becomes a program of its own that any compiler builds.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace drover::fuzz {

/// Well-formed inputs that the mutations start from (checksums valid, so that they get past them).
[[nodiscard]] std::vector<std::string> seeds();

} // namespace drover::fuzz
