#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "remote/backend.h"
#include "remote/postgresql/connection.h"
#include "remote/postgresql/parameters.h"

namespace oncelog::internal::remote {

/// Statements on schema.sql's functions, with "oncelog" for the schema: their texts, parameters and answers.

/// `text` with the schema's name in the place of "oncelog".
std::string in_schema(std::string_view text, std::string_view schema);

/// What a statement without a wait for the disk begins with. It holds for the statement's transaction alone.
std::string_view commit_mode(Ack ack);

/// Attributes, one array for each; all null where nobody gives any.
void add_attributes(Parameters& parameters, std::span<const Attributes* const> given);

Parameters decide_parameters(std::string_view scope, std::span<const Ask> asked, const Terms* terms,
                             const Attempt& attempt, bool whole);
/// Puts the rows of oncelog.decide() where they belong. Throws Error::corrupt unless each id has one.
void read_answers(const Rows& rows, bool claims, std::span<Answer> out);

/// The scope, ids and tokens.
Parameters held_parameters(std::string_view scope, std::span<const Held> held);
Parameters complete_parameters(std::string_view scope, std::span<const Held> held, const Attempt* attempt);
/// The parameters of oncelog.import, and its answers. They refer to the records.
Parameters import_parameters(std::string_view scope, std::span<const Record> records);
void read_outcomes(const Rows& rows, std::span<ImportOutcome> out);

void read_stamps(const Rows& rows, std::span<Stamp> out);

/// Columns at, lsn, fingerprint, source_partition, source_offset, correlation, source, result from `column` on.
Record read_record(const Rows& rows, int row, int column);

/// Live records with scope and id, each once and in order: SELECT, up to where a further condition may follow and
/// kRecordOrder ends it; and a row of it.
extern const std::string_view kSelectRecords;
extern const std::string_view kRecordOrder;
Record read_named_record(const Rows& rows, int row);

std::vector<std::optional<std::string_view>> texts_of(std::span<const std::string_view> ids);

}  // namespace oncelog::internal::remote
