// Documents out of JSON Lines and CSV: one a record, out of one of its fields. Text is UTF-8, a byte order mark at its
// begin is skipped, and so are blank lines.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace junto {

enum class RecordFormat : std::uint8_t { kNone, kJsonLines, kCsv };

/// By the ending of a file's name: .jsonl and .ndjson, .csv; else none.
RecordFormat record_format_of(std::string_view path);

/// A line is a JSON object, whose `field` is the document. `see` gets each in turn, for as long as it runs. Throws
/// Error "where: line 3: ..." where a line is no object or its field is missing or no text.
void read_json_lines(std::string_view text, std::string_view where, std::string_view field,
                     const std::function<void(std::string_view)>& see);

/// RFC 4180: the first record names the columns, fields may be quoted and hold commas, quotes ("") and line ends then;
/// records end with LF or CRLF. `see` gets the field of `column`. Throws Error "where: line 3: ..." on quotes that do
/// not pair, on records with more or fewer fields than columns and on what is no UTF-8; "where: ..." where no column or
/// more than one has that name.
void read_csv(std::string_view text, std::string_view where, std::string_view column,
              const std::function<void(std::string_view)>& see);

}  // namespace junto
