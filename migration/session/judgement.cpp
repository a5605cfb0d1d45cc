// SPDX-License-Identifier: GPL-2.0-or-later
#include "migration/session/judgement.h"

#include "migration/stream/json_fields.h"
#include "util/loop.h"

#include <algorithm>
#include <sys/random.h>

namespace drover {

namespace {

constexpr size_t most_findings = 256; ///< of each sort, in what a peer says
constexpr size_t longest_text = 4000; ///< bytes, of each
constexpr std::string_view neutral_name = "neutral";

bool offers(const stream::Hello& hello, std::string_view feature)
{
    return std::ranges::find(hello.optional_features, feature) != hello.optional_features.end();
}

/// Whether translating takes away anything of what speaks against the machine's own form.
bool translating_helps(const Findings& own_form, const Findings& translated)
{
    return std::ranges::any_of(own_form.blocks, [&](const Error& block) {
        return std::ranges::find(translated.blocks, block.message, &Error::message) ==
               translated.blocks.end();
    });
}

/// In the machine's own form where that can be loaded, in the neutral one otherwise. What cannot be
/// translated is no news to somebody whose -device is missing.
Judgement judge_in_a_form(const stream::Hello& hello, const Json& own, const Machine& destination)
{
    Judgement judgement{judge_machines(hello.machine, own, StateForm::Own)};
    if (judgement.blocks.empty() || !offers(hello, stream::feature::device_state_neutral))
        return judgement;
    Judgement translated{judge_machines(hello.machine, own, StateForm::Neutral)};
    translated.form = StateForm::Neutral;
    if (!translated.blocks.empty())
        return translating_helps(judgement, translated) ? translated : judgement;
    if (Status loads = destination.can_load_neutral(); !loads) {
        judgement.blocks.front().message += "; and " + loads.error().message;
        return judgement;
    }
    return translated;
}

Json list_json(const std::vector<Error>& findings)
{
    Json list = Json::array();
    for (const Error& finding : findings)
        list.push_back({{"what", finding.message}, {"remedy", finding.hint}});
    return list;
}

std::string bounded(const Json& object, const char* key)
{
    std::string text = json_string(object, key).substr(0, longest_text);
    std::ranges::replace_if(
        text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, ' ');
    return text;
}

std::vector<Error> read_list(stream::JsonFields& fields, const char* key)
{
    std::vector<Error> findings;
    for (const Json& item : fields.list(key, 0, most_findings)) {
        if (json_string(item, "what").empty())
            fields.fail(key, "has an entry that says nothing");
        findings.push_back(
            {ErrorKind::Incompatible, bounded(item, "what"), bounded(item, "remedy")});
    }
    return findings;
}

/// Gives a fresh, unguessable name to the session: whoever knows it may join and ask.
Result<stream::SessionToken> make_token()
{
    stream::SessionToken token;
    if (getrandom(token.data(), token.size(), 0) != static_cast<ssize_t>(token.size()))
        return fail_errno("making a session token", errno);
    return token;
}

stream::Hello hello_of(Machine& source, const GreetingOptions& options)
{
    stream::Hello hello;
    hello.software = options.software;
    for (std::string_view name : stream::needed_features())
        hello.mandatory_features.emplace_back(name);
    if (!options.one_connection)
        hello.optional_features.emplace_back(stream::feature::postcopy);
    if (!options.one_connection && options.reconnect_s > 0)
        hello.optional_features.emplace_back(stream::feature::resume_copy);
    if (options.verify)
        hello.optional_features.emplace_back(stream::feature::ram_digest);
    hello.optional_features.emplace_back(stream::feature::give_back);
    hello.optional_features.emplace_back(stream::feature::arrived_outcome);
    for (const stream::EncodingFeature& encoding : stream::encoding_features())
        hello.optional_features.emplace_back(encoding.feature);
    if (source.can_save_neutral())
        hello.optional_features.emplace_back(stream::feature::device_state_neutral);
    hello.channels = options.channels;
    hello.ram = ram_info(source.ram());
    hello.policy = Json{{"downtime", options.downtime_s}, {"reconnect", options.reconnect_s}};
    return hello;
}

} // namespace

void Judgement::add(Judgement other)
{
    form = other.form;
    std::ranges::move(other.blocks, std::back_inserter(blocks));
    std::ranges::move(other.warnings, std::back_inserter(warnings));
}

Json Judgement::to_json() const
{
    return {{"state-form", form == StateForm::Neutral ? neutral_name : "own"},
            {"blocks", list_json(blocks)},
            {"warnings", list_json(warnings)}};
}

Result<Judgement> Judgement::from_json(const Json& value)
{
    stream::JsonFields fields(value, "judgement");
    Judgement judgement;
    if (fields.text("state-form", longest_text) == neutral_name)
        judgement.form = StateForm::Neutral;
    judgement.blocks = read_list(fields, "blocks");
    judgement.warnings = read_list(fields, "warnings");
    if (fields.error())
        return std::unexpected(*fields.error());
    return judgement;
}

Judgement judge_guest(const stream::Hello& hello, const Json& own, const Machine& destination)
{
    Judgement judgement;
    if (auto features = stream::agree_features(hello, stream::needed_features()); !features) {
        judgement.note(pass(features));
        return judgement;
    }
    judgement = judge_in_a_form(hello, own, destination);
    judgement.note(check_ram(hello.ram, destination.ram()));
    judgement.is_another_guest = judgement.blocks.empty();
    judgement.note(check_identity(hello.machine, own));
    judgement.is_another_guest = judgement.is_another_guest && !judgement.blocks.empty();
    return judgement;
}

void judge_arrival(Machine& destination, const stream::Hello& hello,
                   std::function<void(const Judgement&, Json own)> done)
{
    if (Status expected = destination.expect_guest(hello.machine, all_ram(hello.ram)); !expected)
        return loop::post([done = std::move(done), expected = std::move(expected)] {
            Judgement judgement;
            judgement.note(expected);
            done(judgement, Json());
        });
    destination.describe([&destination, hello, done = std::move(done)](Result<Json> own) {
        Judgement judgement;
        if (own)
            judgement = judge_guest(hello, *own, destination);
        else
            judgement.blocks.push_back(own.error());
        done(judgement, own ? std::move(*own) : Json());
    });
}

void make_hello(Machine& source, const GreetingOptions& options,
                std::function<void(Result<stream::Hello>)> done)
{
    const auto token = make_token();
    if (!token)
        return loop::post(
            [done = std::move(done), why = token.error()] { done(std::unexpected(why)); });
    stream::Hello hello = hello_of(source, options);
    hello.session = *token;
    source.describe([hello = std::move(hello), validate = options.validate_uuid,
                     done = std::move(done)](Result<Json> description) mutable {
        if (!description)
            return done(pass(description));
        hello.machine = std::move(*description);
        if (!validate)
            hello.machine.erase("uuid");
        done(std::move(hello));
    });
}

} // namespace drover
