// The normalizer, pre-tokenizer, post-processor and decoder of a tokenizer.json.
#include <fmt/format.h>

#include <array>
#include <optional>

#include "text/problem.hpp"
#include "text/read_tokenizer.hpp"

namespace kvcache::text {
namespace {

constexpr std::size_t kMostStripped = 1024;

/// Calls `read(type, value)` for a component, or for each that a Sequence holds in `parts`.
template <typename Read>
void for_each_component(const JsonValue& value, std::string_view parts, Read read) {
  const std::string type = value.field("type").text();
  if (type != "Sequence") {
    read(type, value);
    return;
  }
  for (const JsonValue& part : value.field(parts).elements()) {
    for_each_component(part, parts, read);
  }
}

[[noreturn]] void refuse_type(const JsonValue& value, std::string_view known) {
  value.field("type").refuse(
      fmt::format("must be {} or Sequence: others are not supported", known));
}

std::optional<NormalForm> normal_form(std::string_view type) {
  return type == "NFC"    ? std::optional(NormalForm::nfc)
         : type == "NFD"  ? std::optional(NormalForm::nfd)
         : type == "NFKC" ? std::optional(NormalForm::nfkc)
         : type == "NFKD" ? std::optional(NormalForm::nfkd)
                          : std::nullopt;
}

SplitBehavior read_behavior(const JsonValue& value) {
  constexpr std::array<std::string_view, 5> kNames{"Removed", "Isolated", "MergedWithPrevious",
                                                   "MergedWithNext", "Contiguous"};
  constexpr std::array kBehaviors{SplitBehavior::removed, SplitBehavior::isolated,
                                  SplitBehavior::merged_with_previous,
                                  SplitBehavior::merged_with_next, SplitBehavior::contiguous};
  const std::string name = value.text_of(kNames);
  const auto* place = std::ranges::find(kNames, name);
  return kBehaviors[static_cast<std::size_t>(place - kNames.begin())];
}

Metaspace::PrependScheme read_prepend_scheme(const JsonValue& value) {
  using Scheme = Metaspace::PrependScheme;
  Scheme scheme = Scheme::always;
  if (value.has("prepend_scheme")) {
    constexpr std::array<std::string_view, 3> kNames{"first", "never", "always"};
    const std::string name = value.field("prepend_scheme").text_of(kNames);
    scheme = name == "first" ? Scheme::first : name == "never" ? Scheme::never : Scheme::always;
  }
  if (!read_flag(value, "add_prefix_space", true) && scheme != Scheme::never) {
    if (value.has("prepend_scheme")) {
      value.field("prepend_scheme").refuse("must be never where add_prefix_space is false");
    }
    value.field("add_prefix_space").refuse("must be true where there is no prepend_scheme");
  }
  return scheme;
}

void read_byte_level(const JsonValue& value, std::vector<PreTokenizerStep>& steps) {
  if (value.field("add_prefix_space").flag()) {
    steps.emplace_back(PrefixSpace());
  }
  if (read_flag(value, "use_regex", true)) {
    steps.emplace_back(byte_level_split());
  }
  steps.emplace_back(AsBytes());
}

Split digits_split(bool individual) {
  return {Pattern::of_pcre("\\p{N}", Categories::unicode_17),
          individual ? SplitBehavior::isolated : SplitBehavior::contiguous, false};
}

/// The ids of a special token of a template, all of them.
void append_special(const JsonValue& processor, const JsonValue& piece, std::vector<Id>& ids) {
  const JsonValue tokens = processor.field("special_tokens");
  const JsonValue token = tokens.field(piece.field("id").text());
  for (const std::int64_t id : token.field("ids").integers(0, kMostTokens - 1)) {
    ids.push_back(static_cast<Id>(id));
  }
}

PostProcessor read_template(const JsonValue& value) {
  PostProcessor processor;
  bool behind = false;
  const JsonValue single = value.field("single");
  for (const JsonValue& piece : single.elements()) {
    if (piece.has("SpecialToken")) {
      append_special(value, piece.field("SpecialToken"),
                     behind ? processor.behind : processor.before);
      continue;
    }
    (void)piece.field("Sequence").field("id").text_of(std::array<std::string_view, 1>{"A"});
    if (behind) {
      single.refuse("must have the sequence A once");
    }
    behind = true;
  }
  if (!behind) {
    single.refuse("must have the sequence A once");
  }
  return processor;
}

}  // namespace

Split byte_level_split() {
  return {Pattern::of_regex(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+)"
                            R"(|\s+(?!\S)|\s+)"),
          SplitBehavior::isolated, false};
}

