// SPDX-License-Identifier: GPL-2.0-or-later
#include "tools/verbs.h"
#include "util/byte_sink.h"
#include "util/log.h"
#include "vmm/qemu/state/blank_machine.h"
#include "vmm/qemu/state/machine_fields.h"
#include "vmm/qemu/state/stream_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace drover::tools {

namespace {

struct ConvertOptions {
    std::string from;
    std::string to;
    std::vector<std::string> command; ///< of the QEMU that is to take the guest
};

Result<ConvertOptions> convert_options(Words words)
{
    ConvertOptions options;
    while (!words.empty()) {
        std::string word = words.take();
        if (word == "--") {
            while (!words.empty())
                options.command.push_back(words.take());
        } else if (word.starts_with("--") || !options.to.empty()) {
            return fail(ErrorKind::Invalid, "unexpected word \"" + word + "\"");
        } else {
            (options.from.empty() ? options.from : options.to) = std::move(word);
        }
    }
    if (options.to.empty() || options.command.empty())
        return fail(ErrorKind::Invalid,
                    "two files are needed, and the command line that will run the guest",
                    "drover convert GUEST NEW -- qemu-system-x86_64 -M pc …");
    return options;
}

/// A guest in a file, and what it is made of.
struct SavedGuest {
    FileBytes file;
    qemu::QemuState state;
};

Result<SavedGuest> read_guest(Result<FileBytes> file, const std::string& name)
{
    if (!file)
        return std::unexpected(file.error());
    auto state = qemu::read_qemu_state(*file, qemu::Pages::Located);
    if (!state)
        return std::unexpected(std::move(state.error()).in(name));
    return SavedGuest{std::move(*file), std::move(*state)};
}

/// Where a converted guest is written: it has its name once it is whole.
class NewFile {
public:
    explicit NewFile(std::string path) : path_(std::move(path)), part_(path_ + ".part") {}
    ~NewFile()
    {
        if (fd_)
            unlink(part_.c_str());
    }
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;

    Status open()
    {
        fd_ = UniqueFd(::open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        return fd_ ? Status() : fail_errno("making " + part_, errno);
    }
    [[nodiscard]] int fd() const { return fd_.get(); }
    Status finish()
    {
        if (fsync(fd_.get()) != 0 || rename(part_.c_str(), path_.c_str()) != 0)
            return fail_errno("writing " + path_, errno);
        fd_.reset();
        return {};
    }

private:
    std::string path_;
    std::string part_;
    UniqueFd fd_;
};

Status write_for_qemu(const SavedGuest& guest, const SavedGuest& blank,
                      const std::vector<state::Device>& sections, const std::string& path)
{
    qemu::StreamPlan plan{blank.state, blank.file, sections, {}};
    std::vector<std::unique_ptr<qemu::BlockPages>> blocks;
    for (const qemu::SavedRam& block : blank.state.ram) {
        const auto own = std::ranges::find(guest.state.ram, block.name, &qemu::SavedRam::name);
        if (own == guest.state.ram.end() || own->size != block.size)
            return fail(ErrorKind::Incompatible,
                        "the guest has no memory " + block.name + " of that size",
                        "start the destination with the same -m and the same devices");
        blocks.push_back(std::make_unique<qemu::SavedBlockPages>(*own, guest.file));
        plan.ram[block.name] = blocks.back().get();
    }
    NewFile file(path);
    if (const Status opened = file.open(); !opened)
        return opened;
    ByteSink sink(file.fd(), path);
    if (const Status written = qemu::write_qemu_stream(plan, sink); !written)
        return written;
    if (const Status flushed = sink.flush(); !flushed)
        return flushed;
    return file.finish();
}

Status convert(const ConvertOptions& options)
{
    const auto guest = read_guest(FileBytes::open(options.from), options.from);
    if (!guest)
        return std::unexpected(guest.error());
    const auto sections = qemu::devices_of(guest->state, guest->file);
    if (!sections)
        return std::unexpected(sections.error());
    const auto machine = qemu::read_machine(*sections);
    if (!machine)
        return std::unexpected(Error(machine.error()).in(options.from));
    if (const Status known = qemu::check_known(*machine); !known)
        return known;
    auto saved = qemu::save_blank_machine(options.command);
    if (!saved)
        return std::unexpected(saved.error());
    const auto blank = read_guest(FileBytes::of(std::move(*saved), "QEMU's own"), "QEMU's own");
    if (!blank)
        return std::unexpected(blank.error());
    auto layout = qemu::devices_of(blank->state, blank->file);
    if (!layout)
        return std::unexpected(layout.error());
    const auto written = qemu::write_machine(machine->machine, std::move(*layout));
    if (!written)
        return std::unexpected(written.error());
    for (const std::string& change : written->changes)
        printf("%s\n", change.c_str());
    return write_for_qemu(*guest, *blank, written->sections, options.to);
}

} // namespace

Result<int> run_convert(Words words)
{
    const auto options = convert_options(words);
    if (!options)
        return std::unexpected(options.error());
    if (const Status done = convert(*options); !done) {
        log::error(done.error().text());
        return exit_failed;
    }
    return exit_done;
}

} // namespace drover::tools
