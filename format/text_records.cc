#include "format/text_records.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "format/tokenizer/unicode.h"

namespace junto {
namespace {

std::string_view without_mark(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  return text.starts_with(kMark) ? text.substr(kMark.size()) : text;
}

std::string place_of_line(std::string_view where, std::int64_t line) {
  return std::string(where) + ": line " + std::to_string(line);
}

/// CSV, record by record.
class CsvRecords {
 public:
  CsvRecords(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  /// The fields of the next record that is not blank; false after the last.
  bool next(std::vector<std::string>& fields) {
    while (at_ < text_.size() && skip_line_end()) {
    }
    if (at_ == text_.size()) return false;
    begin_line_ = line_;
    fields.clear();
    do {
      fields.emplace_back();
      if (at_ < text_.size() && text_[at_] == '"') {
        read_quoted(fields.back());
      } else {
        read_plain(fields.back());
      }
    } while (skip_comma());
    return true;
  }

  [[noreturn]] void refuse(const std::string& what) const { fail(place_of_line(where_, begin_line_), what); }

 private:
  bool skip_line_end() {
    const std::size_t size = text_[at_] == '\n' ? 1 : text_.substr(at_).starts_with("\r\n") ? 2 : 0;
    at_ += size;
    line_ += size > 0 ? 1 : 0;
    return size > 0;
  }

  /// After a field: whether another one follows in this record.
  bool skip_comma() {
    if (at_ == text_.size()) return false;
    if (text_[at_] == ',') return ++at_, true;
    if (skip_line_end()) return false;
    begin_line_ = line_;
    refuse(text_[at_] == '\r' ? "a carriage return without a line feed, expected it quoted"
                              : "text after the closing quote of a field, expected a comma or the line's end");
  }

  void read_plain(std::string& field) {
    const std::size_t end = std::min(text_.find_first_of("\",\r\n", at_), text_.size());
    field = text_.substr(at_, end - at_);
    at_ = end;
    begin_line_ = line_;
    if (at_ < text_.size() && text_[at_] == '"')
      refuse("a quote in a field that is not quoted, expected all of it quoted");
  }

  void read_quoted(std::string& field) {
    begin_line_ = line_;
    for (++at_;; ++at_) {
      const std::size_t quote = text_.find('"', at_);
      if (quote == std::string_view::npos) refuse("a quote is never closed");
      const std::string_view part = text_.substr(at_, quote - at_);
      field += part;
      line_ += std::count(part.begin(), part.end(), '\n');
      at_ = quote + 1;
      if (at_ == text_.size() || text_[at_] != '"') return;
      field += '"';
    }
  }

  std::string_view text_, where_;
  std::size_t at_ = 0;
  std::int64_t line_ = 1, begin_line_ = 1;  // here, and what an error names
};

void check_utf8(std::string_view text, std::string_view where) {
  const std::size_t valid = text::valid_utf8_prefix(text);
  if (valid == text.size()) return;
  fail(place_of_line(where, 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(valid), '\n')),
       "not UTF-8");
}

std::size_t column_of(const std::vector<std::string>& names, std::string_view column, std::string_view where) {
  const auto found = std::find(names.begin(), names.end(), column);
  if (found == names.end()) {
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + printable(name);
    fail(where, "has no column " + printable(column) + ", expected one of " + printable(list, 400));
  }
  if (std::find(found + 1, names.end(), column) != names.end())
    fail(where, "has two columns " + printable(column) + ", expected one");
  return static_cast<std::size_t>(found - names.begin());
}

}  // namespace

RecordFormat record_format_of(std::string_view path) {
  if (path.ends_with(".jsonl") || path.ends_with(".ndjson")) return RecordFormat::kJsonLines;
  return path.ends_with(".csv") ? RecordFormat::kCsv : RecordFormat::kNone;
}

void read_json_lines(std::string_view text, std::string_view where, std::string_view field,
                     const std::function<void(std::string_view)>& see) {
  text = without_mark(text);
  std::int64_t line = 0;
  while (!text.empty()) {
    ++line;
    const std::string_view record = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(record.size() + 1, text.size()));
    if (record.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = place_of_line(where, line);
    const Json json = parse_json(record, place);
    if (!json.is_object()) fail(place, "is no object, expected one with \"" + printable(field) + "\"");
    const auto found = json.find(field);
    if (found == json.end()) fail(place, printable(field) + " is missing, expected a text");
    if (!found->is_string()) fail(place, printable(field) + " is " + found->type_name() + ", expected a text");
    see(found->get_ref<const std::string&>());
  }
}

void read_csv(std::string_view text, std::string_view where, std::string_view column,
              const std::function<void(std::string_view)>& see) {
  text = without_mark(text);
  check_utf8(text, where);
  CsvRecords records(text, where);
  std::vector<std::string> fields;
  if (!records.next(fields)) fail(where, "is empty, expected a line with the names of columns");
  const std::size_t columns = fields.size(), wanted = column_of(fields, column, where);
  while (records.next(fields)) {
    if (fields.size() != columns) {
      records.refuse("has " + std::to_string(fields.size()) + " fields, expected " + std::to_string(columns) +
                     ", as many as columns");
    }
    see(fields[wanted]);
  }
}

}  // namespace junto
