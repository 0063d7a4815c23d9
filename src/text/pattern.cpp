#include "text/pattern.hpp"

#include <fmt/format.h>

#include <array>
#include <new>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/throw_error.hpp"
#include "text/pattern_syntax.hpp"
#include "text/problem.hpp"

namespace kvcache::text {
namespace {

constexpr std::size_t kFirstStack = std::size_t{32} << 10U;  // bytes of the compiled code's stack
constexpr std::size_t kLargestStack = std::size_t{64} << 20U;

std::string message_of(int error) {
  constexpr std::size_t kLongest = 256;
  std::array<PCRE2_UCHAR, kLongest> message{};
  pcre2_get_error_message(error, message.data(), message.size());
  return reinterpret_cast<const char*>(message.data());
}

/// What one thread needs to match.
class Matching {
 public:
  Matching()
      : data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(kFirstStack, kLargestStack, nullptr)) {
    if (data_ == nullptr || context_ == nullptr || stack_ == nullptr) {
      free_all();
      throw std::bad_alloc();
    }
    pcre2_jit_stack_assign(context_, nullptr, stack_);
  }
  Matching(const Matching&) = delete;
  Matching& operator=(const Matching&) = delete;
  ~Matching() { free_all(); }

  [[nodiscard]] pcre2_match_data* data() const { return data_; }
  [[nodiscard]] pcre2_match_context* context() const { return context_; }

 private:
  void free_all() {
    pcre2_match_data_free(data_);
    pcre2_match_context_free(context_);
    pcre2_jit_stack_free(stack_);
  }

  pcre2_match_data* data_;
  pcre2_match_context* context_;
  pcre2_jit_stack* stack_;
};

}  // namespace

struct Pattern::Code {
  Code() = default;
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(compiled); }

  pcre2_code* compiled = nullptr;
  bool jit = false;
  Categories categories = Categories::unicode_16;
};

Pattern::Pattern(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Pattern Pattern::of_regex(std::string_view pattern) { return of_pcre(translate_pattern(pattern)); }

Pattern Pattern::of_text(std::string_view text) { return of_pcre(literal_pattern(text)); }

Pattern Pattern::of_pcre(std::string_view pattern, Categories categories) {
  auto code = std::make_unique<Code>();
  code->categories = categories;
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  if (context == nullptr) {
    throw std::bad_alloc();
  }
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);  // what a dot does not match
  int error = 0;
  PCRE2_SIZE offset = 0;
  code->compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE, &error, &offset, context.get());
  if (code->compiled == nullptr) {
    throw Problem(fmt::format("must be a regular expression ({} at byte {} of {})",
                              message_of(error), offset, pattern));
  }
  std::uint32_t matches_empty = 0;
  pcre2_pattern_info(code->compiled, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) {
    throw Problem("must be a pattern that matches no empty text");
  }
  code->jit = pcre2_jit_compile(code->compiled, PCRE2_JIT_COMPLETE) == 0;
  return Pattern(std::move(code));
}

void Pattern::find_all(std::string_view text, std::vector<Span>& spans) const {
  for_each(text, [&](const Span& span) { spans.push_back(span); });
}

void Pattern::for_each(std::string_view text, const std::function<void(const Span&)>& visit) const {
  thread_local const Matching matching;
  thread_local std::string buffer;
  const std::string_view subject = stable_text(text, buffer, code_->categories);
  const auto* bytes = reinterpret_cast<PCRE2_SPTR>(subject.data());
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(matching.data());
  const auto match_at = [&](std::size_t offset) {
    if (code_->jit) {
      const int result = pcre2_jit_match(code_->compiled, bytes, subject.size(), offset,
                                         PCRE2_NO_UTF_CHECK, matching.data(), matching.context());
      if (result != PCRE2_ERROR_JIT_STACKLIMIT) {
        return result;
      }
    }
    return pcre2_match(code_->compiled, bytes, subject.size(), offset,
                       PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, matching.data(), matching.context());
  };
  std::size_t end = 0;  // of the last match
  while (end < subject.size()) {
    const int result = match_at(end);
    if (result == PCRE2_ERROR_NOMATCH) {
      break;
    }
    if (result == PCRE2_ERROR_NOMEMORY) {
      throw std::bad_alloc();
    }
    if (result < 0) {
      throw_error(ErrorCode::run_failed,
                  "the text was not split: at byte {} of {} the pattern took too many steps ({}); "
                  "give the text in shorter parts",
                  end, subject.size(), message_of(result));
    }
    if (found[0] > end) {
      visit({end, found[0], false});
    }
    visit({found[0], found[1], true});
    end = found[1];
  }
  if (end < subject.size()) {
    visit({end, subject.size(), false});
  }
}

}  // namespace kvcache::text
