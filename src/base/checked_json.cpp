#include "base/checked_json.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "base/throw_error.hpp"

namespace kvcache {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 32;  // of arrays and objects in each other; real documents have three
constexpr std::size_t kShownLength = 80;
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

/// What was found, short enough for a message whatever it is.
std::string shown(const json& value) {
  if (value.is_object()) {
    return "an object";
  }
  if (value.is_array()) {
    return fmt::format("an array of {} elements", value.size());
  }
  return value.is_string() ? in_quotes(value.get_ref<const std::string&>()) : value.dump();
}

/// A number that is written as a whole one and fits. What is above every int64 is kept as a uint64
/// or, beyond that, as a floating-point number.
std::optional<std::int64_t> whole_number(const json& value) {
  const bool fits = value.is_number_unsigned()
                        ? value.get<std::uint64_t>() <= static_cast<std::uint64_t>(kMost)
                        : value.is_number_integer();
  return fits ? std::optional(value.get<std::int64_t>()) : std::nullopt;
}

/// Looks at a document while it is parsed.
class ParseGuard {
 public:
  explicit ParseGuard(const JsonSource& source) : source_(source) {}

  void see(int depth, json::parse_event_t event, const json& parsed) {
    using Event = json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth >= kMaxDepth) {
      throw_error(source_.code, "{}: arrays and objects are nested more than {} deep; {}",
                  source_.name, kMaxDepth, source_.advice);
    }
    if (event == Event::object_start) {
      keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key && !keys_.back().insert(parsed.get<std::string>()).second) {
      throw_error(source_.code, "{}: field {} is there twice; {}", source_.name, shown(parsed),
                  source_.advice);
    }
  }

