// JSON from outside: no number, name or shape in it is believed before it is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvcache/error.hpp"

namespace kvcache {

/// How mistakes in a document are reported: `NAME: field "x" is 2.9, must be …; ADVICE`.
struct JsonSource {
  std::string name;    // whose it is, such as the file's path
  ErrorCode code;      // of every mistake in it
  std::string advice;  // what to do next
};

/// A text as a message shows it, whatever it holds: in quotes, cut when it is long, all but
/// printable ASCII escaped as in JSON.
std::string in_quotes(std::string_view text);

/// A value of a document and its place there. Every reader throws Error(source.code), naming the
/// document, the place, what was found and the rule. Valid as long as the document.
class JsonValue {
 public:
  JsonValue(const nlohmann::json& value, std::string place, const JsonSource& source)
      : value_(&value), place_(std::move(place)), source_(&source) {}

  /// Where it is in the document, such as files[1].bytes; empty for the whole document.
  [[nodiscard]] const std::string& place() const noexcept { return place_; }

  /// Whether it is an object with this field.
  [[nodiscard]] bool has(std::string_view name) const;

  /// A field of an object.
  [[nodiscard]] JsonValue field(std::string_view name) const;

  /// Refuses an object with fields other than these.
  void only_fields(std::span<const std::string_view> names) const;

  /// The fields of an object by name.
  [[nodiscard]] std::vector<std::pair<std::string_view, JsonValue>> fields() const;

  /// The elements of an array.
  [[nodiscard]] std::vector<JsonValue> elements() const;

  /// A whole number, written as one (not as 3.0), within [least, most].
  [[nodiscard]] std::int64_t integer(std::int64_t least, std::int64_t most) const;
  /// The same, of what is not negative.
  [[nodiscard]] std::size_t size(std::size_t least, std::size_t most) const;
  /// An array of these.
  [[nodiscard]] std::vector<std::int64_t> integers(std::int64_t least, std::int64_t most) const;

  /// A finite number within [least, most].
  [[nodiscard]] double number(double least, double most) const;
  [[nodiscard]] bool flag() const;
  [[nodiscard]] bool is_null() const;
  [[nodiscard]] bool is_text() const;
  [[nodiscard]] bool is_array() const;

  [[nodiscard]] std::string text() const;
  /// A text that is one of `choices`.
  [[nodiscard]] std::string text_of(std::span<const std::string_view> choices) const;
  /// The name of a file in a directory: no path that leads elsewhere.
  [[nodiscard]] std::string file_name() const;
  /// A digest of `digits` lower-case hexadecimal digits.
  [[nodiscard]] std::string hex_digest(std::size_t digits) const;

  /// Throws: this value is what was found and breaks `rule`, such as "must be 1".
  [[noreturn]] void refuse(std::string_view rule) const;

 private:
  const nlohmann::json* value_;
  std::string place_;
  const JsonSource* source_;
};

/// A parsed document. Refuses nesting beyond a few dozen levels, fields given twice and numbers
/// beyond all types.
class JsonDocument {
 public:
  /// @throws Error(source.code)
  JsonDocument(std::string_view text, JsonSource source);
  JsonDocument(const JsonDocument&) = delete;
  JsonDocument& operator=(const JsonDocument&) = delete;
  ~JsonDocument();

  [[nodiscard]] JsonValue root() const { return {*json_, {}, source_}; }

 private:
  JsonSource source_;
  std::unique_ptr<nlohmann::json> json_;
};

}  // namespace kvcache
