// Unicode's normal forms by ICU, kept to what Unicode 9.0 knows.
#include "text/normal_form.hpp"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <new>

#include "base/throw_error.hpp"
#include "text/normalizer.hpp"

namespace kvcache::text {
namespace {

/// Characters that came later are no business of the reference's library; neither is U+1715's
/// combining class, which Unicode 14.0 gave it.
constexpr const char* kKnown = "[[:age=9.0:]-[\\u1715]]";

void check(UErrorCode status) {
  if (status == U_MEMORY_ALLOCATION_ERROR) {
    throw std::bad_alloc();
  }
  if (U_FAILURE(status) != 0) {
    throw_error(ErrorCode::run_failed,
                "the text was not normalised: ICU says {}; check that its data is installed",
                u_errorName(status));
  }
}

const icu::UnicodeSet& known_characters() {
  static const auto set = [] {
    UErrorCode status = U_ZERO_ERROR;
    auto made = std::make_unique<icu::UnicodeSet>(icu::UnicodeString::fromUTF8(kKnown), status);
    check(status);
    made->freeze();
    return made;
  }();
  return *set;
}

const icu::Normalizer2& whole_normalizer(NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  switch (form) {
    case NormalForm::nfc:
      found = icu::Normalizer2::getNFCInstance(status);
      break;
    case NormalForm::nfd:
      found = icu::Normalizer2::getNFDInstance(status);
      break;
    case NormalForm::nfkc:
      found = icu::Normalizer2::getNFKCInstance(status);
      break;
    case NormalForm::nfkd:
      found = icu::Normalizer2::getNFKDInstance(status);
      break;
  }
  check(status);
  return *found;
}

/// Whether no normal form changes a text: all of it is ASCII, or, of NFC, below U+0300.
bool is_plain(std::string_view text, NormalForm form) {
  const std::uint8_t least_lead = form == NormalForm::nfc ? 0xCC : 0x80;
  return std::ranges::all_of(
      text, [&](char byte) { return static_cast<std::uint8_t>(byte) < least_lead; });
}

}  // namespace

bool normalize(std::string_view text, NormalForm form, std::string& normalized) {
  if (is_plain(text, form)) {
    return false;
  }
  const icu::FilteredNormalizer2 normalizer(whole_normalizer(form), known_characters());
  UErrorCode status = U_ZERO_ERROR;
  if (text.size() > static_cast<std::size_t>(INT32_MAX)) {
    throw_error(
        ErrorCode::invalid_argument,
        "the text was not normalised: it has {} bytes, ICU takes at most {}; give it in parts",
        text.size(), INT32_MAX);
  }
  const icu::StringPiece piece(text.data(), static_cast<std::int32_t>(text.size()));
  normalized.clear();
  icu::StringByteSink<std::string> sink(&normalized, piece.size());
  normalizer.normalizeUTF8(0, piece, sink, nullptr, status);
  check(status);
  return true;
}

}  // namespace kvcache::text
