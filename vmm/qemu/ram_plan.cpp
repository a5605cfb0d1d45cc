// SPDX-License-Identifier: GPL-2.0-or-later
#include "vmm/qemu/ram_plan.h"

#include "vmm/qemu/opts.h"

#include <algorithm>
#include <optional>

namespace drover::qemu {

namespace {

constexpr uint64_t default_ram_size = 128ULL << 20; ///< of most machines
constexpr uint64_t ram_size_granule = 8192;         ///< QEMU rounds -m up to it

/// What a memory back-end is used for, as far as the command line says. Nothing: it may be plugged
/// later, or a configuration file names it.
enum class Use { None, Ram, Nvdimm, Device };

struct Backend {
    size_t word = 0;
    std::string id;
    std::string type; ///< "ram", "file", "memfd" or "shm"
    Opts opts;
    Use use = Use::None;
    std::string user; ///< the device, for Nvdimm and Device
};

Result<std::optional<Backend>> read_backend(const Word& word, size_t index)
{
    constexpr std::string_view prefix = "memory-backend-";
    if (!word.is("object"))
        return std::optional<Backend>();
    auto opts = Opts::parse(word.text(), "qom-type");
    if (!opts)
        return std::unexpected(std::move(opts.error()).in("-object"));
    std::string type = opts->get("qom-type").value_or("");
    if (!type.starts_with(prefix))
        return std::optional<Backend>();
    type.erase(0, prefix.size());
    if (type != "ram" && type != "file" && type != "memfd" && type != "shm")
        return std::optional<Backend>();
    std::string id = opts->get("id").value_or("");
    return std::optional(Backend{index, std::move(id), std::move(type), std::move(*opts)});
}

Result<std::vector<Backend>> read_backends(const CommandLine& line)
{
    std::vector<Backend> backends;
    for (size_t i = 0; i < line.words().size(); ++i) {
        auto backend = read_backend(line.words()[i], i);
        if (!backend)
            return pass(backend);
        if (*backend)
            backends.push_back(std::move(**backend));
    }
    return backends;
}

/// The back-end that a -numa or -device names, and whether it is RAM there.
struct Reference {
    std::string id;
    Use use = Use::None;
    std::string user;
};

Reference reference_of(const Word& word)
{
    if (!word.is("numa") && !word.is("device"))
        return {};
    const auto opts = Opts::parse(word.text(), word.is("numa") ? "type" : "driver");
    if (!opts)
        return {};
    const std::string id = opts->get("memdev").value_or("");
    if (word.is("numa"))
        return {id, Use::Ram, {}};
    const std::string driver = opts->get("driver").value_or("");
    if (driver == "pc-dimm" || driver.starts_with("virtio-mem-"))
        return {id, Use::Ram, driver};
    const bool nvdimm = driver == "nvdimm" || driver.starts_with("virtio-pmem-");
    return {id, nvdimm ? Use::Nvdimm : Use::Device, driver};
}

/// Marks what each back-end is for.
void mark_uses(const CommandLine& line, std::vector<Backend>& backends)
{
    const auto mark = [&](const Reference& reference) {
        for (Backend& backend : backends) {
            if (backend.id != reference.id || backend.use == Use::Ram)
                continue;
            backend.use = reference.use;
            backend.user = reference.user;
        }
    };
    if (const std::string main = line.machine_property("memory-backend"); !main.empty())
        mark({main, Use::Ram, {}});
    for (const Word& word : line.words())
        if (const Reference reference = reference_of(word); !reference.id.empty())
            mark(reference);
}

std::string default_ram_id(const CommandLine& line, std::string_view architecture)
{
    const std::string machine = line.machine_property("type");
    if (machine.starts_with("microvm"))
        return "microvm.ram";
    if (architecture == "x86_64" || architecture == "i386")
        return "pc.ram";
    if ((architecture == "aarch64" || architecture == "arm") && machine.starts_with("virt"))
        return "mach-virt.ram";
    return "drover.ram";
}

/// The size that -m or -machine memory.size= asks for; several add up, the last to name the size
/// wins, and -m before -machine.
Result<uint64_t> ram_size(const CommandLine& line)
{
    uint64_t size = 0;
    for (const bool machine : {true, false}) {
        for (const Word& word : line.words()) {
            if (machine ? !word.is_machine() : !word.is("m"))
                continue;
            const auto opts = Opts::parse(word.text(), machine ? "type" : "size");
            if (!opts)
                return std::unexpected(opts.error());
            auto asked = opts->get_size(machine ? "memory.size" : "size", machine ? 'B' : 'M');
            if (!asked)
                return std::unexpected(std::move(asked.error()).in("-" + word.name));
            size = asked->value_or(size);
        }
    }
    if (size == 0)
        size = default_ram_size;
    if (size > UINT64_MAX - ram_size_granule)
        return fail(ErrorKind::Invalid, "-m asks for more than there can be");
    return (size + ram_size_granule - 1) / ram_size_granule * ram_size_granule;
}

/// How a back-end's file comes to be; nothing if the back-end has to stay with QEMU as it is.
using Source = std::optional<RamFile>;

/// RAM that QEMU would map privately from a file. Of a file that holds nothing (libvirt names one
/// that there is not) only the kind of its memory remains: then Drover's own file is as good, and
/// can be carried. One that holds something, such as a template of many guests, stays with QEMU.
std::optional<RamFile> private_source(const std::string& path, const HostFacts& host)
{
    if (host.holds_data(path))
        return std::nullopt;
    RamFile ram;
    const size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    if (host.has_huge_pages(directory))
        ram.directory = directory;
    return ram;
}

Result<Source> file_source(const Backend& backend, const HostFacts& host,
                           std::vector<std::string>& notes)
{
    RamFile ram;
    const std::string path = backend.opts.get("mem-path").value_or("");
    const PathKind kind = host.path_kind(path);
    auto share = backend.opts.get_bool("share", false);
    auto readonly = backend.opts.get_bool("readonly", false);
    if (!share || !readonly)
        return pass(share ? readonly : share);
    if (kind == PathKind::Directory) {
        ram.directory = path;
        return Source(ram);
    }
    const bool whole = backend.opts.get("offset").value_or("0") == "0";
    if (!*share && !*readonly && kind != PathKind::Other && whole)
        if (auto own = private_source(path, host))
            return Source(std::move(*own));
    if (!*share || *readonly) {
        notes.push_back("the memory back-end '" + backend.id + "' maps " + path +
                        (*readonly ? " read-only" : " privately") +
                        ": QEMU's own stream carries it (share=on would let Drover carry it)");
        return Source();
    }
    if (kind == PathKind::Other || backend.opts.get("offset").value_or("0") != "0")
        return fail(ErrorKind::Invalid,
                    "cannot migrate RAM that is " +
                        (kind == PathKind::Other ? path : "part of the file " + path),
                    "use a whole regular file, or a directory on tmpfs or hugetlbfs");
    ram.path = path;
    return Source(ram);
}

Result<Source> source_of(const Backend& backend, const HostFacts& host,
                         std::vector<std::string>& notes)
{
    RamFile ram;
    if (backend.type == "file")
        return file_source(backend, host, notes);
    if (backend.type == "memfd") {
        auto huge = backend.opts.get_bool("hugetlb", false);
        auto page = backend.opts.get_size("hugetlbsize");
        if (!huge)
            return pass(huge);
        if (!page)
            return pass(page);
        ram.memfd_hugetlb = *huge;
        ram.huge_page_size = *huge ? page->value_or(0) : 0;
    }
    return Source(ram);
}

/// An nvdimm may be a device, or a part of a file, which Drover cannot hold: then there is no
/// migration, and a guest all the same.
bool must_stay(const Backend& backend, const HostFacts& host)
{
    if (backend.use != Use::Nvdimm && backend.use != Use::None)
        return backend.use == Use::Device;
    if (backend.type != "file")
        return false;
    const auto readonly = backend.opts.get_bool("readonly", false);
    return host.path_kind(backend.opts.get("mem-path").value_or("")) == PathKind::Other ||
           backend.opts.get("offset").value_or("0") != "0" || !readonly || *readonly;
}

/// The kernel maps transparent huge pages only where address and offset in the file agree by their
/// size. QEMU sees to that for anonymous memory, for a file only if it is told.
constexpr uint64_t transparent_huge_page = 2U << 20;

/// Not of every back-end: QEMU cuts an nvdimm down to a multiple of the alignment, which for
/// anonymous memory is this anyway.
bool keeps_its_size(const Backend& backend)
{
    return backend.type == "ram" || backend.use == Use::Ram;
}

bool may_have_transparent_pages(const RamFile& ram)
{
    return ram.path.empty() && ram.directory.empty() && !ram.memfd_hugetlb &&
           ram.size % transparent_huge_page == 0;
}

/// Turns the back-end into a shared file whose path is filled in later.
Result<Source> take_backend(Backend& backend, const HostFacts& host,
                            std::vector<std::string>& notes)
{
    const auto context = [&](Error&& error) {
        return std::unexpected(std::move(error).in("memory back-end '" + backend.id + "'"));
    };
    auto size = backend.opts.get_size("size");
    if (!size)
        return context(std::move(size.error()));
    if (!*size || **size == 0)
        return context({ErrorKind::Invalid, "has no size", "add size="});
    auto source = source_of(backend, host, notes);
    if (!source)
        return context(std::move(source.error()));
    if (!*source)
        return source;
    (*source)->id = backend.id;
    (*source)->size = **size;
    (*source)->argument = backend.word;

    Opts& opts = backend.opts;
    opts.set("qom-type", "memory-backend-file");
    for (const char* key : {"hugetlb", "hugetlbsize", "seal"})
        opts.remove(key);
    opts.set_bool("share", true);
    opts.set("mem-path", std::string(ram_placeholder));
    if (keeps_its_size(backend) && may_have_transparent_pages(**source) && !opts.has("align"))
        opts.set_size("align", transparent_huge_page);
    // Machines of QEMU 4.0 and before name a file's RAM block otherwise than an anonymous one's.
    if (backend.type == "ram" && !opts.has("x-use-canonical-path-for-ramblock-id"))
        opts.set_bool("x-use-canonical-path-for-ramblock-id", false);
    return source;
}

void note_device_memory(const Backend& backend, std::vector<std::string>& notes)
{
    const auto share = backend.opts.get_bool("share", backend.type == "memfd");
    if (share && *share)
        notes.push_back(
            "the memory back-end '" + backend.id + "' of " + backend.user +
            " is shared memory that Drover cannot carry: this guest cannot be migrated");
}

/// The RAM of a machine whose command line names no back-end.
struct DefaultRam {
    bool wanted = false;
    std::string directory; ///< for its file; empty: a memfd
};

/// Takes -mem-path out where there is to be a back-end instead: QEMU refuses both at once.
DefaultRam read_default_ram(CommandLine& line, const HostFacts& host,
                            std::vector<std::string>& notes)
{
    const bool numa = std::ranges::any_of(line.words(), [](const Word& word) {
        return word.is("numa") && !reference_of(word).id.empty();
    });
    if (numa || !line.machine_property("memory-backend").empty())
        return {};
    const Word* word = line.find_last("mem-path");
    if (word == nullptr)
        return {true, {}};
    const std::string path = word->text();
    const PathKind kind = host.path_kind(path);
    const auto own = kind == PathKind::Other ? std::nullopt : private_source(path, host);
    if (kind != PathKind::Directory && !own) {
        notes.push_back("-mem-path " + path +
                        " is a file that QEMU maps privately: QEMU's own stream carries the RAM"
                        " (a directory lets Drover carry it)");
        return {};
    }
    line.remove("mem-path");
    return {true, kind == PathKind::Directory ? path : own->directory};
}

Result<RamFile> add_default_backend(CommandLine& line, std::string_view architecture,
                                    const std::string& directory)
{
    auto size = ram_size(line);
    if (!size)
        return pass(size);
    RamFile ram{.id = default_ram_id(line, architecture), .size = *size, .directory = directory};
    line.append("object", "memory-backend-file,id=" + ram.id + ",size=" + std::to_string(*size) +
                              ",share=on,mem-path=" + std::string(ram_placeholder) +
                              ",x-use-canonical-path-for-ramblock-id=off" +
                              (may_have_transparent_pages(ram)
                                   ? ",align=" + std::to_string(transparent_huge_page)
                                   : ""));
    ram.argument = line.words().size() - 1;
    line.append("machine", "memory-backend=" + ram.id);
    return ram;
}

} // namespace

Result<std::vector<RamFile>> plan_ram(CommandLine& line, std::string_view architecture,
                                      const HostFacts& host, std::vector<std::string>& notes)
{
    const DefaultRam default_ram = read_default_ram(line, host, notes);
    auto backends = read_backends(line);
    if (!backends)
        return pass(backends);
    mark_uses(line, *backends);

    std::vector<RamFile> files;
    for (Backend& backend : *backends) {
        if (must_stay(backend, host)) {
            note_device_memory(backend, notes);
            continue;
        }
        auto source = take_backend(backend, host, notes);
        if (!source)
            return pass(source);
        if (!*source)
            continue;
        line.words()[backend.word].argument = backend.opts.text();
        files.push_back(std::move(**source));
    }
    if (default_ram.wanted) {
        auto ram = add_default_backend(line, architecture, default_ram.directory);
        if (!ram)
            return pass(ram);
        files.push_back(std::move(*ram));
    }
    return files;
}

Result<std::optional<PluggedRam>> plan_plugged_ram(const Json& arguments, const HostFacts& host)
{
    auto backend = read_backend(Word{"object", dump_json(arguments)}, 0);
    if (!backend)
        return pass(backend);
    if (!*backend || must_stay(**backend, host))
        return std::optional<PluggedRam>();
    std::vector<std::string> notes;
    auto source = take_backend(**backend, host, notes);
    if (!source)
        return pass(source);
    if (!*source)
        return std::optional<PluggedRam>();
    auto changed = parse_json((*backend)->opts.text());
    if (!changed)
        return pass(changed);
    return std::optional(PluggedRam{std::move(**source), std::move(*changed)});
}

} // namespace drover::qemu
