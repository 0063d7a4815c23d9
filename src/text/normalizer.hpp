// What is done to a text before it is split: Unicode's normal forms, Prepend, Replace.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "text/pattern.hpp"

namespace kvcache::text {

/// One of Unicode's normal forms, as of Unicode 9.0: what the reference's library knows.
enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// Puts a text before every text that is not empty.
struct Prepend {
  std::string content;
};

/// Puts a text in the place of each match.
struct Replace {
  Pattern pattern;
  std::string content;

  [[nodiscard]] std::string apply(std::string_view text) const;
};

/// Every byte as its character of byte-level BPE's alphabet.
struct BytesAsCharacters {};

using NormalizerStep = std::variant<NormalForm, Prepend, Replace, BytesAsCharacters>;

class Normalizer {
 public:
  explicit Normalizer(std::vector<NormalizerStep> steps = {}) : steps_(std::move(steps)) {}

  /// `text`, which is valid UTF-8, normalised: itself where nothing changes it, else in `buffer`.
  /// @throws Error tokenizer_invalid where the steps multiply it beyond reason, and as find_all()
  ///         and normalize()
  std::string_view apply(std::string_view text, std::string& buffer) const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace kvcache::text
