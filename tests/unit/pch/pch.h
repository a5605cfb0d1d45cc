// SPDX-License-Identifier: GPL-2.0-or-later
//
// What nearly all unit tests include, compiled once. No test may rely on it: each includes what it
// uses.
#include <algorithm>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>
