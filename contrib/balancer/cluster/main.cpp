// SPDX-License-Identifier: GPL-2.0-or-later
#include "contrib/balancer/simulate/simulate_command.h"

#include <cstdio>
#include <string_view>

int main(int argc, char** argv)
{
    const std::span words(argv, static_cast<size_t>(argc));
    if (argc < 2 || std::string_view(argv[1]) != "simulate") {
        fprintf(stderr, "Usage: drover-balancer simulate [OPTION...]\n");
        return 2;
    }
    const auto status = drover::balancer::run_simulate(words.subspan(2));
    if (status)
        return *status;
    fprintf(stderr, "drover-balancer: %s\n", status.error().text().c_str());
    return 2;
}
