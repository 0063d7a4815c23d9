// HTML that is put together so that nothing from outside can become a part of it.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <vector>

namespace kvcache::report::html {

/// Well-formed HTML. It is made by text(), which escapes, and by element(), of other such pieces:
/// a string does not turn into it by itself.
class Markup {
 public:
  Markup() = default;
  /// What this program itself wrote down, such as its style sheet.
  static Markup of_this_program(std::string_view html) { return Markup(std::string(html)); }

  Markup& operator+=(const Markup& other) {
    html_ += other.html_;
    return *this;
  }
  friend Markup operator+(Markup first, const Markup& second) { return first += second; }

  [[nodiscard]] bool empty() const noexcept { return html_.empty(); }
  [[nodiscard]] const std::string& html() const noexcept { return html_; }

 private:
  explicit Markup(std::string html) : html_(std::move(html)) {}
  friend Markup text(std::string_view plain);
  friend struct ElementWriter;

  std::string html_;
};

struct Attribute {
  std::string_view name;
  std::string value;  // any text; it is escaped
};
using Attributes = std::vector<Attribute>;

/// A text as it is to be read: markup in it is shown, not obeyed. What is no UTF-8, control
/// characters and those that turn the direction of the text around them are shown as U+FFFD.
Markup text(std::string_view plain);

/// `<name attributes>content</name>`; of a void element, such as meta, only the beginning.
Markup element(std::string_view name, const Attributes& attributes, const Markup& content = {});

// The same without attributes, around markup or a text: templates, which attributes in braces are
// no argument for.
template <std::same_as<Markup> Content>
Markup element(std::string_view name, const Content& content) {
  return element(name, Attributes(), content);
}
template <std::convertible_to<std::string_view> Text>
Markup element(std::string_view name, const Text& plain) {
  return element(name, Attributes(), text(plain));
}

}  // namespace kvcache::report::html