Normalizer read_normalizer(const JsonValue& value) {
  std::vector<NormalizerStep> steps;
  for_each_component(value, "normalizers", [&](std::string_view type, const JsonValue& part) {
    if (const auto form = normal_form(type)) {
      steps.emplace_back(*form);
    } else if (type == "Prepend") {
      steps.emplace_back(Prepend{part.field("prepend").text()});
    } else if (type == "Replace") {
      steps.emplace_back(
          Replace{read_pattern(part.field("pattern")), part.field("content").text()});
    } else if (type == "ByteLevel") {
      steps.emplace_back(BytesAsCharacters());
    } else {
      refuse_type(part, "NFC, NFD, NFKC, NFKD, Prepend, Replace, ByteLevel");
    }
  });
  return Normalizer(std::move(steps));
}

PreTokenizer read_pre_tokenizer(const JsonValue& value) {
  std::vector<PreTokenizerStep> steps;
  for_each_component(value, "pretokenizers", [&](std::string_view type, const JsonValue& part) {
    if (type == "ByteLevel") {
      read_byte_level(part, steps);
    } else if (type == "Split") {
      steps.emplace_back(Split{read_pattern(part.field("pattern")),
                               read_behavior(part.field("behavior")), part.field("invert").flag()});
    } else if (type == "Digits") {
      steps.emplace_back(digits_split(read_flag(part, "individual_digits", false)));
    } else if (type == "Metaspace") {
      steps.emplace_back(Metaspace{read_character(part.field("replacement")),
                                   read_prepend_scheme(part), read_flag(part, "split", true)});
    } else {
      refuse_type(part, "ByteLevel, Split, Digits, Metaspace");
    }
  });
  return PreTokenizer(std::move(steps));
}

PostProcessor read_post_processor(const JsonValue& value) {
  PostProcessor all;
  for_each_component(value, "processors", [&](std::string_view type, const JsonValue& part) {
    if (type == "TemplateProcessing") {
      const PostProcessor outer = read_template(part);
      all.before.insert(all.before.begin(), outer.before.begin(), outer.before.end());
      all.behind.insert(all.behind.end(), outer.behind.begin(), outer.behind.end());
    } else if (type != "ByteLevel") {  // that one changes offsets alone
      refuse_type(part, "TemplateProcessing, ByteLevel");
    }
  });
  return all;
}

std::vector<DecoderStep> read_decoder(const JsonValue& value) {
  std::vector<DecoderStep> steps;
  for_each_component(value, "decoders", [&](std::string_view type, const JsonValue& part) {
    if (type == "ByteLevel") {
      steps.emplace_back(ByteLevelDecoder());
    } else if (type == "Replace") {
      steps.emplace_back(ReplaceDecoder{std::make_shared<const Replace>(
          Replace{read_pattern(part.field("pattern")), part.field("content").text()})});
    } else if (type == "ByteFallback") {
      steps.emplace_back(ByteFallbackDecoder());
    } else if (type == "Fuse") {
      steps.emplace_back(FuseDecoder());
    } else if (type == "Strip") {
      steps.emplace_back(StripDecoder{read_character(part.field("content")),
                                      part.field("start").size(0, kMostStripped),
                                      part.field("stop").size(0, kMostStripped)});
    } else if (type == "Metaspace") {
      steps.emplace_back(
          MetaspaceDecoder{read_character(part.field("replacement")),
                           read_prepend_scheme(part) != Metaspace::PrependScheme::never});
    } else {
      refuse_type(part, "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace");
    }
  });
  return steps;
}

}  // namespace kvcache::text
