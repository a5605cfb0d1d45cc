// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/unit/certs_script.h"

#include <cstdlib>
#include <filesystem>
#include <glib.h>
#include <sys/wait.h>

namespace drover::testing {

RunResult run(std::vector<std::string> words)
{
    std::vector<char*> argv;
    for (std::string& word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    char* out = nullptr;
    char* errors = nullptr;
    int status = 0;
    RunResult result;
    if (g_spawn_sync(nullptr, argv.data(), nullptr, G_SPAWN_SEARCH_PATH, nullptr, nullptr, &out,
                     &errors, &status, nullptr)) {
        result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        result.out = std::string(out) + errors;
    }
    g_free(out);
    g_free(errors);
    return result;
}

RunResult drover_certs(std::vector<std::string> words)
{
    words.insert(words.begin(), DROVER_SOURCE_ROOT "/scripts/drover-certs");
    return run(std::move(words));
}

TemporaryDirectory::TemporaryDirectory()
{
    std::string pattern = std::filesystem::temp_directory_path() / "drover-certs-XXXXXX";
    path_ = mkdtemp(pattern.data()) ? pattern : std::string();
}

TemporaryDirectory::~TemporaryDirectory()
{
    std::error_code ignored;
    if (!path_.empty())
        std::filesystem::remove_all(path_, ignored);
}

} // namespace drover::testing