 private:
  const JsonSource& source_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

std::string in_quotes(std::string_view text) {
  constexpr bool kEscapeAllButAscii = true;
  const std::string shown = json(std::string(text.substr(0, kShownLength)))
                                .dump(-1, ' ', kEscapeAllButAscii, json::error_handler_t::replace);
  return text.size() <= kShownLength ? shown : shown + "...";
}

JsonDocument::JsonDocument(std::string_view text, JsonSource source) : source_(std::move(source)) {
  ParseGuard guard(source_);
  try {
    json_ = std::make_unique<json>(
        json::parse(text, [&](int depth, json::parse_event_t event, json& parsed) {
          guard.see(depth, event, parsed);
          return true;
        }));
  } catch (const json::parse_error& error) {
    throw_error(source_.code, "{} is not JSON (byte {}); {}", source_.name, error.byte,
                source_.advice);
  } catch (const json::exception&) {  // json::out_of_range, of 1e999
    throw_error(source_.code, "{} holds a number that is too large; {}", source_.name,
                source_.advice);
  }
}

JsonDocument::~JsonDocument() = default;

bool JsonValue::has(std::string_view name) const {
  return value_->is_object() && value_->find(std::string(name)) != value_->end();
}

JsonValue JsonValue::field(std::string_view name) const {
  if (!value_->is_object()) {
    refuse("must be an object");
  }
  const std::string place = place_.empty() ? std::string(name) : fmt::format("{}.{}", place_, name);
  const auto found = value_->find(std::string(name));
  if (found == value_->end()) {
    throw_error(source_->code, "{}: field \"{}\" is missing; {}", source_->name, place,
                source_->advice);
  }
  return {*found, place, *source_};
}

void JsonValue::only_fields(std::span<const std::string_view> names) const {
  if (!value_->is_object()) {
    refuse("must be an object");
  }
  for (const auto& [name, value] : value_->items()) {
    if (std::ranges::find(names, name) == names.end()) {
      throw_error(source_->code, "{}: there is no field {}; {}", source_->name, in_quotes(name),
                  source_->advice);
    }
  }
}

std::vector<std::pair<std::string_view, JsonValue>> JsonValue::fields() const {
  if (!value_->is_object()) {
    refuse("must be an object");
  }
  std::vector<std::pair<std::string_view, JsonValue>> fields;
  fields.reserve(value_->size());
  for (const auto& [name, value] : value_->items()) {
    fields.emplace_back(
        name,
        JsonValue(value, place_.empty() ? name : fmt::format("{}.{}", place_, name), *source_));
  }
  return fields;
}

std::vector<JsonValue> JsonValue::elements() const {
  if (!value_->is_array()) {
    refuse("must be an array");
  }
  std::vector<JsonValue> elements;
  for (const json& element : *value_) {
    elements.emplace_back(element, fmt::format("{}[{}]", place_, elements.size()), *source_);
  }
  return elements;
}

std::int64_t JsonValue::integer(std::int64_t least, std::int64_t most) const {
  const auto number = whole_number(*value_);
  if (!number || *number < least || *number > most) {
    refuse(most == kMost ? fmt::format("must be a whole number of at least {}", least)
                         : fmt::format("must be a whole number from {} to {}", least, most));
  }
  return *number;
}

std::size_t JsonValue::size(std::size_t least, std::size_t most) const {
  const auto limit = [](std::size_t value) {
    return static_cast<std::int64_t>(std::min(value, static_cast<std::size_t>(kMost)));
  };
  return static_cast<std::size_t>(integer(limit(least), limit(most)));
}

std::vector<std::int64_t> JsonValue::integers(std::int64_t least, std::int64_t most) const {
  if (!value_->is_array()) {
    refuse("must be an array");
  }
  std::vector<std::int64_t> numbers;
  numbers.reserve(value_->size());
  for (const json& element : *value_) {
    const auto number = whole_number(element);
    const bool fits = number && *number >= least && *number <= most;
    numbers.push_back(
        fits ? *number
             : JsonValue(element, fmt::format("{}[{}]", place_, numbers.size()), *source_)
                   .integer(least, most));
  }
  return numbers;
}

double JsonValue::number(double least, double most) const {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const double number = value_->is_number() ? value_->get<double>() : kNone;
  if (!(number >= least && number <= most)) {
    refuse(fmt::format("must be a number from {} to {}", least, most));
  }
  return number;
}

bool JsonValue::flag() const {
  if (!value_->is_boolean()) {
    refuse("must be true or false");
  }
  return value_->get<bool>();
}

bool JsonValue::is_null() const { return value_->is_null(); }

bool JsonValue::is_text() const { return value_->is_string(); }

bool JsonValue::is_array() const { return value_->is_array(); }

std::string JsonValue::text() const {
  if (!value_->is_string()) {
    refuse("must be a text");
  }
  return value_->get<std::string>();
}

std::string JsonValue::text_of(std::span<const std::string_view> choices) const {
  std::string found = text();
  if (std::ranges::find(choices, found) == choices.end()) {
    refuse(fmt::format("must be {}", fmt::join(choices, ", ")));
  }
  return found;
}

std::string JsonValue::file_name() const {
  std::string name = text();
  if (name.empty() || name == "." || name == ".." ||
      name.find_first_of(std::string_view("/\0", 2)) != std::string::npos) {
    refuse("must be the plain name of a file in the same directory");
  }
  return name;
}

std::string JsonValue::hex_digest(std::size_t digits) const {
  std::string digest = text();
  if (digest.size() != digits ||
      digest.find_first_not_of("0123456789abcdef") != std::string::npos) {
    refuse(fmt::format("must be {} hexadecimal digits (0-9, a-f)", digits));
  }
  return digest;
}

void JsonValue::refuse(std::string_view rule) const {
  if (place_.empty()) {
    throw_error(source_->code, "{} is {}, {}; {}", source_->name, shown(*value_), rule,
                source_->advice);
  }
  throw_error(source_->code, "{}: field \"{}\" is {}, {}; {}", source_->name, place_,
              shown(*value_), rule, source_->advice);
}

}  // namespace kvcache
