// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/tracker/process_ram.h"

#include "vmm/qemu/tracker/process_handle.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

namespace drover {

namespace {

class ProcessRam : public RamMapping {
public:
    ProcessRam(UniqueFd memory, std::span<const BlockMapping> mappings) : memory_(std::move(memory))
    {
        for (const BlockMapping& mapping : mappings)
            blocks_.push_back({mapping.address, mapping.pages * ram_page_size});
    }

    size_t write(size_t index, uint64_t offset, std::span<const std::byte> from) override
    {
        const Block& block = blocks_[index];
        if (offset > block.size || from.size() > block.size - offset)
            return 0;
        size_t done = 0;
        while (done < from.size()) {
            const ssize_t n = pwrite(memory_.get(), from.data() + done, from.size() - done,
                                     static_cast<off_t>(block.address + offset + done));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0) // 0: the process has ended
                break;
            done += static_cast<size_t>(n);
        }
        return done;
    }

private:
    struct Block {
        uint64_t address; ///< in the process
        uint64_t size;    ///< bytes
    };

    UniqueFd memory_;
    std::vector<Block> blocks_;
};

} // namespace

Result<std::unique_ptr<RamMapping>> map_process_ram(pid_t pid,
                                                    std::span<const BlockMapping> mappings)
{
    auto process = ProcessHandle::open(pid);
    if (!process)
        return pass(process);
    auto memory = process->open_file("mem", O_WRONLY);
    if (!memory)
        return pass(memory);
    return std::make_unique<ProcessRam>(std::move(*memory), mappings);
}

} // namespace drover
